"""Regressors: closed forms, units of labels, missing labels, weights, and sharing where it pays."""

import pickle

import numpy as np
import pandas as pd
import pytest
from regression_cases import ALL, PLAIN, SMALL, hidden, planted
from sklearn.base import clone
from sklearn.linear_model import HuberRegressor, Ridge, RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

import proxmtl as pm
from proxmtl.estimators import load_model, save_model
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.scoring import REAL_SCORINGS, r2
from proxmtl.io import InputError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Rows that are repeated are other folds; descents to one optimum agree as far as they are solved.
PRECISE = {
    "SingleTaskRegressor": {"tol": 1e-21, "max_passes": 3000},
    "SharedPlusOwnRegressor": {"tol": 3e-14, "max_passes": 3000},
    "LatentMTLRegressor": {"tol": 1e-9, "max_passes": 5000},
}
# what the other checks ask for holds on the way to a solution, too
SHORT = {"max_passes": 12}
CHECKED = [
    *(clone(each).set_params(**SHORT) for each in PLAIN[:3]),
    pm.SharedPlusOwnRegressorCV(cv=2, **SHORT),
    # one search of scales is checked, which they share
    pm.SingleTaskRegressorCV(cv=2, **SHORT, standardize=True),
    pm.LatentMTLRegressorCV(cv=2, **SHORT, standardize=True, relevance=False),
]


@pytest.mark.filterwarnings("ignore:LatentMTLRegressor. W = 0 is lower:UserWarning")
@parametrize_with_checks(CHECKED)
def test_scikit_learn_contract(estimator, check):
    if check.func.__name__.startswith("check_sample_weight_equivalence"):
        if hasattr(estimator, "cv"):
            pytest.skip("folds of repeated rows are other folds")
        estimator = clone(estimator).set_params(**PRECISE[type(estimator).__name__])
    check(estimator)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("standardize", [True, False])
