"""Names of the files in run folders; only files with these names are sealed or removed."""

from __future__ import annotations

from fnmatch import fnmatchcase

__all__ = [
    "ARRAYS_FILE",
    "DESCRIPTION_FILE",
    "NEXT_FOLDER",
    "TRAINING_FILE",
    "is_by_product",
    "is_run_file",
]

ARRAYS_FILE = "model.safetensors"
TRAINING_FILE = "training.json"
"""Marks a folder as a training folder, even before the first solve."""
DESCRIPTION_FILE = "model.json"
"""File that marks a folder as a run folder."""
NEXT_FOLDER = ".proxmtl.next"
"""Subfolder of a run folder: the run that replaces it, until all files are in place. Its name is
not that of a temporary folder, so that it is not removed as one."""
_BY_PRODUCTS = (
    "candidates.csv",
    "held_out.csv",
    "history.csv",
    "metrics.csv",
    "metrics.json",
    "plots/attributes.png",
    "plots/convergence.png",
    "plots/latents.png",
    "report.html",
    "scalars_*.csv",
    "sharing.csv",
    "split.csv",
    "trials.csv",
    "zero_shot.csv",
)
_OTHERS = (
    ARRAYS_FILE,
    DESCRIPTION_FILE,
    "config.json",
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
