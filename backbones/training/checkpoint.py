"""Training state between two epochs: snapshots in memory for rollback, checkpoints on disk."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from proxmtl.backbones.training.record import Epoch
from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.names import TRAINING_FOLDER
from proxmtl.io.seal import append_seal, check_seal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from proxmtl.backbones.training.trainer import Trainer

__all__ = [
    "Checkpoint",
    "in_main_memory",
    "read_checkpoint",
    "restore",
    "state_of",
    "write_checkpoint",
]

CHECKPOINT_FILE = f"{TRAINING_FOLDER}/checkpoint.pt"
FORMAT = "proxmtl training 7"
SAVED = ("network", "optimizer", "scheduler", "layer", "standard", "means", "best", "history")


@dataclass(frozen=True)
class Checkpoint:
    """State after an epoch.

    Attributes
    ----------
    identity
        What the run was asked for, by part: to continue it, all parts must agree.
    state
        All else, as :func:`state_of` gives it.
    """

    identity: dict[str, str]
    state: dict[str, Any]

    @property
    def history(self) -> tuple[Epoch, ...]:
        """Figures of the epochs so far."""
        found: tuple[Epoch, ...] = self.state["history"]
        return found


def state_of(trainer: Trainer) -> dict[str, Any]:
    """What the next epoch depends on; the tensors are the trainer's own.

    Random streams belong to the seed and the number of the epoch, so they need no state.
    """
    return {
        "network": trainer.network.state_dict(),
        "optimizer": trainer.descent.optimizer.state_dict(),
        "scheduler": trainer.descent.scheduler.state_dict(),
        "layer": trainer.layer.state_dict(),
        "standard": trainer.standard or (),
        "means": () if trainer.means is None else (trainer.means,),
        "best": trainer.best,
        "history": tuple(trainer.history),
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Put a trainer of the same networks and head into a state."""
    trainer.descent.optimizer.zero_grad(set_to_none=True)  # of weights that go; room for the copy
    trainer.network.load_state_dict(state["network"])
    # they take the tensors of their state as they are, and go on to change them in place
    trainer.descent.optimizer.load_state_dict(copy.deepcopy(state["optimizer"]))
    trainer.descent.scheduler.load_state_dict(copy.deepcopy(state["scheduler"]))
    trainer.layer.load_state_dict(state["layer"])
    pair = [tensor.to(trainer.network.device, copy=True) for tensor in state["standard"]]
    trainer.standard = (pair[0], pair[1]) if pair else None
    trainer.means = next((t.to(trainer.network.device, copy=True) for t in state["means"]), None)
    trainer.best = dict(state["best"])
    trainer.history[:] = state["history"]


def in_main_memory(value: Any) -> Any:
    """Copy what a ``state_dict`` is made of."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: in_main_memory(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(in_main_memory, value))
    return copy.deepcopy(value)


def write_checkpoint(
    folder: Path, checkpoint: Checkpoint, before: Callable[[], object] | None = None
) -> None:
    """Replace the checkpoint of a folder at once: a killed run leaves the old one or the new.

    Parameters
    ----------
    folder
        Of the run.
    checkpoint
        Its state.
    before
        Called once the checkpoint is on the disk, just before it takes its place: what belongs to
        it must be there by then, and what it makes invalid gone.
    """
    content = {"format": FORMAT, "identity": checkpoint.identity, **checkpoint.state}
    content["history"] = [asdict(record) for record in checkpoint.history]
    path = folder / CHECKPOINT_FILE
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
        append_seal(temporary)
        if before is not None:
            before()


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of a folder, None without one; pickled objects raise.

    Raises
    ------
    InputError
        If the file is damaged, or no checkpoint of this version.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    again = "run again with --force to start over, or remove it."
    check_seal(path, again)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        reason = first_line(error)
        raise InputError(path, f"can't be read as a checkpoint ({reason}); {again}") from error
    fields = {"format", "identity", *SAVED}
    if not isinstance(content, dict) or set(content) != fields or content["format"] != FORMAT:
        raise InputError(path, f"isn't a checkpoint of this version of proxmtl; {again}")
    try:
        content["history"] = tuple(Epoch(**record) for record in content["history"])
        identity = {str(name): str(part) for name, part in content["identity"].items()}
    except (TypeError, AttributeError) as error:
        raise InputError(path, f"isn't a whole checkpoint ({error}); {again}") from error
    return Checkpoint(identity, {name: content[name] for name in SAVED})
