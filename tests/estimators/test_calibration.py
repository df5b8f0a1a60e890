"""Sigmoids of held-out scores: by hand, by quadrature, and what they gain on few labels."""

import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import expit, log_expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from proxmtl.estimators import SingleTaskClassifierCV
from proxmtl.estimators.calibration import (
    Calibrations,
    _Labels,
    _posterior,
    _within_reach,
    calibration,
)
from proxmtl.estimators.search import Searched
from proxmtl.estimators.verdict import Candidate, best_of


def drawn(rng, n, slopes, shifts, positives=0.5):
    """Scores (n, M) and labels of which sigmoids tell the probability."""
    slopes = np.asarray(slopes, dtype=float)
    z = rng.normal(size=(n, len(slopes))) + np.log(positives / (1 - positives)) / slopes
    y = rng.random(z.shape) < expit(slopes * (z + shifts))
    return z, np.where(y, 1.0, -1.0)


def of_likelihood(z, y, weights=None):
    """Slope and shift of the largest likelihood, by scikit-learn."""
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(z[:, None], y > 0, weights)
    slope = float(model.coef_[0, 0])
    return slope, float(model.intercept_[0]) / slope


@pytest.mark.parametrize("weighted", [False, True])
def test_many_labels_decide_alone(weighted):
    rng = np.random.default_rng(0)
    z, signs = drawn(rng, 20_000, [0.5, 2.0, 8.0], [1.0, -0.5, 0.1])
    weights = np.where(signs > 0, 3.0, 1.0) if weighted else np.ones_like(signs)
    found = calibration(z, signs, weights)
    for m in range(3):
        slope, shift = of_likelihood(z[:, m], signs[:, m], weights[:, m] / weights[:, m].mean())
        assert found.slopes[m] == pytest.approx(slope, rel=0.02)
        assert found.shifts[m] == pytest.approx(shift, abs=0.02)


def test_the_evidence_is_the_integral_over_the_prior():
    rng = np.random.default_rng(1)
    z, signs = drawn(rng, 40, [1.5], [0.3])
    labels = _Labels.of(z, signs, np.ones_like(signs))
    prior = norm(1.2, 0.6), norm(0.0, 0.5)
    at = np.array([1.2]), np.array([0.0])
    found = _posterior(labels, labels.z, at, (1.2, np.zeros(1)), (0.6**2, 0.5**2))

    def density(b, a):
        return np.exp(log_expit(signs * (a * z + b)).sum()) * prior[0].pdf(a) * prior[1].pdf(b)

    exact, _ = dblquad(density, -2.0, 6.0, -3.0, 3.0, epsabs=0, epsrel=1e-6)
    assert found[-1] == pytest.approx(np.log(exact), abs=0.05)


def test_few_labels_of_many_attributes_serve_all_of_them():
    rng = np.random.default_rng(2)
    slopes, shifts = rng.uniform(1.5, 2.5, 30), rng.normal(0, 0.1, 30)
    z, signs = drawn(rng, 25, slopes, shifts)
    found = calibration(z, signs, np.ones_like(signs))
    grid = np.linspace(-2, 2, 9)[:, None]
    true = expit(slopes * (grid + shifts))
    alone = np.array([of_likelihood(z[:, m], signs[:, m]) for m in range(30)]).T
    by_both = alone, (found.slopes, found.shifts)
    errors = [np.abs(expit(a * (grid + b)) - true).mean() for a, b in by_both]
    assert errors[1] < 0.65 * errors[0]


def test_scores_drawn_towards_constants_are_stretched_about_the_prevalence():
    rng = np.random.default_rng(3)
    # a strong ridge leaves a twentieth of the log odds, about those of one label in six
    u = 6 * rng.normal(size=(50, 12)) - 7
    signs = np.where(rng.random(u.shape) < expit(u), 1.0, -1.0)
    z = 0.05 * (u + 7) - np.log(5.0)
    found = calibration(z, signs, np.ones_like(signs))
    p = expit(found.slopes * (z + found.shifts))
    assert ((p > 0.5) == (u > 0)).mean() > 0.97
    assert np.abs(p - expit(u)).mean() < 0.05


def test_a_score_that_says_nothing_keeps_the_order_and_tells_the_prevalence():
    rng = np.random.default_rng(4)
    z, signs = drawn(rng, 400, [2.0, 2.0, 2.0], [0.0, 0.0, 0.0])
    z[:, 2] = -z[:, 2]  # worse than nothing
    found = calibration(z, signs, np.ones_like(signs))
    assert 0 < found.slopes[2] < 0.01
    p = expit(found.slopes[2] * (z[:, 2] + found.shifts[2]))
    np.testing.assert_allclose(p, (signs[:, 2] > 0).mean(), atol=0.01)


