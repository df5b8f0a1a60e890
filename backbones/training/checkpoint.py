"""A training run on disk: everything that the next epoch depends on, in one file."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from proxmtl.io.atomic import atomic_path
from proxmtl.io.errors import InputError, first_line

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CHECKPOINT_FILE", "Checkpoint", "read_checkpoint", "write_checkpoint"]

CHECKPOINT_FILE = "checkpoint.pt"
FORMAT = "proxmtl training 3"


@dataclass(frozen=True)
class Checkpoint:
    """State after an epoch.

    Attributes
    ----------
    identity
        What the run was asked for, by part: to continue it, all parts must agree.
    network, optimizer, scheduler, layer
        Their ``state_dict``; the next solve starts from the layer's weights.
    standard
        Mean and scale of the features.
    history
        Records of the epochs so far; their number says where the run is. Random streams belong to
        the seed and the epoch, so they need no state here.
    """

    identity: dict[str, str]
    network: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    standard: list[Tensor]
    layer: dict[str, Any]
    history: list[dict[str, Any]]


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of a folder at once: a killed run leaves the old one or the new."""
    with atomic_path(folder / CHECKPOINT_FILE) as temporary:
        torch.save({"format": FORMAT, **vars(checkpoint)}, temporary)


def read_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of a folder, None without one; pickled objects are refused.

    Raises
    ------
    InputError
        If the file is damaged or isn't a checkpoint of this version.
    """
    path = folder / CHECKPOINT_FILE
    for leftover in folder.glob(f".{CHECKPOINT_FILE}.*"):  # of a run killed while it wrote
        leftover.unlink(missing_ok=True)
    if not path.is_file():
        return None
    again = "remove it to start over."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = first_line(error)
        raise InputError(path, f"can't be read as a checkpoint ({reason}); {again}") from error
    fields = {"format", *Checkpoint.__dataclass_fields__}
    if not isinstance(content, dict) or set(content) != fields or content["format"] != FORMAT:
        raise InputError(path, f"isn't a checkpoint of this version of proxmtl; {again}")
    del content["format"]
    return Checkpoint(**content)
