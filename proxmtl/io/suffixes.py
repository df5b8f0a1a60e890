"""Files of features by their suffixes; nothing here reads them, or imports what does."""

from __future__ import annotations

from pathlib import Path

from proxmtl.io.errors import InputError

__all__ = [
    "FEATURE_SUFFIXES",
    "IMAGE_SUFFIXES",
    "SHARD_SUFFIXES",
    "check_features_path",
    "holds_shards",
]

SHARD_SUFFIXES = (".npy", ".safetensors", ".parquet")
"""Suffixes of files that are read row by row."""
FEATURE_SUFFIXES = (".npy", ".npz", ".safetensors", ".parquet")
"""Suffixes of files that are read whole."""
_JPEG = (".jfif", ".jpe", ".jpeg", ".jpg")
_NETPBM = (".pbm", ".pgm", ".pnm", ".ppm")
IMAGE_SUFFIXES = frozenset([*_JPEG, *_NETPBM, ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"])
_CONVERSIONS = {
    ".csv": "pandas.read_csv('x.csv', index_col=0).to_parquet('x.parquet'), with identifiers of "
    "the rows in its first column; with semicolons and decimal commas also sep=';', decimal=','",
    ".xlsx": "pandas.read_excel('x.xlsx', index_col=0).to_parquet('x.parquet')",
    ".mat": "numpy.save('x.npy', scipy.io.loadmat('x.mat')['X'])",
    ".pt": "numpy.save('x.npy', torch.load('x.pt').numpy())",
}
"""Commands that make features of other files."""


def holds_shards(folder: Path) -> bool:
    """Whether a folder has files that :func:`proxmtl.io.open_shards` takes."""
    return any(path.suffix.lower() in SHARD_SUFFIXES for path in folder.iterdir())


def check_features_path(path: Path) -> None:
    """Check that a path is one of features, by what it is called and, for a folder, holds.

    Raises
    ------
    InputError
        If it is not; with a command that makes features of such a file.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        if path.suffix == ".partial" or holds_shards(path):
            return
        raise InputError(
            path,
            "a folder without npy, safetensors or parquet files; features are a file, or a folder "
            "of such files. proxmtl extract makes one of a folder of images.",
        )
    if not suffix and not path.exists():
        raise InputError(path, "no such file or folder; check the path to the features or images.")
    if suffix not in FEATURE_SUFFIXES:
        seen = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise InputError(
            path,
            f"features are read from {', '.join(FEATURE_SUFFIXES)} files and this name has {seen}; "
            f"convert the file, for example with {_CONVERSIONS.get(suffix, 'numpy.save')}.",
        )
    if not path.is_file():
        raise InputError(path, "no such file; check the path to the features.")
