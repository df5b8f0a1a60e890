"""Identity of a training run: the settings that must agree for a checkpoint to be resumed."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from proxmtl.backbones.training.checkpoint import read_checkpoint, restore
from proxmtl.io.errors import InputError
from proxmtl.io.identity import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from proxmtl.backbones.training.trainer import Trainer

__all__ = ["check_same_run", "identity", "resume"]

CHUNK = 1024


def identity(trainer: Trainer) -> dict[str, str]:
    """Describe a run that has not begun, by part.

    The networks count with their weights at the start, so that a run is not continued under other
    ``weights`` or another seed of them. More epochs may be asked for later.
    """
    settings = asdict(trainer.config)
    del settings["epochs"], settings["workers"]  # neither changes what an epoch gives
    network, table = trainer.network, trainer.table
    state = network.state_dict()
    trained = [name for name, _ in network.named_parameters()]
    parts = (table.pixels[i : i + CHUNK] for i in range(0, len(table.pixels), CHUNK))
    rows = (table.labels, trainer.train, trainer.test)
    return {
        "settings": repr(settings),
        "head": fingerprint(trainer.head),
        "networks": repr(({name: tuple(t.shape) for name, t in state.items()}, trained)),
        "initial weights": _digest(tensor.cpu().numpy() for tensor in state.values()),
        "augmentation": repr(trainer.augmentation),
        "normalisation": repr((trainer.mean.tolist(), trainer.scale.tolist())),
        "images, labels and rows": _digest(itertools.chain(rows, parts)),
    }


def resume(trainer: Trainer, folder: Path, *, fresh: bool) -> dict[str, str]:
    """Make the folder of a run, or put the trainer where the run in it is; returns its identity.

    Parameters
    ----------
    trainer
        With networks and head as they start.
    folder
        Of the run.
    fresh
        Whether a checkpoint in it is passed over.

    Raises
    ------
    InputError
        If the folder is a file, or its checkpoint is damaged or of another run.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "this is a file; name a folder for the run.")
    folder.mkdir(parents=True, exist_ok=True)
    asked = identity(trainer)
    checkpoint = None if fresh else read_checkpoint(folder)
    if checkpoint is not None:
        check_same_run(folder, checkpoint.identity, asked)
        restore(trainer, checkpoint.state)
    return asked


def check_same_run(folder: Path, recorded: Mapping[str, str], asked: Mapping[str, str]) -> None:
    """Raise ``InputError`` with the parts in which a checkpoint is of another run."""
    differ = [name for name, part in asked.items() if recorded.get(name) != part]
    if differ:
        raise InputError(
            folder,
            f"holds a checkpoint of another run: {', '.join(differ)} differ. Ask for the same to "
            "continue it, give --force to start over (in Python fresh=True), or name another "
            "folder.",
        )


def _digest(arrays: Iterable[NDArray[np.generic]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        # bytes alone don't say where one array ends and the next begins
        digest.update(f"{array.dtype} {array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
