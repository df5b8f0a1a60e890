"""Multi-label sets in the layout of MULAN: ``.arff`` files, the labels in the last columns.

Tsoumakas, Spyromitros-Xioufis, Vilcek and Vlahavas, "Mulan: a Java library for multi-label
learning", 2011. Numbers and nominal values 0 and 1 are read, in dense and in sparse rows.
"""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.io import arff

from proxmtl.backbones.experiments.location import require
from proxmtl.naming import no_such

__all__ = ["MULAN_LABELS", "MultiLabel", "load_mulan"]

MULAN_LABELS = {
    "birds": 19,
    "cal500": 174,
    "emotions": 6,
    "enron": 53,
    "flags": 7,
    "medical": 45,
    "scene": 6,
}
"""Numbers of labels of the sets that are read."""


class MultiLabel(NamedTuple):
    """A multi-label set, its parts joined.

    Attributes
    ----------
    X : ndarray, shape (N, D)
        Features.
    Y : ndarray, shape (N, M)
        Labels, 0 and 1.
    n_train
        Number of rows of the training part, which come first; all, where there is one part.
    """

    X: NDArray[np.float64]
    Y: NDArray[np.float64]
    n_train: int


def load_mulan(folder: str | Path, name: str) -> MultiLabel:
    """Read a set.

    Parameters
    ----------
    folder
        Folder with ``<name>-train.arff`` and ``<name>-test.arff``, or ``<name>.arff``; each may be
        compressed (``.arff.xz``), and have ``<name>__`` before its name.
    name
        Name in :data:`MULAN_LABELS`.

    Raises
    ------
    FileNotFoundError
        If a file isn't there.
    ValueError
        If the set is unknown, or a file can't be read; the message names it.
    """
    if name not in MULAN_LABELS:
        raise ValueError(f"name: {no_such(name, MULAN_LABELS)}")
    root = require(Path(folder), "the folder of MULAN's sets")
    whole = _find(root, name, name)
    parts = [whole] if whole else [_find(root, name, f"{name}-{part}") for part in PARTS]
    missing = [f"{name}-{part}.arff" for part, path in zip(PARTS, parts, strict=False) if not path]
    if missing:
        require(root / missing[0], f"a part of the set {name!r}, or {name}.arff")
    tables = [_read(path) for path in parts if path]
    if len({table.shape[1] for table in tables}) != 1:
        raise ValueError(f"{parts[0]} and {parts[-1]} have different numbers of columns.")
    table = np.concatenate(tables)
    n_labels = MULAN_LABELS[name]
    X, Y = table[:, :-n_labels], table[:, -n_labels:]
    if not np.isin(Y, (0, 1)).all() or not np.isfinite(X).all() or not X.shape[1]:
        raise ValueError(f"{parts[0]}: the last {n_labels} columns aren't labels of 0 and 1.")
    return MultiLabel(X, Y, len(tables[0]))


PARTS = ("train", "test")


def _find(root: Path, name: str, stem: str) -> Path | None:
    names = [f"{before}{stem}.arff{end}" for before in ("", f"{name}__") for end in ("", ".xz")]
    return next((root / each for each in names if (root / each).is_file()), None)


def _read(path: Path) -> NDArray[np.float64]:
    """Rows of a file of numbers, dense or sparse, (N, D + M)."""
    try:
        content = path.read_bytes()
        text = (lzma.decompress(content) if path.suffix == ".xz" else content).decode()
        # SciPy reads no sparse rows
        return _sparse(text) if "\n{" in text else _dense(text)
    except (ValueError, lzma.LZMAError, IndexError, arff.ArffError, NotImplementedError) as error:
        seen = str(error)[:80]  # it may have a whole line of the file
        msg = f"{path} can't be read as ARFF with numbers ({seen}); get it again."
        raise ValueError(msg) from error


def _dense(text: str) -> NDArray[np.float64]:
    if "@data" not in text:  # SciPy would look for it beyond the end
        raise ValueError("no @data")
    rows, _ = arff.loadarff(io.StringIO(text))
    return np.array([[float(value) for value in row] for row in rows])


def _sparse(text: str) -> NDArray[np.float64]:
    """Rows ``{column value, ...}``."""
    head, _, body = text.partition("@data")
    lines = [line.strip().strip("{}") for line in body.splitlines() if line.startswith("{")]
    table = np.zeros((len(lines), head.count("@attribute")))
    for row, line in enumerate(lines):
        for cell in filter(None, line.split(",")):
            column, value = cell.split()
            table[row, int(column)] = float(value)
    return table
