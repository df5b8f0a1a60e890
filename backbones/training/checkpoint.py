"""A training run on disk: everything that the next epoch depends on, in one file."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from proxmtl.backbones.training.record import Epoch
from proxmtl.backbones.training.snapshot import Snapshot
from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHECKPOINT_FILE", "Checkpoint", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_FILE = "checkpoint.pt"
FORMAT = "proxmtl training 4"
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


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a folder at once: a killed run leaves the old one or the new."""
    state = {name: getattr(checkpoint.state, name) for name in SAVED}
    state["history"] = [asdict(record) for record in checkpoint.state.history]
    with atomic_path(folder / CHECKPOINT_FILE) as temporary:
        torch.save({"format": FORMAT, "identity": checkpoint.identity, **state}, temporary)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of a folder, None without one; pickled objects are refused.

    Raises
    ------
    InputError
        If the file is damaged or isn't a checkpoint of this version.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    again = "remove it to start over."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = first_line(error)
        raise InputError(path, f"can't be read as a checkpoint ({reason}); {again}") from error
    fields = {"format", "identity", *SAVED}
    if not isinstance(content, dict) or set(content) != fields or content["format"] != FORMAT:
        raise InputError(path, f"isn't a checkpoint of this version of proxmtl; {again}")
    content["history"] = tuple(Epoch(**record) for record in content["history"])
    return Checkpoint(content["identity"], Snapshot(**{name: content[name] for name in SAVED}))
