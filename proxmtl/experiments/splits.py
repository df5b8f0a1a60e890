"""Splits of rows into training and test parts, reproducible from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse

from proxmtl.experiments.labels import attribute_names, check_labels
from proxmtl.label_coding import numbers_by_attribute

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray


class Split(NamedTuple):
    """Sorted row indices of a training part and of a test part, which are disjoint."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]


def checked_splits(splits: Sequence[tuple[ArrayLike, ArrayLike]], n: int) -> list[Split]:
    """Convert splits of ``n`` rows to arrays of row indices.

    Raises
    ------
    ValueError
        If there is no split, a part is empty or has an index outside of 0..n - 1, or a row is in
        both parts.
    """
    if not splits:
        raise ValueError("splits: empty; make some with random_splits or stratified_folds.")
    parts = [
        Split(np.asarray(train, dtype=np.int64), np.asarray(test, dtype=np.int64))
        for train, test in splits
    ]
    for number, (train, test) in enumerate(parts):
        if not len(train) or not len(test):
            raise ValueError(f"splits: number {number} has an empty part.")
        both = np.concatenate([train, test])
        if both.min() < 0 or both.max() >= n:
            raise ValueError(f"splits: number {number} has a row outside 0..{n - 1}.")
        common = np.intersect1d(train, test)
        if common.size:
            raise ValueError(
                f"splits: number {number} has a row in both parts, such as {common[0]}."
            )
    return parts


def one_class_attributes(
    Y: ArrayLike, rows: ArrayLike | None = None, names: Sequence[str] | None = None
) -> list[str]:
    """Names of the attributes that lack a positive or a negative label in the given rows.

    Parameters
    ----------
    Y
        (N, M) labels in {0, 1} or {-1, 1}; NaN = missing.
    rows
        Row indices; default: all rows.
    names
        M attribute names; default ``"0"``, ``"1"``, ...
    """
    labels = check_labels(Y)
    known = attribute_names(names, labels.shape[1])
    part = labels if rows is None else labels[np.asarray(rows)]
    return [name for name, bad in zip(known, _one_class(part), strict=True) if bad]


def _one_class(labels: Any) -> NDArray[np.bool_]:
    positive, negative = numbers_by_attribute(labels)
    lacking: NDArray[np.bool_] = (positive == 0) | (negative == 0)
    return lacking


def random_splits(
    n: int,
    n_splits: int = 5,
    test_fraction: float = 0.4,
    seed: int = 0,
    *,
    Y: ArrayLike | csr_array | None = None,
    max_draws: int = 1000,
) -> list[Split]:
    """Draw independent uniform splits of ``n`` rows.

    Split ``i`` depends only on ``(n, test_fraction, seed, i)`` and ``Y``: asking for more
    splits doesn't change the first ones.

    Parameters
    ----------
    n
        Number of rows.
    n_splits
        Number of splits.
    test_fraction
        Share of the rows in the test part, in (0, 1); rounded to the nearest number of rows.
    seed
        A non-negative integer.
    Y
        (n, M) labels; or a sparse array of those that are known, -1 and +1. If given, a split is
        drawn again until each attribute has both classes in the training part, except attributes
        with one class in *all* rows, which :func:`one_class_attributes` lists.
    max_draws
        Maximum number of draws for one split.

    Returns
    -------
    list of Split

    Raises
    ------
    ValueError
        If a part would be empty, ``Y`` has another number of rows, or no draw had both classes
        of each attribute in training; the message names the attributes.
    """
    n_test = test_size(n, test_fraction)
    if n_splits < 1 or max_draws < 1:
        msg = f"n_splits={n_splits} and max_draws={max_draws} must both be at least 1."
        raise ValueError(msg)
    labels: Any = Y if Y is None or issparse(Y) else check_labels(Y)
    if labels is not None and labels.shape[0] != n:
        msg = f"Y has {labels.shape[0]} rows and n is {n}; give the labels of the rows to split."
        raise ValueError(msg)
    return [_draw(n, n_test, (seed, i), labels, max_draws) for i in range(n_splits)]


