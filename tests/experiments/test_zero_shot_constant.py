"""Scores that are constant but for rounding have no slope to calibrate."""

import numpy as np
import pytest

from proxmtl.experiments.zero_shot import fit_platt


@pytest.mark.parametrize("n", [100, 1000])
def test_rounding_is_not_taken_for_a_slope(n):
    scores = np.full((n, 1), 0.1) * (1 + 1e-16 * np.random.default_rng(0).standard_normal((n, 1)))
    labels = np.where(np.arange(n)[:, None] < n // 4, 1.0, 0.0)
    platt = fit_platt(scores, labels)
    probabilities = platt.probabilities(np.array([[0.1], [0.1 + 1e-9], [5.0]]))
    assert probabilities.std() == 0
    assert float(probabilities[0, 0]) == pytest.approx((n // 4 + 1) / (n + 2), rel=1e-2)
