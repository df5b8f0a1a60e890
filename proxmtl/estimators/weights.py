"""Validation of sample weights and class weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from proxmtl.label_arrays import SparseLabels
from proxmtl.targets import ClassWeight

__all__ = ["class_factors", "pair_weights", "sample_weights", "score_weights"]

Array = NDArray[np.float64]

LARGEST = np.sqrt(np.finfo(np.float64).max)
"""Maximum sum of weights; its products with losses and squared features must not overflow."""


def sample_weights(signs: Array | SparseLabels, sample_weight: Any) -> Array | None:
    """Validate sample weights (N,) or (N, M); None is returned as it is.

    Raises
    ------
    TypeError
        If the weights are sparse.
    ValueError
        If the shape does not fit, or a weight is negative or not finite, all are zero, or their sum
        overflows.
    """
    if sample_weight is None:
        return None
    if sparse.issparse(sample_weight):
        raise TypeError(
            "sample_weight is a sparse matrix; give an array, of one weight per sample or one per "
            "label: sample_weight.toarray()."
        )
    weights: Array = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape not in {signs.shape, signs.shape[:1]}:
        raise ValueError(
            f"sample_weight has shape {weights.shape} and Y {signs.shape}; "
            "give one weight per sample, or one per label."
        )
    if not np.isfinite(weights).all():
        raise ValueError("sample_weight has values that are not finite; give finite weights.")
    if (weights < 0).any():
        raise ValueError(
            f"sample_weight has negative values, down to {weights.min():g}; "
            "a weight is zero (ignore the sample) or positive."
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for every sample; give some a positive weight.")
    if weights.max() > LARGEST / signs.size:
        raise ValueError(
            f"sample_weight: up to {weights.max():g}, and sums of such weights overflow; "
            "divide all of them by the largest."
        )
    return weights


def score_weights(observed: NDArray[np.bool_], sample_weight: Any) -> Array:
    """Weights (N, M) of labels in a score; 0 for missing labels.

    Raises
    ------
    ValueError
        If the weights are invalid (see `sample_weights`), or no label has a positive weight.
    """
    weights = observed.astype(np.float64)
    given = sample_weights(weights, sample_weight)
    if given is not None:
        weights *= given if given.ndim == 2 else given[:, np.newaxis]
    if not weights.any():
        raise ValueError("y has no observed label with a weight; there is nothing to score.")
    return weights


def pair_weights(pairs: SparseLabels, sample_weight: Any) -> Array:
    """Weights of labels of pairs, (E,), from weights of rows (N,), or none.

    Raises
    ------
    ValueError
        As `score_weights`, or if weights are those of labels.
    """
    if sample_weight is not None and np.ndim(sample_weight) != 1:
        raise ValueError(
            "sample_weight: labels of a sparse matrix take one weight a sample, shape (N,)."
        )
    given = sample_weights(pairs, sample_weight)
    weights = np.ones(pairs.size) if given is None else given[pairs.rows]
    if not weights.any():
        raise ValueError("y has no observed label with a weight; there is nothing to score.")
    return weights


def class_factors(class_weight: Any, classes: NDArray[Any]) -> ClassWeight:
    """Weights of the negative and the positive class, or ``"balanced"``, or None.

    Raises
    ------
    ValueError
        If `class_weight` is neither None, ``"balanced"`` nor a mapping of both classes to
        positive numbers.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str) and class_weight == "balanced":
        return "balanced"
    if isinstance(class_weight, Mapping):
        factors = [class_weight.get(value, class_weight.get(str(value))) for value in classes]
        if all(isinstance(factor, int | float) and 0 < factor < np.inf for factor in factors):
            return float(factors[0]), float(factors[1])
    raise ValueError(
        f"class_weight: got {class_weight!r}; give None, 'balanced' or a mapping of both classes "
        f"({classes[0]!r} and {classes[1]!r}) to positive numbers."
    )