def test_size(n: int, test_fraction: float) -> int:
    """Rows of the test part; raise ``ValueError`` if a part of ``n`` rows would be empty."""
    n_test = round(n * test_fraction)
    if not 0 < test_fraction < 1 or not 0 < n_test < n:
        msg = (
            f"test_fraction={test_fraction} of n={n} rows leaves an empty part; "
            "give a fraction in (0, 1) that leaves at least one row on each side."
        )
        raise ValueError(msg)
    return n_test


def _draw(n: int, n_test: int, key: tuple[int, int], Y: Any, max_draws: int) -> Split:
    rng = np.random.default_rng(key)
    hopeless = None if Y is None else _one_class(Y)
    bad = np.zeros(0, dtype=np.bool_)
    for _ in range(max_draws):
        order = rng.permutation(n)
        split = Split(np.sort(order[n_test:]), np.sort(order[:n_test]))
        if Y is None or hopeless is None:
            return split
        bad = _one_class(Y[split.train]) & ~hopeless
        if not bad.any():
            return split
    columns = np.flatnonzero(bad).tolist()
    msg = (
        f"after {max_draws} draws the training part still lacks a class of the attributes in "
        f"columns {columns[:5]} of Y; lower test_fraction or drop these attributes."
    )
    raise ValueError(msg)


def sample_folds(n: int, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Split ``n`` rows at random into folds whose sizes differ by one at most, each tested once.

    Parameters
    ----------
    n
        Number of rows.
    n_folds
        Number of folds, from 2 to n.
    seed
        A non-negative integer.
    """
    check_folds(n_folds, n, "rows")
    fold_of = np.empty(n, dtype=np.int64)
    fold_of[np.random.default_rng(seed).permutation(n)] = np.arange(n) % n_folds
    return splits_by_fold(fold_of, n_folds)


def class_folds(classes: ArrayLike, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Group k-fold over classes: the classes of a test part are absent from its training part.

    Classes are assigned in order of decreasing size, each to the fold with the fewest rows so far.

    Parameters
    ----------
    classes
        (N,) the class of each row: numbers or names.
    n_folds
        Number of folds, from 2 to the number of classes.
    seed
        Seed of the order of classes of the same size.

    Raises
    ------
    ValueError
        If there are fewer classes than folds, or ``classes`` is not a vector.
    """
    given = np.asarray(classes)
    if given.ndim != 1:
        msg = f"classes has shape {given.shape}; give one class a row."
        raise ValueError(msg)
    names, members, sizes = np.unique(given, return_inverse=True, return_counts=True)
    check_folds(n_folds, len(names), "classes")
    shuffled = np.random.default_rng(seed).permutation(len(names))
    fold_of_class = np.empty(len(names), dtype=np.int64)
    rows = np.zeros(n_folds, dtype=np.int64)
    for label in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold_of_class[label] = fold = int(rows.argmin())
        rows[fold] += sizes[label]
    return splits_by_fold(fold_of_class[members], n_folds)


def check_folds(n_folds: int, n: int, of: str) -> None:
    """Raise ``ValueError`` unless ``n`` rows or classes can be split into ``n_folds`` folds."""
    if not 2 <= n_folds <= n:
        msg = f"n_folds={n_folds} for {n} {of}; use at least 2 and at most {n}."
        raise ValueError(msg)


def splits_by_fold(fold_of: NDArray[np.int64], n_folds: int) -> list[Split]:
    """Splits that test on each fold in turn and train on the others."""
    return [
        Split(np.flatnonzero(fold_of != f), np.flatnonzero(fold_of == f)) for f in range(n_folds)
    ]


@dataclass(frozen=True)
class Holdout:
    """One training and validation part, as a scikit-learn splitter (``GridSearchCV(cv=...)``).

    Unlike scikit-learn's ``ShuffleSplit``, it draws a training part in which each attribute has
    both classes.

    Parameters
    ----------
    fraction
        Share of the rows in the validation part.
    seed
        A non-negative integer.
    """

    fraction: float = 0.25
    seed: int = 0

    def split(self, X: Any, y: ArrayLike, groups: object = None) -> Iterator[Split]:
        """Yield the one split of the rows of ``X``, with labels ``y``; ``groups`` isn't used."""
        del groups
        yield from random_splits(len(X), 1, self.fraction, self.seed, Y=y)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: object = None) -> int:
        """Return 1."""
        del X, y, groups
        return 1