def test_attributes_without_labels_or_with_one_class_take_after_the_others():
    rng = np.random.default_rng(5)
    z, signs = drawn(rng, 200, np.full(6, 3.0), np.zeros(6))
    signs[:, 4] = np.nan
    z[:, 5], signs[:, 5] = -1.0 - z[:, 5] ** 2, -1.0
    found = calibration(z, signs, np.ones_like(signs))
    assert found.slopes[4] == pytest.approx(found.slopes[:4].mean(), rel=0.2)
    assert abs(found.shifts[4]) < 0.1
    assert np.isfinite(found.slopes[5])
    assert (expit(found.slopes[5] * (z[:, 5] + found.shifts[5])) < 0.5).all()


def test_of_candidates_that_order_all_rows_correctly_the_surest_is_taken():
    rng = np.random.default_rng(6)
    kind = rng.choice(4, size=560, p=[0.4, 0.3, 0.2, 0.1])
    X = np.maximum(rng.normal(size=(4, 60))[kind] * 1.5 + rng.normal(size=(560, 60)), 0)
    Y = (kind[:, None] == np.arange(4)).astype(float)
    model = SingleTaskClassifierCV(cv=3, random_state=0).fit(X[:60], Y[:60])
    tied = model.cv_results_.query("mean == mean.max()")
    assert len(tied) > 3
    strongest = SingleTaskClassifierCV(cv=3, random_state=0, one_standard_error=True)
    strongest.fit(X[:60], Y[:60])

    def log_loss(model):
        p = np.clip(model.predict_proba(X[60:]), 1e-9, 1 - 1e-9)
        return -np.mean(np.log(np.where(Y[60:] > 0, p, 1 - p)))

    assert model.report_["own_strength"].iloc[0] < strongest.report_["own_strength"].iloc[0]
    assert log_loss(model) < 0.7 * log_loss(strongest)
    assert (model.predict(X[60:]) == Y[60:]).mean() > 0.99


def test_labels_without_weight_are_none():
    rng = np.random.default_rng(7)
    z, signs = drawn(rng, 200, np.full(4, 3.0), np.zeros(4))
    weights = np.ones_like(signs)
    weights[:, 3] = 0.0
    hidden = np.where(weights > 0, signs, np.nan)
    found, expected = calibration(z, signs, weights), calibration(z, hidden, weights)
    np.testing.assert_array_equal(found.slopes, expected.slopes)
    np.testing.assert_array_equal(found.shifts, expected.shifts)
    assert np.isfinite([*found.slopes, *found.shifts, found.log_evidence]).all()


