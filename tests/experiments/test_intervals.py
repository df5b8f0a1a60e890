"""Intervals of scores against SciPy's and scikit-learn's, closed forms and simulated coverage."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm
from sklearn.metrics import average_precision_score

from proxmtl.experiments import average_precision
from proxmtl.experiments.intervals import (
    _Ranking,
    accuracy_interval,
    ap_interval,
    auc_interval,
    paired_differences,
)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 10), (10, 10), (812, 1000)])
def test_accuracies_have_wilsons_interval(right, n):
    low, high = accuracy_interval(right / n, n)
    exact = binomtest(right, n).proportion_ci(method="wilson")
    # a score of ten operations of numbers of order one
    tolerance = 10 * np.finfo(float).eps
    np.testing.assert_allclose([low, high], [exact.low, exact.high], rtol=0, atol=tolerance)


def test_what_was_not_scored_has_no_interval():
    low, high = accuracy_interval([np.nan, 0.5], [0, 4])
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] < 0.5 < high[1]
    assert np.isnan(ap_interval([np.nan, 0.5], [0, 0])).all()
    with pytest.raises(ValueError, match="between 0 and 1"):
        ap_interval(0.5, 3, level=95)


def test_ap_intervals_hold_the_ap_and_shrink_with_the_root_of_the_positives():
    ap = np.array([0.0, 0.01, 0.3, 0.7, 1.0])
    few, many = ap_interval(ap, 10), ap_interval(ap, 1000)
    for low, high in (few, many):
        assert (low >= 0).all()
        assert (high <= 1).all()
        assert (low <= ap).all()
        assert (ap <= high).all()
    width = [ends[1][2:4] - ends[0][2:4] for ends in (few, many)]
    np.testing.assert_allclose(width[0] / width[1], 10, rtol=0.2)
    low, high = ap_interval(1.0, 3)
    assert 0.15 < low < 0.25  # three positives, all in front: not certain
    assert high == 1


def test_ap_intervals_cover_the_true_value():
    """Binormal scores, half of them positive: AP of a large sample is the true one."""
    rng = np.random.default_rng(0)

    def drawn(n):
        y = np.arange(n) % 2
        return average_precision(rng.standard_normal(n) + y, y)

    truth = drawn(200_000)
    found = np.array([drawn(100) for _ in range(400)])
    low, high = ap_interval(found, 50)
    covered = ((low <= truth) & (truth <= high)).sum()
    # 95 % of 400 with three standard deviations of the count below; the interval is conservative
    assert covered >= 400 * 0.95 - 3 * np.sqrt(400 * 0.95 * 0.05)


def test_auc_intervals_are_the_areas_that_are_near_enough():
    auc = np.array([0.0, 0.1, 0.5, 0.83, 1.0])
    low, high = auc_interval(auc, 12, 30)
    m, n, z = 12, 30, norm.ppf(0.975)

    def distance(area):
        """In standard deviations, by the formula as Newcombe writes it."""
        q = (m + n) / 2 - 1
        variance = area * (1 - area) * (1 + q * (1 - area) / (2 - area) + q * area / (1 + area))
        return np.abs(area - auc) / np.sqrt(variance / (m * n))

    inner = (low > 0) & (low < auc)
    np.testing.assert_allclose(distance(np.where(inner, low, 0.5))[inner], z, rtol=1e-9)
    inner = (high < 1) & (high > auc)
    np.testing.assert_allclose(distance(np.where(inner, high, 0.5))[inner], z, rtol=1e-9)
    assert (low[0], high[-1]) == (0, 1)
    assert 0.7 < low[-1] < 1  # not certain, though no pair is in the wrong order
    below, above = auc_interval(1 - auc, 30, 12)  # yes and no change places
    np.testing.assert_allclose([1 - above, 1 - below], [low, high], rtol=0, atol=1e-12)
    for nothing in ((np.nan, 3, 4), (0.5, 0, 4), (0.5, 4, 0)):
        assert np.isnan(auc_interval(*nothing)).all()


def test_auc_intervals_cover_the_true_value():
    """Binormal scores of 15 positives and 60 negatives: the area is that of a normal law."""
    rng, m, n = np.random.default_rng(0), 15, 60
    yes, no = 1.2 + rng.standard_normal((600, m)), rng.standard_normal((600, n))
    found = (yes[:, :, None] > no[:, None, :]).mean(axis=(1, 2))
    low, high = auc_interval(found, m, n)
    truth = norm.cdf(1.2 / np.sqrt(2))
    covered = ((low <= truth) & (truth <= high)).mean()
    # three standard deviations of a share of 600
    assert abs(covered - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / 600) + 0.01


def test_weighted_average_precision_is_scikit_learns():
    rng = np.random.default_rng(1)
    scores, labels = np.round(rng.standard_normal(60), 1), (rng.random(60) < 0.3).astype(float)
    labels[::7] = np.nan
    weights = rng.integers(0, 3, (5, 60))
    found = _Ranking(scores, labels).average_precision(weights)
    seen = ~np.isnan(labels)
    for ours, w in zip(found, weights, strict=True):
        theirs = average_precision_score(labels[seen], scores[seen], sample_weight=w[seen])
        assert ours == pytest.approx(theirs, rel=60 * np.finfo(float).eps)
    nothing = _Ranking(scores, np.full(60, np.nan)).average_precision(weights)
    assert np.isnan(nothing).all()


def test_differences_of_models_are_those_of_the_same_resamples():
    rng = np.random.default_rng(2)
    labels = (rng.random((300, 3)) < 0.4).astype(float)
    labels[:, 2] = np.nan
    labels[0, 2] = 0
    noise = rng.standard_normal((300, 3))
    scores = labels + noise
    good = np.nan_to_num(labels) * 2 + noise
    same = paired_differences(scores, scores.copy(), labels)
    assert (same.low[:2] == 0).all()
    assert (same.high[:2] == 0).all()
    assert (same.mean_low, same.mean_high) == (0, 0)
    assert np.isnan(same.low[2])  # no positive label
    better = paired_differences(scores, good, labels)
    assert (better.low[:2] > 0).all()
    assert better.low[0] < better.mean_low < better.mean_high < better.high[0] + 1
    again = paired_differences(scores, good, labels)
    np.testing.assert_array_equal(again.low, better.low)
    fewer = paired_differences(scores, good, labels, work=1)
    assert (fewer.n_resamples, better.n_resamples) == (100, 1000)


def test_rankings_that_few_labels_find_perfect_have_no_interval():
    labels = np.repeat([[1.0], [0.0]], 6, axis=0)
    scores = np.linspace(1, -1, 12)[:, None]
    turned = np.concatenate([scores[5::-1], scores[:5:-1]])  # within each class
    found = paired_differences(scores, turned, labels)
    assert np.isnan([*found.low, *found.high, found.mean_low, found.mean_high]).all()
    # the mean is over all attributes, so that its interval has the mean of all differences
    other = np.random.default_rng(0).standard_normal((12, 2))
    both = paired_differences(
        np.hstack([scores, other[:, :1]]), np.hstack([turned, other[:, 1:]]), labels[:, [0, 0]]
    )
    assert np.isnan(both.low[0])
    assert both.low[1] == 2 * both.mean_low < 2 * both.mean_high == both.high[1]


def test_scores_that_rank_alike_differ_by_nothing():
    rng = np.random.default_rng(1)
    labels = (rng.random((300, 1)) < 0.4).astype(float)
    scores = labels + rng.standard_normal((300, 1))
    found = paired_differences(scores, 1 / (1 + np.exp(-scores)), labels)
    assert (found.low[0], found.high[0], found.mean_low, found.mean_high) == (0, 0, 0, 0)


def test_paired_intervals_cover_a_difference_of_nothing():
    """Two noisy versions of one score: their APs differ by nothing in truth."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        labels = (rng.random((150, 1)) < 0.4).astype(float)
        signal = labels + rng.standard_normal((150, 1))
        a, b = (signal + 0.5 * rng.standard_normal((150, 1)) for _ in range(2))
        found = paired_differences(a, b, labels, work=1, seed=1)
        covered += bool(found.low[0] <= 0 <= found.high[0])
    assert covered >= 95 - norm.ppf(0.999) * np.sqrt(100 * 0.95 * 0.05)
