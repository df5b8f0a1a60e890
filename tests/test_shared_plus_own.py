"""Attributes that share a subspace beside parts of their own, and the choice whether to share."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.model_selection import KFold, LeaveOneOut
from sklearn.utils.estimator_checks import parametrize_with_checks
from strategies import classification

import proxmtl as pm
from proxmtl.estimators import (
    SharedPlusOwnClassifier,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifierCV,
    load_model,
    save_model,
)
from proxmtl.estimators.scoring import SCORINGS
from proxmtl.estimators.search import Searched
from proxmtl.estimators.verdict import sharing
from proxmtl.selection.edges import EdgeWarning

SMALL = {"cv": 3, "random_state": 0}


def shared_data(n=120, d=30, m=12, *, rank=2, seed=0, own=0.0):
    """Attributes that depend on ``rank`` directions of the features, labels few and noisy."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    W = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, m)) / math.sqrt(d)
    W = (1 - own) * W + own * rng.normal(size=(d, m)) * math.sqrt(rank / d)
    Y = (X @ W + 0.5 * rng.normal(size=(n, m)) > 0).astype(float)
    Y[0], Y[1] = 0, 1
    return X, Y


def hidden(Y, share, seed=0):
    Y = Y.copy()
    drop = np.random.default_rng(seed).random(Y.shape) >= share
    drop[:2] = False
    Y[drop] = np.nan
    return Y


def far_and_rare(d):
    """A tenth of the rows has labels, away from the origin and few of one class."""
    X, _ = shared_data(600, d, 3)
    X[:60] += 2.0
    Y = np.full((600, 3), np.nan)
    Y[:60] = 0.0
    Y[np.argsort(X[:60, :3], axis=0)[-4:], np.arange(3)] = 1.0
    return X, Y


@pytest.mark.parametrize("d", [8, 200])
@pytest.mark.parametrize("data", [lambda d: shared_data(60, d, 3), far_and_rare])
def test_weights_under_a_strong_ridge_are_small_and_not_zero(d, data):
    X, Y = data(d)
    weights = [
        SharedPlusOwnClassifier(shared_strength=math.inf, own_strength=own).fit(X, Y).coef_
        for own in (1e2, 1e5)
    ]
    strong, stronger = (W.reshape(-1) / max(np.linalg.norm(W), 1e-30) for W in weights)
    # a gap of a hundredth of what weights gain is a tenth of their length, all tasks together
    assert strong @ stronger > 0.99


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [SharedPlusOwnClassifier(max_passes=12), SharedPlusOwnClassifierCV(cv=2, max_passes=12)]
)
def test_scikit_learn_contract(estimator, check):
    if check.func.__name__.startswith("check_sample_weight_equivalence"):
        if hasattr(estimator, "cv"):
            pytest.skip("folds of repeated rows are other folds")
        estimator = clone(estimator).set_params(tol=3e-14, max_passes=3000)
    check(estimator)


def test_the_gap_closes_and_bounds_the_distance_to_the_optimum():
    X, Y = classification(60, 8, 5, seed=3)
    groups = pm.Groups.from_lists([[0, 1, 2], [3, 4]], weights=[1.0, 0.5])
    targets = pm.Targets.from_labels(Y, reduction="mean")
    problem = pm.Problem(
        pm.Logistic(),
        pm.SharedDesign(X, intercept=True),
        targets,
        pm.SharedPlusOwn(5e-3, 2.0, groups),
    )
    best = pm.minimize(problem, pm.FISTA(), stop=pm.RelativeGap(1e-13))
    assert best.status.ok
    for accuracy in (1e-2, 1e-5):
        near = pm.minimize(problem, pm.FISTA(), stop=pm.RelativeGap(accuracy))
        excess = near.certificate.objective - best.certificate.objective
        assert -best.certificate.gap <= excess <= near.certificate.gap
        assert near.certificate.relative_gap <= accuracy


def test_without_a_shared_part_it_is_ridge_logistic_regression():
    X, Y = shared_data()
    model = SharedPlusOwnClassifier(shared_strength=math.inf, own_strength=0.1, tol=1e-12)
    model.fit(X, Y)
    Z = (X - X.mean(0)) / X.std(0)
    C = 1 / (2 * model.own_strength_ * Y.size)
    peer = LogisticRegression(C=C, tol=1e-10, max_iter=1000)
    expected = np.stack([peer.fit(Z, y).decision_function(Z) for y in Y.T], axis=1)
    np.testing.assert_allclose(model.decision_function(X), expected, rtol=1e-4, atol=1e-5)
    assert model.n_shared_ == 0
    assert not model.shared_coef_.any()


