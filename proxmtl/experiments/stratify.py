"""Iterative stratification of multi-label data: folds with similar frequencies of all labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.experiments.labels import check_labels
from proxmtl.experiments.splits import Split, check_folds, splits_by_fold

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["stratified_folds"]


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
    has = np.concatenate([labels > 0, labels <= 0], axis=1)  # NaN is neither
    _deal(has, fold_of, n_folds, rng)
    return splits_by_fold(fold_of, n_folds)


def _deal(
    has: NDArray[np.bool_], fold_of: NDArray[np.int64], n_folds: int, rng: np.random.Generator
) -> None:
    wanted = np.full(n_folds, len(has) / n_folds)
    wanted_of = np.repeat(has.sum(axis=0)[None, :] / n_folds, n_folds, axis=0)
    order = rng.permutation(len(has))
    left = has[order].sum(axis=0)
    while left.any():
        scarce = np.flatnonzero(left == left[left > 0].min())
        label = rng.choice(scarce)
        for row in order[has[order, label] & (fold_of[order] < 0)]:
            fold = _neediest(wanted_of[:, label], wanted, rng)
            fold_of[row] = fold
            wanted[fold] -= 1
            wanted_of[fold, has[row]] -= 1
            left[has[row]] -= 1
    for row in order[fold_of[order] < 0]:
        fold = _neediest(wanted, wanted, rng)
        fold_of[row] = fold
        wanted[fold] -= 1


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
