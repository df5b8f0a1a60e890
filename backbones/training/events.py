"""The figures of a training run as event files, which TensorBoard shows."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from proxmtl.io.names import TRAINING_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from proxmtl.backbones.training.record import Epoch

__all__ = ["EVENT_FOLDER", "EventLog", "require_tensorboard"]

EVENT_FOLDER = f"{TRAINING_FOLDER}/tensorboard"
"""In the run folder."""


def require_tensorboard() -> Any:
    """Return torch's writer of event files.

    Raises
    ------
    ImportError
        With the command that installs what it needs.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - optional
    except ImportError as error:
        msg = f"event files need {error.name}; pip install 'proxmtl[logs]'."
        raise ImportError(msg) from error
    return SummaryWriter


class EventLog:
    """Event files of a run: a scalar for every figure, a step for every epoch.

    Event files can only be added to, so a run that was killed or prolonged would give steps twice.
    Here each start replaces the files by the epochs so far, which the checkpoint knows, and tells
    a TensorBoard that is watching to forget what it has read.

    Parameters
    ----------
    folder
        Made if it does not exist; event files in it are replaced once there is an epoch.
    history
        Epochs so far.

    Raises
    ------
    ImportError
        If tensorboard isn't installed.
    """

    def __init__(self, folder: Path, history: Iterable[Epoch] = ()) -> None:
        self._make, self._folder = require_tensorboard(), folder
        self._writer: Any = None
        for epoch in history:
            self.add(epoch)

    def add(self, epoch: Epoch) -> None:
        """Write the figures of an epoch; those that it doesn't have (None, NaN) are left out."""
        if self._writer is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer = self._make(log_dir=str(self._folder), purge_step=0)
        figures = asdict(epoch)
        step = figures.pop("epoch")
        for name, value in figures.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