def test_strengths_are_relative():
    X, Y = shared_data()
    model = SharedPlusOwnClassifier(own_strength=1.0, tol=1e-10).fit(X, Y)
    assert 0 < model.n_shared_ < 12
    # a unit ridge is the squared norm of the features over the number of labels
    assert model.own_strength_ == pytest.approx(30 / Y.size)
    # nothing is shared from the critical strength on, and something just below it
    solved = {"own_strength": 1e6, "tol": 1e-9, "max_passes": 20000}  # no parts of their own
    above = SharedPlusOwnClassifier(shared_strength=1.001, **solved).fit(X, Y)
    below = SharedPlusOwnClassifier(shared_strength=0.98, **solved).fit(X, Y)
    assert (above.n_shared_, below.n_shared_) == (0, 1)
    # so the same numbers mean the same on features of another scale, without standardisation too
    plain = SharedPlusOwnClassifier(standardize=False, tol=1e-10).fit(X, Y)
    scaled = SharedPlusOwnClassifier(standardize=False, tol=1e-10).fit(X / 8, Y)
    np.testing.assert_allclose(scaled.coef_ / 8, plain.coef_, rtol=1e-3, atol=1e-6)


def test_the_unit_of_the_own_part_counts_labels_that_there_are():
    X, Y = classification(80, 6, 4, seed=2)
    fewer = torch.where(torch.arange(80)[:, None] % 4 > 0, Y, math.nan)
    fewer[::4, 0] = Y[::4, 0]  # no row is left out
    model = SharedPlusOwnClassifier(own_strength=0.3)
    models = [clone(model).fit(X.numpy(), y.numpy()) for y in (Y, fewer)]
    n_labels = [4 * 80, 80 + 3 * 60]
    units = [model.own_strength_ * n for model, n in zip(models, n_labels, strict=True)]
    assert units[1] == pytest.approx(units[0], rel=1e-9)


def test_groups_share_within_themselves():
    X, Y = shared_data()
    groups = {"first": list(range(6)), "second": list(range(6, 12))}
    model = SharedPlusOwnClassifier(groups=groups, tol=1e-8).fit(X, Y)
    standard = model.shared_coef_ * model.scale_
    ranks = [np.linalg.matrix_rank(standard[g], tol=1e-8) for g in groups.values()]
    assert model.n_shared_ == sum(ranks)
    assert all(0 < rank < 6 for rank in ranks)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_rank_is_that_of_the_problem_and_not_of_rounding(dtype):
    X, Y = shared_data()
    ranks = []
    for scale in (1.0, 2.0**-60):
        scaled = X.astype(dtype)
        scaled[:, 0] *= scale
        ranks.append(SharedPlusOwnClassifier().fit(scaled, Y).n_shared_)
    assert ranks[0] == ranks[1] < 12


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_features_that_say_nothing_give_zero(value):
    Y = shared_data(60)[1]
    X = np.full((60, 5), value)
    for model in (SharedPlusOwnClassifier(), SharedPlusOwnClassifierCV(**SMALL)):
        model.fit(X, Y)
        assert not model.coef_.any()
        slope = getattr(model, "calibration_", 1.0)
        p = 1 / (1 + np.exp(-slope * model.intercept_))
        np.testing.assert_allclose(p, Y.mean(axis=0), atol=0.03)


