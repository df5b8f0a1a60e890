"""Folds of tables: sets of copies stay together, and validation parts have all labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proxmtl.backbones.experiments.protocol import Array, Data, Fold, Halves
from proxmtl.experiments import class_folds, random_splits, stratified_folds

__all__ = [
    "DRAW",
    "hidden_labels",
    "learning_fold",
    "random_folds",
    "unseen_class_folds",
    "validation_parts",
]

VALIDATION_FOLDS = 4
"""Number of parts of the rows to learn from, one of which validates, or each in turn."""
CLASS_FOLDS = 5
"""Folds of the classes to learn from, each of which validates in turn."""
LEAST = 2
"""Labels of each class that an attribute keeps, where it has them: one of them can validate."""
DRAW = (
    f"shares of all labels, {LEAST} of each class, seeded by table, split and number; "
    f"{VALIDATION_FOLDS} parts, stratified by the labels that are kept"
)
"""The rule of :func:`hidden_labels`, in the configuration of cells."""


def random_folds(data: Data, n: int, test_fraction: float, seed: int) -> list[Fold]:
    """Random splits of the sets of rows, each with a validation part."""
    first, sets = np.unique(data.sets, return_index=True, return_inverse=True)[1:]
    labels = data.Y[first]
    return [
        learning_fold(
            data, f"random {number}", *(_rows_of(part, sets) for part in split), seed=seed + number
        )
        for number, split in enumerate(random_splits(len(first), n, test_fraction, seed, Y=labels))
    ]


def learning_fold(data: Data, name: str, rows: Array, test: Array, *, seed: int) -> Fold:
    """A fold that learns from some rows, a quarter of which validates."""
    return Fold(name, validation_parts(data, rows, seed)[:1], rows, test)


def unseen_class_folds(data: Data, seed: int, n: int = CLASS_FOLDS) -> list[Fold]:
    """Classes of part ``train`` to learn from, those of ``test`` to test; n random halves of rows.

    Strengths are chosen on n parts of the *classes* to learn from in turn; n is small enough for
    each to have two classes, since one alone has no attribute to score.
    """
    assert data.classes is not None
    learn, test = data.parts["train"], data.parts["test"]
    folds = []
    for k in range(n):
        rows = learn[np.random.default_rng((seed, k)).random(len(learn)) < 0.5]
        parts = class_folds(data.classes[rows], n, seed)
        folds.append(Fold(f"half {k}", tuple((rows[a], rows[b]) for a, b in parts), rows, test))
    return folds


def validation_parts(data: Data, rows: Array, seed: int) -> tuple[Halves, ...]:
    """Training and validation parts of some rows, in turn, with similar shares of all labels."""
    _, first, sets = np.unique(data.sets[rows], return_index=True, return_inverse=True)
    return tuple(
        (rows[_rows_of(fold.train, sets)], rows[_rows_of(fold.test, sets)])
        for fold in stratified_folds(data.Y[rows][first], VALIDATION_FOLDS, seed)
    )


def hidden_labels(Y: Array, n: int, seed: Sequence[int]) -> Array:
    """Keep n labels of each attribute, NaN in place of the others.

    The labels that are kept have the shares of yes and no that all have, and at least two of each
    where there are as many: one to validate, one to learn from.

    Parameters
    ----------
    Y
        (N, M) labels.
    n
        Labels to keep.
    seed
        Of the draw: that of the table, and a number of the split.
    """
    rng = np.random.default_rng((*seed, n))
    hidden = np.full_like(Y, np.nan)
    for m, labels in enumerate(Y.T):
        yes, no = (rng.permutation(np.flatnonzero(labels == value)) for value in (1, 0))
        wanted = round(n * len(yes) / max(len(yes) + len(no), 1))
        n_yes = min(max(wanted, LEAST, n - len(no)), len(yes), max(n - LEAST, 0))
        kept = np.concatenate([yes[:n_yes], no[: n - n_yes]])
        hidden[kept, m] = labels[kept]
    return hidden


def _rows_of(chosen: Array, sets: Array) -> Array:
    """Rows of the chosen sets."""
    return np.flatnonzero(np.isin(sets, chosen))
