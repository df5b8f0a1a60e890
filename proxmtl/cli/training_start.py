"""Where a training begins: at pretrained or random networks, or at those of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxmtl.backbones.networks import IMAGENET, RANDOM
from proxmtl.backbones.training.start import networks_of_run
from proxmtl.io import InputError
from proxmtl.io.identity import fitted_rows, row_fingerprints
from proxmtl.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from proxmtl.backbones.data import ImageTable
    from proxmtl.backbones.networks import Ensemble
    from proxmtl.backbones.training import Architecture
    from proxmtl.cli.training import Request

__all__ = ["check_unseen", "networks_at_start"]


def networks_at_start(
    request: Request, architecture: Architecture, names: tuple[str, ...]
) -> tuple[Ensemble, tuple[Tensor, Tensor] | None]:
    """Networks as they begin, and the mean and scale of pixels where an earlier run has them."""
    run = _run_begun_at(request)
    if run is not None:
        return networks_of_run(run, architecture, names)
    return architecture.ensemble(request.split.seed, request.networks.weights), None


def _run_begun_at(request: Request) -> Path | None:
    """The run whose networks the training begins at, if it does."""
    weights = request.networks.weights
    if weights is None or weights in {IMAGENET, RANDOM} or not Path(weights).is_dir():
        return None
    return Path(weights)


def check_unseen(request: Request, table: ImageTable, rows: NDArray[np.intp], option: str) -> None:
    """Raise if networks of a run were trained on images that are to judge what comes of them.

    Parameters
    ----------
    rows
        Of the table: those that an option sets apart.
    option
        Its name.

    Raises
    ------
    InputError
        With the number of these images.
    """
    run = _run_begun_at(request)
    if run is None or not len(rows):
        return
    pixels = (table.pixels[row] for row in rows)
    seen = np.isin(row_fingerprints(pixels), fitted_rows(run)["mark"])
    if seen.any():
        raise InputError(
            run,
            f"was trained on {int(seen.sum())} of the {counted(len(rows), 'image')} that {option} "
            "sets apart here, so that scores on them would be too good; train it with the same "
            "--seed, --holdout and --validate on the same labels.",
        )
