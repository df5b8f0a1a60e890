"""Iterative stratification of multi-label data: parts with similar frequencies of all labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, hstack, issparse

from proxmtl.experiments.labels import check_labels
from proxmtl.experiments.splits import Split, check_folds, splits_by_fold, test_size

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["stratified_folds", "stratified_split"]

COMMON = 500
"""Rows with a label above which a split leaves the label to chance: the share of the test part then
deviates by a tenth or less, and rows are dealt one by one."""


def stratified_folds(Y: ArrayLike, n_folds: int = 5, seed: int = 0) -> list[Split]:
    """Split rows into folds with nearly the same frequency of every label, each tested once.

    Repeatedly takes the rarest remaining label and assigns each of its rows to the fold that lacks
    most of that label (then most rows): scarce labels are distributed while there is still a
    choice. Positives and negatives of an attribute count as two labels, since the negatives of a
    frequent attribute are rare. Missing labels count as neither.

    Parameters
    ----------
    Y
        (N, M) labels in {0, 1} or {-1, 1}; NaN = missing.
    n_folds
        Number of folds, from 2 to N.
    seed
        Seed of the order of the rows and of ties.

    Returns
    -------
    list of Split
        Rows without any label are spread evenly.

    Raises
    ------
    ValueError
        If a label has another value, or there are fewer than 2 or more than N folds.

    References
    ----------
    Sechidis, Tsoumakas, Vlahavas, "On the stratification of multi-label data", 2011.
    """
    labels = check_labels(Y)
    check_folds(n_folds, len(labels), "rows")
    fold_of = np.full(len(labels), -1)
    rng = np.random.default_rng(seed)
    has = _incidence(labels)
    wanted = np.full(n_folds, len(labels) / n_folds)
    wanted_of = np.repeat(has.sum(axis=0)[None, :] / n_folds, n_folds, axis=0)
    for row in _deal(has, fold_of, wanted, wanted_of, rng):
        fold = _neediest(wanted, wanted, rng)
        fold_of[row] = fold
        wanted[fold] -= 1
    return splits_by_fold(fold_of, n_folds)


def stratified_split(Y: Any, test_fraction: float = 0.2, seed: int = 0) -> Split:
    """Split rows into a training and a test part, both with every label that has two rows.

    As :func:`stratified_folds`, for two parts of different sizes: the test part has its share of
    each label, at least one row where the label has two or more. Labels of a single row go to the
    training part. Where labels ask for more rows than the test part has, the rarest are served
    first. Labels of more than 500 rows are left to chance.

    Parameters
    ----------
    Y
        (N, M) labels in {0, 1} or {-1, 1}, NaN = missing; or a sparse array of those that are
        known, -1 and +1.
    test_fraction
        Share of the rows in the test part, in (0, 1); rounded to the nearest number of rows.
    seed
        Seed of the order of the rows and of ties.

    Raises
    ------
    ValueError
        If a label has another value, or a part would be empty.

    References
    ----------
    Sechidis, Tsoumakas, Vlahavas, "On the stratification of multi-label data", 2011.
    """
    labels = Y if issparse(Y) else check_labels(Y)
    n = labels.shape[0]
    n_test = test_size(n, test_fraction)
    rng = np.random.default_rng(seed)
    has = _incidence(labels)
    has = has[:, np.flatnonzero(has.sum(axis=0) <= COMMON)]
    count = has.sum(axis=0)
    tested = np.clip(count * (n_test / n), np.minimum(1, count - 1), np.maximum(count - 1, 0))
    side, room = np.full(n, -1), np.array([n - n_test, n_test], dtype=np.float64)
    rest = _deal(has, side, room, np.stack([count - tested, tested]), rng, bounded=True)
    side[rest] = 0
    side[rest[: int(room[1])]] = 1
    return Split(np.flatnonzero(side == 0), np.flatnonzero(side == 1))


def _incidence(labels: Any) -> csr_array:
    """Which rows have which label, (N, 2 M): each yes, and then each no; NaN is neither."""
    no = labels < 0 if issparse(labels) else labels <= 0
    return hstack([csr_array(labels > 0), csr_array(no)], format="csr", dtype=np.int64)


def _deal(
    has: csr_array,
    fold_of: NDArray[np.int64],
    wanted: NDArray[np.float64],
    wanted_of: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    bounded: bool = False,
) -> NDArray[np.int64]:
    """Deal rows to folds, label by label from the rarest on; return those without a label.

    Parameters
    ----------
    has
        (N, L): which rows have which label.
    fold_of
        (N,): written for the rows that are dealt, -1 before.
    wanted, wanted_of
        (F,) and (F, L): rows that each fold lacks, in all and of each label; brought up to date.
    bounded
        Whether a fold takes no more rows than it wants.
    """
    order = rng.permutation(has.shape[0])
    place, members = np.argsort(order), has.tocsc()
    left = has.sum(axis=0)
    while left.any():
        scarce = np.flatnonzero(left == left[left > 0].min())
        label = rng.choice(scarce)
        rows = members.indices[members.indptr[label] : members.indptr[label + 1]]
        rows = rows[fold_of[rows] < 0]
        for row in rows[np.argsort(place[rows])]:
            own = has.indices[has.indptr[row] : has.indptr[row + 1]]
            needs = wanted_of[:, label]
            if bounded:
                needs = np.where(wanted >= 1, needs, -np.inf)
            fold = _neediest(needs, wanted, rng)
            fold_of[row] = fold
            wanted[fold] -= 1
            wanted_of[fold, own] -= 1
            left[own] -= 1
    return order[fold_of[order] < 0]


def _neediest(
    first: NDArray[np.float64], then: NDArray[np.float64], rng: np.random.Generator
) -> int:
    best = np.flatnonzero(_largest(first))
    return int(rng.choice(best[_largest(then[best])]))


def _largest(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mask of the values equal to the largest, up to the tolerance of :func:`numpy.isclose`."""
    most = values.max()  # numpy.isclose itself takes twenty times as long, for its checks
    close: NDArray[np.bool_] = most - values <= 1e-8 + 1e-5 * abs(most)
    return close
