"""Sample weights and class weights as one weight per label, scaled as the reduction wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["class_factors", "label_weights", "sample_weights"]

Array = NDArray[np.float64]


def sample_weights(signs: Array, sample_weight: Any) -> Array | None:
    """Validate weights (N,) or (N, M).

    Raises
    ------
    ValueError
        If the shape does not fit, or a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None:
        return None
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
    return weights


def class_factors(class_weight: Any, classes: NDArray[Any]) -> tuple[float, float] | None:
    """Give the factors of the negative and the positive class; None for balanced ones.

    Raises
    ------
    ValueError
        If `class_weight` is neither None, ``"balanced"`` nor a mapping of both classes to
        positive numbers.
    """
    if class_weight is None:
        return 1.0, 1.0
    if isinstance(class_weight, str) and class_weight == "balanced":
        return None
    if isinstance(class_weight, Mapping):
        factors = [class_weight.get(value, class_weight.get(str(value))) for value in classes]
        if all(isinstance(factor, int | float) and 0 < factor < np.inf for factor in factors):
            return float(factors[0]), float(factors[1])
    raise ValueError(
        f"class_weight: got {class_weight!r}; give None, 'balanced' or a mapping of both classes "
        f"({classes[0]!r} and {classes[1]!r}) to positive numbers."
    )


def label_weights(
    signs: Array, weights: Array | None, factors: tuple[float, float] | None, reduction: str
) -> Array | None:
    r"""One weight per label, such that a weight of 2 does what a second copy of the row does.

    The engine divides by numbers of labels; here the weights are scaled so that it divides by sums
    of weights. Balanced classes weigh :math:`n_m / (2 n_m^\pm)`, counted with the weights.

    Parameters
    ----------
    signs
        -1, +1 or NaN, shape (N, M).
    weights
        Sample weights (N,) or (N, M), or None.
    factors
        As `class_factors` gives them.
    reduction
        ``"sum"``, ``"mean"`` or ``"task_mean"``.

    Returns
    -------
    numpy.ndarray or None
        Shape (N, M); None where all would be 1.
    """
    if weights is None and factors == (1.0, 1.0):
        return None
    observed = ~np.isnan(signs)
    per_label = np.ones_like(signs) if weights is None else np.array(weights)
    if per_label.ndim == 1:
        per_label = np.broadcast_to(per_label[:, np.newaxis], signs.shape)
    per_label = np.where(observed, per_label, 0.0)
    positive = signs == 1
    total = per_label.sum(axis=0)
    counts = observed.sum(axis=0)
    if factors is None:
        of_positive = (per_label * positive).sum(axis=0)
        low, high = total / (2 * (total - of_positive)), total / (2 * of_positive)
    else:
        low, high = factors
    if reduction == "mean":
        per_label *= counts.sum() / total.sum()
    elif reduction == "task_mean":
        per_label *= counts / total
    per_label *= np.where(positive, high, low)
    return per_label
