"""What a table is made of: data, systems, splits, and the published figures beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from proxmtl.groups import Groups

__all__ = [
    "Data",
    "FeaturesOf",
    "Fitted",
    "Fold",
    "Part",
    "PublishedTable",
    "System",
    "Table",
]

Array = NDArray[Any]
Halves = tuple[Array, Array]
"""Row numbers of a training part and of the validation part beside it."""
FeaturesOf = Callable[[str, Any, Sequence[str]], Array]
"""Features of images: called with the name of their data set, the images, and their names."""


@dataclass(frozen=True)
class Data:
    """A data set as tables use it.

    Attributes
    ----------
    X : ndarray, shape (N, D)
        Features, as they are; a table says how they are scaled.
    Y : ndarray, shape (N, M)
        1 = yes, 0 = no, NaN = unknown.
    names
        The M attributes.
    groups
        Groups of the attributes.
    sets : ndarray of int, shape (N,)
        Rows with one number are copies of one sample, or are otherwise to be kept together: on one
        side of a split.
    classes : ndarray of int, shape (N,), or None
        Class of each row, a row of ``signatures``.
    signatures : Mapping of name to ndarray, shape (Z, M)
        Attributes of the classes: ``"binary"``, and other tables of numbers.
    parts
        Rows of parts that the authors of the data keep apart, by name.
    others
        Other features of the rows, by name: functions that return them, (N, D'), or images of them,
        (N, C, H, W) uint8.
    """

    X: Array
    Y: Array
    names: tuple[str, ...]
    groups: Groups
    sets: NDArray[np.int64]
    classes: NDArray[np.int64] | None = None
    signatures: Mapping[str, Array] = field(default_factory=dict)
    parts: Mapping[str, Array] = field(default_factory=dict)
    others: Mapping[str, Callable[[], Array]] = field(default_factory=dict)

    def digest(self) -> str:
        """Hash of what a cell is computed from, but the rows of its split."""
        groups = self.groups
        arrays: dict[str, Any] = {"X": self.X, "Y": self.Y, "classes": self.classes}
        arrays |= {"indptr": groups.indptr, "indices": groups.indices, "weights": groups.weights}
        arrays |= {f"signatures {name}": table for name, table in sorted(self.signatures.items())}
        found = hashlib.sha256(repr((self.names, groups.names)).encode())
        for name, values in arrays.items():
            if values is not None:
                array = np.asarray(values)
                found.update(repr((name, array.shape, array.dtype.str)).encode())
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]


class Fold(NamedTuple):
    """A split of a table.

    Attributes
    ----------
    name
        Of the split, in the log.
    parts
        Training and validation parts, row numbers. Strengths are chosen by scores on the validation
        parts, each of a model of the training part beside it.
    refit
        Rows of the model that is tested, at the strengths chosen.
    test
        Rows of the test part.
    """

    name: str
    parts: tuple[Halves, ...]
    refit: Array
    test: Array


@dataclass(frozen=True)
class Part:
    """What a system learns from.

    Attributes
    ----------
    X, Y
        (n, D) features, or (n, C, H, W) images of 0..255, and (n, M) labels of the rows of training
        and validation.
    parts
        Row numbers in ``X`` of the parts that candidates are fitted on, and of those beside them
        on which they are scored.
    refit
        Row numbers in ``X`` of the final fit.
    groups, names
        Of the attributes.
    classes, signatures
        As in :class:`Data`.
    seed
        Of whatever is random.
    standardize
        Whether each feature is scaled to unit variance, or all by one number.
    device
        Of networks that are trained.
    """

    X: Array
    Y: Array
    parts: tuple[Halves, ...]
    refit: Array
    groups: Groups
    names: tuple[str, ...]
    classes: NDArray[np.int64] | None
    signatures: Mapping[str, Array]
    seed: int
    standardize: bool
    device: str = "cpu"

    def of(self, rows: Array) -> tuple[Array, Array]:
        """Features and labels of some rows."""
        return self.X[rows], self.Y[rows]


class Fitted(NamedTuple):
    """A fitted system.

    Attributes
    ----------
    log_odds
        Takes features (n, D), returns (n, M): positive means yes. Calibrated on the validation
        parts, by systems of attributes all in the same way.
    chosen
        Strengths that the validation parts chose.
    validation
        Every candidate and its score on the validation parts.
    notes
        What else is worth a place in the log.
    class_scores
        Takes features and signatures of candidate classes, and returns scores (n, Z), where the
        system has better ones than direct attribute prediction.
    """

    log_odds: Callable[[Array], Array]
    chosen: dict[str, Any]
    validation: list[dict[str, Any]]
    notes: dict[str, Any]
    class_scores: Callable[[Array, Mapping[str, Array]], Array] | None = None


@dataclass(frozen=True)
class System:
    """A row of a table.

    Attributes
    ----------
    name
        In options and logs.
    title
        In tables.
    fit
        Learns from a :class:`Part`.
    options
        What it is configured by, such as its grid; it goes into the log, and a cell is computed
        again when it has changed.
    asked
        Whether it runs only where ``--systems`` names it.
    features
        Name of the features of the data that it learns from: one of `Data.others`; None: `Data.X`.
    """

    name: str
    title: str
    fit: Callable[[Part], Fitted]
    options: Mapping[str, Any]
    asked: bool = False
    features: str | None = None


class PublishedTable(NamedTuple):
    """Figures of a publication.

    Attributes
    ----------
    source
        Where they stand.
    metric
        What they are, a column of the metrics.
    rows
        Figures in per cent by row and column: group of attributes, or ``Total``.
    ours
        Row of the publication -> systems of ours that stand for it.
    remark
        Why ours and theirs differ.
    """

    source: str
    metric: str
    rows: Mapping[str, Mapping[str, float]]
    ours: Mapping[str, tuple[str, ...]]
    remark: str


@dataclass(frozen=True)
class Table:
    """A table as it is declared.

    Attributes
    ----------
    name
        Of its files, and in the log.
    title
        Heading.
    load
        Reads the data from a folder; the second argument makes features of images, or finds those
        made before.
    folds
        The splits of the data, given the seed.
    protocol
        What the splits, budgets and choices are; paragraphs are items of a list.
    systems
        Rows, in order.
    metrics
        Columns of the metrics that have a table.
    pairs
        Rows that are compared by tests: (row, baseline).
    published
        Figures to stand beside ours.
    standardize
        As in :class:`Part`.
    extra
        Takes log-odds, data and the test rows: further figures of a cell, in [0, 1].
    unseen
        Whether test rows are of classes that no training row is of.
    disjoint
        Whether no two splits learn from the same rows; they then have the test rows in common.
    seed
        Of the splits.
    """

    name: str
    title: str
    load: Callable[[Path, FeaturesOf], Data]
    folds: Callable[[Data, int], list[Fold]]
    protocol: str
    systems: tuple[System, ...]
    metrics: tuple[str, ...] = ("accuracy", "ap", "auc")
    pairs: tuple[tuple[str, str], ...] = ()
    published: tuple[PublishedTable, ...] = ()
    standardize: bool = True
    extra: Callable[[Array, Data, Array], dict[str, float]] | None = None
    unseen: bool = False
    disjoint: bool = False
    seed: int = 0