def test_a_ridge_is_that_of_scikit_learn(fit_intercept, standardize):
    X, Y = planted()
    if not standardize:
        X = X - 3
    model = pm.SingleTaskRegressor(
        l2_strength=0.05, tol=1e-14, fit_intercept=fit_intercept, standardize=standardize
    ).fit(X, Y)
    Z = (X - X.mean(axis=0)) / X.std(axis=0) if standardize else X
    peer = Ridge(alpha=2 * len(X) * 0.05, fit_intercept=fit_intercept).fit(Z, Y)
    np.testing.assert_allclose(model.predict(X), peer.predict(Z), rtol=1e-6, atol=1e-9)
    assert model.score(X, Y) == pytest.approx(r2_score(Y, peer.predict(Z)), rel=1e-6)
    if fit_intercept:
        np.testing.assert_allclose(model.target_mean_, Y.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(model.target_scale_, Y.std(axis=0), rtol=1e-12)
    else:
        np.testing.assert_allclose(model.target_scale_, np.sqrt((Y**2).mean(axis=0)), rtol=1e-12)


def test_missing_labels_are_left_out_of_each_ridge():
    X, Y = planted()
    few = hidden(Y, 0.6)
    model = pm.SingleTaskRegressor(l2_strength=0.05, tol=1e-14).fit(X, few)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    for m, y in enumerate(few.T):
        seen = ~np.isnan(y)
        peer = Ridge(alpha=2 * seen.sum() * 0.05).fit(Z[seen], y[seen])
        np.testing.assert_allclose(model.predict(X)[:, m], peer.predict(Z), rtol=1e-6, atol=1e-9)
    per_attribute = [
        r2_score(y[~np.isnan(y)], z[~np.isnan(y)])
        for y, z in zip(few.T, model.predict(X).T, strict=True)
    ]
    assert model.score(X, few) == pytest.approx(np.mean(per_attribute), rel=1e-12)


def test_the_choice_is_that_of_ridge_cv():
    X, Y = planted(noise=2.0, n=40, m=1)
    folds = list(KFold(4, shuffle=True, random_state=0).split(X))
    model = pm.SingleTaskRegressorCV(cv=folds, standardize=False).fit(X, Y[:, 0])
    y = Y[:, 0]
    unit = X.var(axis=0).sum()  # of own_strength 1, in units of a mean loss: alpha is 2 N times it
    mean = []
    for own in model.cv_results_["own_strength"]:
        scores = []
        for train, test in folds:
            inside = X[train].var(axis=0).sum()
            peer = Ridge(alpha=2 * own * inside).fit(X[train], y[train])
            scores.append(r2_score(y[test], peer.predict(X[test])))
        mean.append(np.mean(scores))
    found = model.cv_results_["mean"].to_numpy()
    solved = ~np.isnan(found)  # others were given up
    assert solved.sum() >= 5
    np.testing.assert_allclose(found[solved], np.array(mean)[solved], atol=1e-3)  # ends early
    best = model.cv_results_["own_strength"][int(np.argmax(mean))]
    assert model.report_["own_strength"][0] == pytest.approx(best * unit / len(X), rel=1e-9)
    grid = 2 * model.cv_results_["own_strength"].to_numpy() * unit
    peer = RidgeCV(alphas=grid, scoring="r2", cv=folds).fit(X, y)
    assert abs(np.log10(peer.alpha_ / (2 * best * unit))) <= 0.5 + 1e-9  # a step of the path


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("model", ALL, ids=lambda model: type(model).__name__)
def test_the_unit_of_the_labels_does_not_matter(model, loss):
    X, Y = planted(rank=2)
    few = hidden(Y, 0.7)
    a, c = 2.0 ** np.array([-3, 0, 6, 20, -20]), np.array([0, 4, -8, 0, 0])
    one = clone(model).set_params(loss=loss).fit(X, few)
    other = clone(model).set_params(loss=loss).fit(X, a * few + c)
    wanted = a * one.predict(X) + c
    spread = np.ptp(wanted, axis=0)
    np.testing.assert_allclose(other.predict(X) / spread, wanted / spread, atol=1e-7)
    np.testing.assert_allclose(other.coef_ / a[:, None], one.coef_, rtol=1e-5, atol=1e-7)
    if hasattr(one, "report_"):
        tables = [model.report_ for model in (other, one)]
        if "scaling" in one.report_:
            assert (tables[0].pop("scaling") == tables[1].pop("scaling")).all()
        reports = (table.to_numpy(np.float64) for table in tables)
        np.testing.assert_allclose(*reports, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [pm.SharedPlusOwnRegressorCV, pm.LatentMTLRegressorCV])
def test_sharing_is_found_where_there_is_some(kind):
    X, Y = planted(400, 30, 12, rank=2, noise=0.1, seed=1)
    train, test = slice(0, 100), slice(100, 400)
    few = hidden(Y[train], 0.3)
    both = kind(**SMALL).fit(X[train], few)
    alone = pm.SingleTaskRegressorCV(**SMALL).fit(X[train], few)
    assert both.sharing_.mean() > 0.7
    assert both.score(X[test], Y[test]) > alone.score(X[test], Y[test]) + 0.1
    assert both.report_["gain"].mean() > 0
    assert list(both.report_.columns[:3]) == ["labels", "shared", "score"]
    assert both.report_["labels"].tolist() == (~np.isnan(few)).sum(axis=0).tolist()


def test_nothing_is_shared_where_there_is_nothing_to_share():
    X, Y = planted(300, 12, 5, noise=1.0)
    both = pm.SharedPlusOwnRegressorCV(**SMALL).fit(X, Y)
    alone = pm.SingleTaskRegressorCV(**SMALL).fit(X, Y)
    gap = both.score(X, Y) - alone.score(X, Y)
    assert abs(gap) < 0.01
    if not both.sharing_.any():
        np.testing.assert_array_equal(both.coef_, alone.coef_)


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("model", PLAIN[:2], ids=lambda model: type(model).__name__)
def test_weights_are_repeated_rows(model, loss):
    X, Y = planted(rank=2)
    Y = hidden(Y, 0.8)
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    precise = clone(model).set_params(loss=loss, tol=1e-13, max_passes=20000)
    weighted = clone(precise).fit(X, Y, weights)
    repeated = clone(precise).fit(np.repeat(X, weights, axis=0), np.repeat(Y, weights, axis=0))
    scale = np.abs(repeated.coef_).max(axis=1, keepdims=True)
    np.testing.assert_allclose(weighted.coef_ / scale, repeated.coef_ / scale, atol=1e-5)
    np.testing.assert_allclose(weighted.target_scale_, repeated.target_scale_, rtol=1e-12)
    again = np.repeat(X, weights, axis=0), np.repeat(Y, weights, axis=0)
    assert weighted.score(X, Y, weights) == pytest.approx(weighted.score(*again), rel=1e-9)


def test_labels_of_weight_zero_are_forgotten():
    X, Y = planted()
    weights = np.ones_like(Y)
    weights[5:20, 1] = 0
    spoilt = Y.copy()
    spoilt[5:20, 1] = 1e9
    one = pm.SingleTaskRegressor(tol=1e-12).fit(X, spoilt, weights)
    missing = np.where(weights > 0, Y, np.nan)
    other = pm.SingleTaskRegressor(tol=1e-12).fit(X, missing)
    np.testing.assert_allclose(one.target_scale_, other.target_scale_, rtol=1e-12)
    np.testing.assert_allclose(one.coef_[1], other.coef_[1], rtol=0.2)  # features' moments differ
    assert one.score(X, spoilt, weights) == pytest.approx(one.score(X, missing), rel=1e-9)


def test_medians_are_those_of_repeated_labels():
    rng = np.random.default_rng(0)
    y, w = rng.normal(size=30), rng.integers(1, 5, 30)
    for centred in (True, False):
        weighted = EncodedLabels(y[:, None], w.astype(float), "real").units(
            centred=centred, robust=True
        )
        repeated = np.repeat(y, w)
        centre = np.median(repeated) if centred else 0.0
        assert weighted.centre[0] == pytest.approx(centre, abs=1e-15)
        spread = 1.4826 * np.median(np.abs(repeated - centre))
        assert weighted.scale[0] == pytest.approx(spread, rel=1e-12)


def test_outliers_do_not_move_the_robust_loss():
    X, Y = planted(120, m=1, noise=0.1)
    y = Y[:, 0].copy()
    y[::10] += 1e3 * np.ptp(Y)
    clean = np.arange(120) % 10 != 0
    robust, squared = (
        pm.SingleTaskRegressor(loss=loss, l2_strength=1e-4, max_passes=20000).fit(X, y)
        for loss in ("huber", "squared")
    )
    assert robust.score(X[clean], Y[clean, 0]) > 0.9
    assert squared.score(X[clean], Y[clean, 0]) < 0
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    peer = HuberRegressor(max_iter=1000).fit(Z, y)
    assert r2_score(robust.predict(X)[clean], peer.predict(Z)[clean]) > 0.98


@pytest.mark.parametrize("model", ALL, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("value", [0.0, 7.25, -1e12, 1e-20])
def test_labels_that_are_all_the_same_are_predicted(model, value):
    X, Y = planted(rank=2)
    Y[:, 2] = value
    fitted = clone(model).fit(X, Y)
    assert not fitted.coef_[2].any()
    np.testing.assert_array_equal(fitted.predict(X)[:, 2], value)
    assert fitted.target_scale_[2] == 0
    others = fitted.score(
        X, np.delete(Y, 2, axis=1) if False else Y
    )  # it has no R², and is left out
    assert 0.3 < others <= 1
    if hasattr(fitted, "report_"):
        assert np.isnan(fitted.report_["score"].iloc[2])


def test_nothing_to_learn_or_to_score():
    X = planted(20)[0]
    model = pm.SingleTaskRegressor().fit(X, np.full(20, 3.0))
    np.testing.assert_array_equal(model.predict(X), 3.0)
    with pytest.raises(ValueError, match="no attribute with two different labels"):
        model.score(X, np.full(20, 3.0))
    with pytest.raises(ValueError, match="two different labels of an attribute"):
        pm.SingleTaskRegressorCV(cv=2).fit(X, np.full(20, 3.0))


@pytest.mark.filterwarnings("ignore:LatentMTLRegressor. The model collapsed:UserWarning")
@pytest.mark.parametrize("model", PLAIN, ids=lambda model: type(model).__name__)
def test_constant_features_leave_the_mean(model):
    _, Y = planted(30)
    fitted = clone(model).fit(np.ones((30, 4)), Y)
    np.testing.assert_allclose(fitted.predict(np.ones((2, 4))), np.tile(Y.mean(axis=0), (2, 1)))


@pytest.mark.parametrize("scale", [1e-160, 1e160])
def test_labels_of_any_size(scale):
    X, Y = planted()
    plain, scaled = (pm.SharedPlusOwnRegressor().fit(X, Y * s) for s in (1.0, scale))
    np.testing.assert_allclose(scaled.predict(X) / scale, plain.predict(X), rtol=1e-6)
    assert scaled.score(X, Y * scale) == pytest.approx(plain.score(X, Y), rel=1e-6)


@pytest.mark.parametrize("model", ALL, ids=lambda model: type(model).__name__)
def test_saved_pickled_cloned_and_searched(tmp_path, model):
    X, Y = planted(rank=2)
    Y = pd.DataFrame(hidden(Y, 0.7), columns=list("abcde"))
    fitted = clone(model).fit(X, Y)
    save_model(tmp_path / "model", fitted)
    for again in (load_model(tmp_path / "model"), pickle.loads(pickle.dumps(fitted))):
        assert type(again) is type(fitted)
        np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
        assert again.score(X, Y) == fitted.score(X, Y)
        assert again.label_names_ == list("abcde")
        for name in ("target_mean_", "target_scale_", "S_", "shared_coef_", "sharing_"):
            if hasattr(fitted, name):
                np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    np.testing.assert_array_equal(clone(model).fit(X, Y).coef_, fitted.coef_)


def test_a_damaged_description_is_named(tmp_path):
    X, Y = planted(20)
    state = pm.SingleTaskRegressor().fit(X, Y).to_state()
    state.arrays["target_scale_"] = np.ones(3)
    with pytest.raises(ValueError, match="target_scale_ has shape"):
        pm.SingleTaskRegressor.from_state(state)
    with pytest.raises(InputError):
        load_model(tmp_path / "nothing")


def test_searches_of_scikit_learn():
    X, Y = planted()
    grid = GridSearchCV(pm.SingleTaskRegressor(), {"l2_strength": [1e-2, 1e1]}, cv=3).fit(X, Y)
    assert grid.best_params_ == {"l2_strength": 1e-2}
    seen = cross_val_score(pm.SingleTaskRegressor(), X, Y[:, 0], cv=KFold(3))
    for (train, test), score in zip(KFold(3).split(X), seen, strict=True):
        model = pm.SingleTaskRegressor().fit(X[train], Y[train, 0])
        assert model.predict(X[test]).shape == (len(test),)
        assert score == pytest.approx(r2_score(Y[test, 0], model.predict(X[test])))


def test_scorings_by_name_and_by_function():
    X, Y = planted(noise=1.0)
    rng = np.random.default_rng(0)
    y, z = rng.normal(size=20), rng.normal(size=20)
    assert r2(y, z) == pytest.approx(r2_score(y, z), rel=1e-12)
    w = rng.random(20)
    assert r2(y, z, w) == pytest.approx(r2_score(y, z, sample_weight=w), rel=1e-12)
    assert REAL_SCORINGS["neg_mean_absolute_error"](y, z) == pytest.approx(
        -mean_absolute_error(y, z), rel=1e-12
    )
    seen = []

    def scoring(labels, predicted):
        seen.append((labels, predicted))
        return -mean_absolute_error(labels, predicted)

    by_hand = pm.SingleTaskRegressorCV(scoring=scoring, **SMALL).fit(X, Y)
    assert all(np.isin(labels.round(9), Y.round(9)).all() for labels, _ in seen)  # as they are
    named = pm.SingleTaskRegressorCV(scoring="neg_mean_absolute_error", **SMALL).fit(X, Y)
    at = named.report_["score"] * named.target_scale_
    same = pm.SingleTaskRegressorCV(scoring=scoring, **SMALL).fit(X, Y / Y.std(axis=0))
    np.testing.assert_allclose(same.report_["score"] * Y.std(axis=0), at, rtol=1e-6)
    assert by_hand.report_["score"].iloc[1] < 0
    with pytest.raises(ValueError, match="scoring: got 'average_precision'"):
        pm.SingleTaskRegressorCV(scoring="average_precision").fit(X, Y)


def test_folds_hold_equal_shares_of_the_labels_of_each_attribute():
    X, Y = planted(100)
    few = hidden(Y, 0.3)
    model = pm.SingleTaskRegressorCV(cv=5, random_state=0).fit(X, few)
    splits = model._splits(EncodedLabels(few, coding="real"))
    counts = np.array([(~np.isnan(few[test])).sum(axis=0) for _, test in splits])
    assert np.ptp(counts, axis=0).max() <= 3
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(100))
    other = pm.SingleTaskRegressorCV(cv=5, random_state=1).fit(X, few)
    assert not np.array_equal(other.cv_results_["mean"], model.cv_results_["mean"])


def test_going_on_with_another_set():
    X, Y = planted(80, rank=2)
    Y[:, 3] = 5.0
    model = pm.LatentMTLRegressor(max_passes=400, tol=1e-8)
    model.partial_fit(X[:40], Y[:40])
    before = model.target_scale_.copy()
    model.set_params(max_passes=3)
    there = clone(model).set_params(max_passes=400).fit(X[:40], Y[:40])
    model.partial_fit(X[:40], Y[:40])  # where it is already
    np.testing.assert_allclose(model.predict(X), there.predict(X), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(model.target_scale_, before)
    Y[50, 3] = 6.0
    with pytest.raises(ValueError, match="Y: column 3 had one value only in the first set"):
        model.partial_fit(X[40:], Y[40:])
