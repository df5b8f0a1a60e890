"""A training run on disk: everything that the next epoch depends on, in one sealed file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from proxmtl.backbones.training.record import Epoch
from proxmtl.backbones.training.snapshot import Snapshot
from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.seal import append_seal, check_seal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["CHECKPOINT_FILE", "Checkpoint", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_FILE = "checkpoint.pt"
FORMAT = "proxmtl training 5"
SAVED = ("network", "optimizer", "scheduler", "layer", "standard", "history")


@dataclass(frozen=True)
class Checkpoint:
    """State after an epoch.

    Attributes
    ----------
    identity
        What the run was asked for, by part: to continue it, all parts must agree.
    state
        All else.
    """

    identity: dict[str, str]
    state: Snapshot


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
    state = {name: getattr(checkpoint.state, name) for name in SAVED}
    state["history"] = [asdict(record) for record in checkpoint.state.history]
    with atomic_path(folder / CHECKPOINT_FILE) as temporary:
        torch.save({"format": FORMAT, "identity": checkpoint.identity, **state}, temporary)
        append_seal(temporary)
        if before is not None:
            before()


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of a folder, None without one; pickled objects are refused.

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
    return Checkpoint(identity, Snapshot(**{name: content[name] for name in SAVED}))