def test_answers_count_as_often_as_they_are_known_and_not_as_they_are_scored():
    """Folds over classes cannot fit an attribute of one class without that class."""
    rng = np.random.default_rng(9)
    z, signs = drawn(rng, 20_000, [2.0, 2.0, 2.0], [0.5, 0.5, 0.5], 0.2)
    ones = np.ones_like(signs)
    whole = calibration(z, signs, ones)
    held_out = z.copy()
    yes = np.flatnonzero(signs[:, 1] > 0)
    held_out[rng.permutation(yes)[: len(yes) // 2], 1] = np.nan
    held_out[signs[:, 2] > 0, 2] = np.nan
    found = calibration(held_out, signs, ones)
    # of half of the yes: as of all of them, but for half as many
    np.testing.assert_allclose(found.slopes[:2], whole.slopes[:2], rtol=0.05)
    np.testing.assert_allclose(found.shifts[:2], whole.shifts[:2], atol=0.05)
    # of none: the slope of the others, and at the mean score the share of yes
    assert found.slopes[2] == pytest.approx(found.slopes[:2].mean(), rel=0.1)
    share = np.mean(signs[:, 2] > 0)
    mean = np.nanmean(held_out[:, 2])
    log_odds = found.slopes[2] * (mean + found.shifts[2])
    assert log_odds == pytest.approx(np.log(share / (1 - share)), abs=0.3)


def test_rows_that_never_were_held_out_do_not_count():
    rng = np.random.default_rng(10)
    z, signs = drawn(rng, 200, np.full(4, 3.0), np.zeros(4))
    held_out = z.copy()
    held_out[120:] = np.nan
    found = calibration(held_out, signs, np.ones_like(signs))
    expected = calibration(z[:120], signs[:120], np.ones((120, 4)))
    np.testing.assert_array_equal(found.slopes, expected.slopes)
    np.testing.assert_array_equal(found.shifts, expected.shifts)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scores_that_overflow_are_spoken_of():
    z, signs = drawn(np.random.default_rng(8), 20, [2.0], [0.0])
    z[3] = np.inf
    with pytest.raises(ValueError, match="scores of held-out rows overflow"):
        calibration(z, signs, np.ones_like(signs))


@pytest.mark.parametrize(
    ("evidences", "best"),
    [([np.nan] * 3, 0), ([np.nan, -2.0, -1.0], 2), ([-1.001, np.nan, -1.0], 0)],
)
def test_an_evidence_that_is_not_a_number_is_the_least(evidences, best):
    n = len(evidences)
    held_out = np.arange(n, dtype=np.float32)[:, None, None]
    found = Searched(np.ones((n, 2, 1)), held_out, np.full(n, 2), 0.0)
    pairs = [Candidate(np.inf, 0.1**k) for k in range(n)]
    taken = best_of(
        pairs, found, among=Candidate.is_alone, evidence=lambda each: evidences[int(each[0, 0])]
    )
    assert taken == best


def test_of_many_candidates_with_the_best_score_some_are_compared():
    held_out = np.arange(15, dtype=np.float32)[:, None, None]
    found, seen = Searched(np.ones((15, 2, 1)), held_out, np.full(15, 2), 0.0), []

    def evidence(each):
        seen.append(int(each[0, 0]))
        return -abs(seen[-1] - 10.0)

    pairs = [Candidate(np.inf, 0.1**k) for k in range(15)]
    assert best_of(pairs, found, among=Candidate.is_alone, evidence=evidence) == 9
    assert seen == [0, 3, 6, 9, 12]


def test_scores_that_come_again_are_calibrated_once(monkeypatch):
    fitted = []

    def counted(*given):
        fitted.append(given[0])
        return calibration(*given)

    monkeypatch.setattr("proxmtl.estimators.calibration.calibration", counted)
    z, signs = drawn(np.random.default_rng(0), 40, [1.0, 2.0], 0.0)
    z[3, 1] = np.nan
    known = Calibrations(signs, np.ones_like(signs))
    first = known(z)
    assert known(z.copy()) is first
    known(2 * z)
    assert len(fitted) == 2


def test_a_fit_calibrates_each_candidate_once(monkeypatch):
    """Also where candidates tie, so that their calibrations decide, and as the model alone."""
    seen = []

    def counted(held_out, *given):
        seen.append(held_out.tobytes())
        return calibration(held_out, *given)

    monkeypatch.setattr("proxmtl.estimators.calibration.calibration", counted)
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 3))
    SingleTaskClassifierCV(random_state=0).fit(X, X[:, :2] + 0.3 * rng.normal(size=(60, 2)) > 0)
    assert len(set(seen)) == len(seen) >= 1


@pytest.mark.parametrize("size", [1e2, 1e5, 1e12])
def test_a_row_far_from_all_others_does_not_make_a_sigmoid_flat(size):
    rng = np.random.default_rng(0)
    signs = np.where(rng.random((150, 3)) < 0.4, 1.0, -1.0)
    scores = 3 * signs + rng.standard_normal(signs.shape)
    usual = calibration(scores, signs, np.ones_like(signs))
    far = scores.copy()
    far[7, 0], far[8, 1] = -size * signs[7, 0], size * signs[8, 1]  # wrong, and right
    found = calibration(far, signs, np.ones_like(signs))
    # one label of 150 at a distance of some thirty
    np.testing.assert_allclose(found.slopes[1:], usual.slopes[1:], rtol=0.2)
    assert found.slopes[0] > usual.slopes[0] / 10
    called = found.slopes * (scores + found.shifts) > 0
    assert ((called == (signs > 0)).mean(axis=0) > 0.95).all()


def test_scores_near_one_another_are_taken_as_they_are():
    rng = np.random.default_rng(0)
    yes = rng.random((200, 2)) < 0.05
    for scores in (
        np.clip(rng.standard_normal(yes.shape), -3, 3),
        np.where(yes, 20.0, -10.0) + 0.1 * rng.standard_normal(yes.shape),  # rare, and far apart
        np.where(rng.random(yes.shape) < 0.03, 9.0, 0.1),  # nearly all the same
        np.where(yes, np.nan, 1.0),
    ):
        seen = ~np.isnan(scores)
        np.testing.assert_array_equal(_within_reach(scores, seen, yes), scores)


def test_rare_features_leave_decisions_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 30))
    Y = (X @ rng.normal(size=(30, 4)) > 0).astype(int)
    rare = np.zeros((200, 40))  # each of use for two rows, in one of them with a large value
    for j in range(40):
        rare[rng.integers(200), j] = 1e-4
        rare[rng.integers(200), j] = 1.0
    features = np.hstack([X, rare])
    model = SingleTaskClassifierCV(random_state=0).fit(features[:120], Y[:120])
    called, true = model.predict(features[120:]) > 0, Y[120:] > 0
    recall = (called & true).sum(axis=0) / true.sum(axis=0)
    assert recall.min() > 0.3  # 0.06 where a few rows decide
    assert recall.mean() > 0.5