@pytest.mark.parametrize("name", ["shared_strength", "own_strength"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_strengths_out_of_range_raise(name, value):
    X, Y = shared_data(40)
    with pytest.raises(ValueError, match=name):
        SharedPlusOwnClassifier(**{name: value}).fit(X, Y)


@pytest.mark.parametrize("folds", [1, 5])
@pytest.mark.parametrize(("spread", "shares"), [(0.05, True), (0.2, False)])
def test_sharing_takes_a_gain_that_chance_does_not_give(folds, spread, shares):
    gains = 0.1 / np.sqrt(10) + spread * np.resize([1.0, -1.0], 10)  # 2 or 0.5 standard errors
    by_fold = gains + np.arange(folds)[:, None] - (folds - 1) / 2  # of what the folds agree in
    scores = np.stack([np.full((folds, 10), 0.5), 0.5 + by_fold])
    found = Searched(scores, np.zeros((2, 1, 10), np.float32), np.full(2, folds), 1.0)
    assert sharing(found, 0, 1).any() == shares
    assert sharing(found, 0, 1, fallback=False).all()


def test_sharing_is_found_where_there_is_some():
    X, Y = shared_data(200, seed=4)
    train, test = slice(0, 100), slice(100, 200)
    few = hidden(Y[train], 0.3)
    both = SharedPlusOwnClassifierCV(**SMALL).fit(X[train], few)
    alone = SingleTaskClassifierCV(**SMALL).fit(X[train], few)
    assert both.sharing_.mean() > 0.7
    ap = [
        average_precision_score(Y[test], model.decision_function(X[test]), average="macro")
        for model in (both, alone)
    ]
    assert ap[0] > ap[1] + 0.02
    assert both.report_["gain"].mean() > 0
    assert both.report_["positives"].tolist() == np.nansum(few, axis=0).tolist()


def test_nothing_is_shared_where_there_is_nothing_to_share():
    X, Y = shared_data(300, d=12, m=8, own=1.0, seed=1)
    both = SharedPlusOwnClassifierCV(relevance=False, **SMALL).fit(X, Y)
    alone = SingleTaskClassifierCV(**SMALL).fit(X, Y)
    assert not both.sharing_.any()
    assert not both.shared_coef_.any()
    # attributes alone have the single-task classifier
    np.testing.assert_allclose(both.coef_, alone.coef_, rtol=1e-6, atol=1e-9)


def test_paths_go_on_where_their_end_is_best():
    X, Y = shared_data(80, d=10, m=3, own=1.0, seed=2)
    options = {"scoring": lambda _labels, values: -values.var(), "standardize": True, **SMALL}
    model = SingleTaskClassifierCV(**options)
    with pytest.warns(
        EdgeWarning, match=r"the best 'own_strength', 1e\+04, is the highest of 15 values tried"
    ) as warned:
        model.fit(X, Y)  # the more a ridge shrinks, the better
    assert model.cv_results_["own_strength"].max() > 10
    scores = model.cv_results_.sort_values("own_strength")["mean"].to_numpy()
    gain = f"The last step gained {scores[-1] - scores[-2]:.2g} of the mean score:"
    assert any(gain in str(each.message) for each in warned)
    assert len(model.cv_results_) == 9 + 6


def test_folds_may_be_given_and_repeat():
    X, Y = shared_data(60)
    folds = list(KFold(3).split(X))
    one = SharedPlusOwnClassifierCV(cv=folds).fit(X, Y)
    other = SharedPlusOwnClassifierCV(cv=KFold(3)).fit(X, Y)
    np.testing.assert_array_equal(one.coef_, other.coef_)
    seeded = [SharedPlusOwnClassifierCV(**SMALL).fit(X, Y).coef_ for _ in range(2)]
    np.testing.assert_array_equal(*seeded)


def test_an_attribute_that_a_fold_cannot_score_is_fitted_all_the_same():
    X, Y = shared_data(60)
    Y[:, 3] = 0
    Y[7, 3] = 1  # one positive: no fold can train on it and score it
    model = SharedPlusOwnClassifierCV(**SMALL).fit(X, Y)
    assert np.isfinite(model.coef_).all()
    assert np.isnan(model.report_["score"].iloc[3])
    assert np.isfinite(model.report_["score"].drop(3)).all()


def test_rows_of_given_folds_are_those_that_were_given():
    X, Y = shared_data(60, m=4)
    rows = np.arange(60)
    weights = np.where(rows < 10, 0.0, 1.0)
    folds = [(rows[rows % 3 != f], rows[rows % 3 == f]) for f in range(3)]
    weighted = SharedPlusOwnClassifierCV(cv=folds).fit(X, Y, weights)
    left = rows[10:]
    inner = [(rows[:50][left % 3 != f], rows[:50][left % 3 == f]) for f in range(3)]
    plain = SharedPlusOwnClassifierCV(cv=inner).fit(X[10:], Y[10:])
    np.testing.assert_allclose(weighted.coef_, plain.coef_, rtol=1e-7)
    np.testing.assert_array_equal(weighted.report_["score"], plain.report_["score"])


@pytest.mark.parametrize(
    ("cv", "message"),
    [
        ("many", "cv: got 'many'"),
        (iter(()), "cv: gave no split"),
        (LeaveOneOut(), "no fold holds out both classes"),
    ],
)
def test_folds_that_can_not_serve_raise(cv, message):
    X, Y = shared_data(20, m=3)
    with pytest.raises(ValueError, match=message):
        SingleTaskClassifierCV(cv=cv).fit(X, Y)


def test_a_fold_that_scores_nothing_counts_for_nothing():
    X, Y = shared_data(60, m=1)
    y = Y[:, 0]
    order = np.argsort(y)
    positives = order[-5:]  # one fold holds out positives alone
    rest = np.setdiff1d(np.arange(60), positives)
    folds = [(np.setdiff1d(np.arange(60), part), part) for part in (positives, *np.split(rest, 5))]
    model = SingleTaskClassifierCV(cv=folds).fit(X, y)
    table = model.cv_results_
    assert (table["standard_error"][table["folds"] == len(folds)] < 0.2).all()
    assert model.predict_proba(X).shape == (60, 2)
    assert SingleTaskClassifierCV(cv=folds).fit(X, Y).predict_proba(X).shape == (60, 2)


def test_labels_without_a_signal_get_their_frequency_as_probability():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(200, 20)), (rng.random((200, 4)) < 0.15).astype(float)
    p = SharedPlusOwnClassifierCV(**SMALL).fit(X, Y).predict_proba(X)
    np.testing.assert_allclose(p.mean(axis=0), Y.mean(axis=0), atol=0.03)


def test_balanced_classes_balance_the_decisions():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(400, 5))
    Y = (X[:, :2] + rng.normal(size=(400, 2)) > 1.8).astype(float)  # one in ten
    plain, balanced = (
        SingleTaskClassifierCV(class_weight=weight, **SMALL).fit(X, Y).predict(X).mean()
        for weight in (None, "balanced")
    )
    assert plain < 0.12
    assert 0.2 < balanced < 0.5


