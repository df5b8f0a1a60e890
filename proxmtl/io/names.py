"""Names of the files in run folders; only files with these names are sealed or removed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ARRAYS_FILE",
    "CONFIG_FILE",
    "DESCRIPTION_FILE",
    "HISTORY_FILE",
    "METRICS_FILE",
    "NEXT_FOLDER",
    "PREDICTIONS_FILE",
    "SPLIT_FILE",
    "TRAINING_FOLDER",
    "is_by_product",
    "is_run_file",
    "name_of_earlier_version",
]

ARRAYS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
"""What was asked for; in a training folder it is there before the first solve."""
HISTORY_FILE = "history.csv"
METRICS_FILE = "metrics_by_attribute.csv"
PREDICTIONS_FILE = "predictions.csv"
SPLIT_FILE = "split.csv"
TRAINING_FOLDER = ".train"
"""Subfolder of a training folder: checkpoint, lock and event files, which nobody needs who takes a
copy of the finished run."""
DESCRIPTION_FILE = "model.json"
"""File that marks a folder as a run folder."""
NEXT_FOLDER = ".proxmtl.next"
"""Subfolder of a run folder: the run that replaces it, until all files are in place. Its name is
not that of a temporary folder, so that it is not removed as one."""
_EARLIER_BY_PRODUCTS = ("held_out.csv", "metrics.csv")
_EARLIER = (*_EARLIER_BY_PRODUCTS, "training.json", "scalars.csv")
"""Names in the runs of earlier versions. Nothing of these is read."""
_BY_PRODUCTS = (
    "candidates.csv",
    HISTORY_FILE,
    METRICS_FILE,
    "metrics.json",
    "plots/attributes.png",
    "plots/convergence.png",
    "plots/latents.png",
    PREDICTIONS_FILE,
    "report.html",
    "history_*.csv",
    "sharing.csv",
    SPLIT_FILE,
    "trials.csv",
    "zero_shot.csv",
    *_EARLIER_BY_PRODUCTS,
)
_OTHERS = (
    ARRAYS_FILE,
    DESCRIPTION_FILE,
    CONFIG_FILE,
    "data/groups.toml",
    "data/test.csv",
    "data/test.npy",
    "data/train.csv",
    "data/train.npy",
    "fitted_rows.npy",
)


def is_run_file(name: str) -> bool:
    """Whether commands write a file of this name (relative, with slashes) into run folders.

    False for the manifest, and for files that change during a training.
    """
    return any(fnmatchcase(name, pattern) for pattern in (*_BY_PRODUCTS, *_OTHERS))


def is_by_product(name: str) -> bool:
    """Whether a file is a figure or table for people, which is not needed to load the model."""
    return any(fnmatchcase(name, pattern) for pattern in _BY_PRODUCTS)


def name_of_earlier_version(names: Iterable[str]) -> str | None:
    """Return the first of the names that only runs of earlier versions have; None without any."""
    return next((name for name in names if name in _EARLIER), None)
