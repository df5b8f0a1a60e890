"""Names of the files in run folders: only files of these names are sealed or removed unasked."""

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
"""Makes a folder one of training, from before the first solve."""
DESCRIPTION_FILE = "model.json"
"""The file that makes a folder a run folder."""
NEXT_FOLDER = ".proxmtl.next"
"""In a run folder: the run that replaces it, until all its files are in place. No temporary folder
by its name, so that it is not removed as one."""
_BY_PRODUCTS = (
    "candidates.csv",
    "held_out.csv",
    "history.csv",
    "metrics.csv",
    "metrics.json",
    "plots/attributes.png",
    "plots/convergence.png",
    "plots/latents.png",
    "scalars_*.csv",
    "sharing.csv",
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
    """Whether a command writes a file of this name (relative, with slashes) into run folders.

    The manifest, and the files that change while a training goes on, are not among them.
    """
    return any(fnmatchcase(name, pattern) for pattern in (*_BY_PRODUCTS, *_OTHERS))


def is_by_product(name: str) -> bool:
    """Whether a file is a figure or table for people, which no model needs."""
    return any(fnmatchcase(name, pattern) for pattern in _BY_PRODUCTS)
