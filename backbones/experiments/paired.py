"""Tests between two systems on the same splits and attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from proxmtl.backbones.experiments.protocol import Array

__all__ = ["Difference", "paired_difference"]


class Difference(NamedTuple):
    """One system minus another, in a metric.

    Attributes
    ----------
    mean, std
        Over splits, of the difference of the means over attributes.
    won, splits
        Splits in which it is positive, and splits.
    p_splits
        Two-sided p-value of the corrected resampled t-test over splits: splits share rows, so the
        variance of the mean is that of the differences times ``1 / n + n_test / n_train``, with the
        rows of the fit that is tested (Nadeau and Bengio, 2003); times ``1 / n`` for splits that
        learn from disjoint rows.
    p_attributes
        Two-sided p-value of Wilcoxon's signed-rank test over attributes, of the means over splits.
    """

    mean: float
    std: float
    won: int
    splits: int
    p_splits: float
    p_attributes: float


def paired_difference(
    cells: Sequence[Mapping[str, Any]],
    metric: str,
    system: str,
    baseline: str,
    *,
    disjoint: bool = False,
) -> Difference | None:
    """Compare two systems of a table on the splits that both have; None if there is none.

    ``disjoint`` says that no two splits learn from the same rows.
    """
    values, sizes = {}, {}
    for cell in cells:
        row = np.array(cell["metrics"][metric], dtype=np.float64)  # None becomes NaN
        values[cell["system"], cell["split"]] = row
        sizes[cell["split"]] = 0.0 if disjoint else cell["rows"]["test"] / cell["rows"]["refit"]
    splits = [s for s in sizes if (system, s) in values and (baseline, s) in values]
    if not splits:
        return None
    gains = np.stack([values[system, s] - values[baseline, s] for s in splits])
    gains = gains[:, ~np.isnan(gains).any(axis=0)]
    means = gains.mean(axis=1)
    n = len(splits)
    std = float(means.std(ddof=1)) if n > 1 else float("nan")
    p_splits = _corrected_t(means, float(np.mean([sizes[s] for s in splits])))
    return Difference(
        float(means.mean()),
        std,
        int((means > 0).sum()),
        n,
        p_splits,
        _wilcoxon(gains.mean(axis=0)),
    )


def _corrected_t(means: Array, ratio: float) -> float:
    n = len(means)
    if n < 2:
        return float("nan")
    variance = float(means.var(ddof=1))
    if variance == 0:
        return 1.0 if means.mean() == 0 else 0.0
    t = means.mean() / np.sqrt(variance * (1 / n + ratio))
    return float(2 * stats.t.sf(abs(t), n - 1))


def _wilcoxon(gains: Array) -> float:
    if not np.any(gains):
        return 1.0
    return float(stats.wilcoxon(gains, zero_method="zsplit").pvalue)