def test_probabilities_are_calibrated():
    X, Y = shared_data(600, d=10, m=4, seed=5)
    train, test = slice(0, 300), slice(300, 600)
    model = SharedPlusOwnClassifierCV(**SMALL).fit(X[train], Y[train])
    p = model.predict_proba(X[test])
    assert p.shape == (300, 4)
    assert ((p > 0.5) == model.predict(X[test])).all()
    prior = [log_loss(y, np.full(300, y.mean())) for y in Y[test].T]
    own = [log_loss(y, q) for y, q in zip(Y[test].T, p.T, strict=True)]
    assert np.mean(own) < 0.75 * np.mean(prior)
    for y, q in zip(Y[test].T, p.T, strict=True):  # what is called 80 % comes true that often
        sure = q > 0.7
        assert y[sure].mean() == pytest.approx(q[sure].mean(), abs=4 * 0.5 / math.sqrt(sure.sum()))


def test_scorings_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=50), rng.integers(0, 4, 50).astype(float)):
        labels = rng.random(50) < 0.3
        p = 1 / (1 + np.exp(-values))
        expected = {
            "average_precision": average_precision_score(labels, values),
            "roc_auc": roc_auc_score(labels, values),
            "neg_log_loss": -log_loss(labels, p),
        }
        for name, value in expected.items():
            assert SCORINGS[name](labels, values) == pytest.approx(value, rel=1e-12)


def test_scoring_is_checked():
    X, Y = shared_data(40)
    with pytest.raises(ValueError, match="scoring: got 'f1'"):
        SharedPlusOwnClassifierCV(scoring="f1").fit(X, Y)


@pytest.mark.parametrize("cv", [3, KFold(3)], ids=["number", "splitter"])
def test_models_are_saved(tmp_path, cv):
    X, Y = shared_data(60, m=4)
    for model in (
        SharedPlusOwnClassifier(),
        SharedPlusOwnClassifierCV(cv=cv, random_state=np.random.RandomState(0)),
    ):
        model.fit(X, Y)
        save_model(tmp_path / "model", model)
        loaded = load_model(tmp_path / "model")
        np.testing.assert_array_equal(loaded.decision_function(X), model.decision_function(X))
        np.testing.assert_array_equal(loaded.shared_coef_, model.shared_coef_)
        if hasattr(model, "predict_proba"):
            np.testing.assert_array_equal(loaded.sharing_, model.sharing_)
            np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_the_penalty_is_that_of_one_group_without_groups_and_checks_their_number():
    W = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, single = pm.SharedPlusOwn(0.5, 0.3), pm.SharedPlusOwn(0.5, 0.3, pm.Groups.single(4))
    assert float(plain.value(W)) == pytest.approx(float(single.value(W)), rel=1e-12)
    torch.testing.assert_close(plain.prox(W, 0.7)[0], single.prox(W, 0.7)[0])
    with pytest.raises(ValueError, match="W"):
        pm.SharedPlusOwn(0.5, 0.3, pm.Groups.single(3)).value(W)


def test_the_shared_part_is_on_the_features_as_given():
    X, Y = shared_data()
    one = SharedPlusOwnClassifier(tol=1e-8).fit(X, Y)
    units = 2.0 ** np.arange(X.shape[1] % 8, X.shape[1] % 8 + X.shape[1])
    other = SharedPlusOwnClassifier(tol=1e-8).fit(X * units, Y)
    assert one.shared_coef_.any()
    np.testing.assert_allclose(other.shared_coef_ * units, one.shared_coef_, rtol=1e-9, atol=1e-12)
