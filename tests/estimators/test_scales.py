"""The scales of the features that searches compare, and what is fitted on them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score

import proxmtl as pm
from proxmtl.estimators import load_model, save_model, scales
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.scales import AS_GIVEN, PARETO, UNIT, Scale, Training
from proxmtl.row_sources import as_rows

N, D, M = 90, 12, 5
RNG = np.random.default_rng(0)
SPREAD = np.exp(RNG.normal(size=D))
X = RNG.normal(size=(N, D))
X = (X - X.mean(axis=0)) / X.std(axis=0)
SIGNS = np.where(X @ RNG.normal(size=(D, M)) > 0, 1.0, -1.0)
RELEVANT = Scale(0.5, 1, 0.1)
EXACT = {"tol": 1e-12, "max_passes": 10000}


def training(X=X, *, spread=SPREAD, origin=None, task_of=None, signs=SIGNS):
    samples = Samples(X, task_of=task_of, origin=origin)
    labels = EncodedLabels(signs)
    return Training(samples, labels, None, spread, pm.Logistic(), True, "mean")


@pytest.mark.parametrize(("scale", "power"), [(UNIT, 0.0), (PARETO, 0.5), (AS_GIVEN, 1.0)], ids=str)
def test_factors_are_powers_of_the_standard_deviations(scale, power):
    factors = training().at(scale).factors
    if power == 0:
        assert factors is None
        return
    np.testing.assert_allclose(factors, SPREAD**power / (SPREAD**power).max(), rtol=1e-12)


@pytest.mark.parametrize("relevance", [1, 2])
def test_relevance_is_the_size_of_coefficients_in_models_alone(relevance):
    learnt = training()
    scale = Scale(0.5, relevance, 0.1)
    base = learnt.at(PARETO)
    # the unit of a ridge: mean squared norm of the features over the number of labels
    unit = np.square(X * base.factors).sum(axis=1).mean() / (N * M)
    ridge = base.problem.with_regularizers(pm.SquaredFrobenius(0.1 * unit))
    result = pm.minimize(ridge, stop=pm.RelativeGap(1e-12))
    W = base.problem.design.split(result.solution)[0].numpy() * base.factors[:, None]
    expected = np.linalg.norm(W, axis=1) ** (relevance / 2)
    np.testing.assert_allclose(
        learnt.at(scale, **EXACT).factors, expected / expected.max(), rtol=1e-4
    )
    # candidates of a search are solved approximately
    np.testing.assert_allclose(learnt.at(scale).factors, expected / expected.max(), atol=0.03)


def test_models_whose_coefficients_are_the_relevance_are_solved_once_for_all_powers(monkeypatch):
    learnt, known = training(), {}
    again = replace(learnt, known=known)
    expected = [learnt.at(Scale(0.5, power, 0.1)).factors for power in (1, 2)]
    for each, found in zip((1, 2), expected, strict=True):
        np.testing.assert_array_equal(again.at(Scale(0.5, each, 0.1)).factors, found)
        monkeypatch.setattr(scales, "followed", None)  # from now on nothing is solved
    assert list(known) == [RELEVANT]
    np.testing.assert_array_equal(replace(learnt, known=known).at(RELEVANT).factors, expected[0])
    with pytest.raises(TypeError, match="NoneType"):
        again.at(Scale(0.5, 1, 0.2))


@pytest.mark.parametrize("scale", [PARETO, AS_GIVEN, RELEVANT], ids=str)
def test_features_of_all_forms_are_scaled_alike(scale):
    dense = training().at(scale, **EXACT)
    point = torch.randn(D + 1, M, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # sparse features minus an origin are the dense ones
    origin = RNG.normal(size=D)
    shifted = training(csr_array(X + origin), origin=origin).at(scale, **EXACT)
    read = training(as_rows(X)).at(scale, **EXACT)
    for other in (shifted, read):
        np.testing.assert_allclose(other.factors, dense.factors, rtol=1e-6)
        torch.testing.assert_close(
            other.problem.scores(point), dense.problem.scores(point), rtol=1e-5, atol=1e-6
        )
    # scores at a point are those of the features before at the point that is given back
    torch.testing.assert_close(
        dense.problem.scores(point), training().problem.scores(dense.point(point))
    )


def test_tasks_of_rows_of_their_own_are_scaled_alike():
    task_of = np.arange(N) % M
    signs = np.where(np.arange(M) == task_of[:, None], SIGNS, np.nan)
    apart = training(task_of=task_of, signs=signs).at(RELEVANT, **EXACT)
    whole = training(signs=signs).at(RELEVANT, **EXACT)
    np.testing.assert_allclose(apart.factors, whole.factors, rtol=1e-5)
    assert isinstance(apart.problem.design, pm.TaskDesign)


def test_features_left_as_they_are_count_by_their_spread_all_the_same():
    as_given = training(X * SPREAD, spread=None)
    assert as_given.at(AS_GIVEN).factors is None
    scale = Scale(1.0, 1, 0.1)
    ours, standardized = (each.at(scale, **EXACT).factors for each in (as_given, training()))
    ratio = ours * SPREAD / standardized
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_features_that_tell_nothing_keep_their_scale():
    signs = np.where(np.arange(N) % 2 == 0, 1.0, -1.0)[:, None] * np.ones(M)
    learnt = training(np.zeros((N, D)), signs=signs)
    np.testing.assert_array_equal(learnt.at(RELEVANT).factors, learnt.at(PARETO).factors)


def test_passes_of_all_scales_are_counted_together():
    learnt = training()
    learnt.at(RELEVANT)
    assert learnt.problem.counts.passes > 0


@pytest.mark.parametrize("kind", [pm.SingleTaskClassifierCV, pm.SharedPlusOwnClassifierCV])
def test_a_fit_is_the_minimum_of_a_weighted_ridge(kind):
    """Of the features before: a ridge on coefficients of multiplied ones weighs them."""
    features, Y = few_that_count()
    features = features * np.where(np.arange(60) < 6, 3.0, 1.0)
    model = kind(cv=2, random_state=0, tol=1e-12, max_passes=5000).fit(features, Y)
    some = model.sharing_ if model.sharing_.any() else ~model.sharing_
    own, factors = model.report_["own_strength"][some], model.feature_factors_
    assert (factors != 1).any()
    assert np.isinf(model.report_["shared_strength"]).all()
    standard = (features - model.mean_) / model.scale_
    problem = pm.Problem(
        pm.Logistic(),
        pm.SharedDesign(standard, intercept=True),
        pm.Targets.from_labels(2 * Y - 1, reduction="mean"),
        pm.WeightedFrobenius(torch.from_numpy(factors**-2.0)[:, None], own.iloc[0]),
    )
    best = pm.minimize(problem, pm.FISTA(), stop=pm.RelativeGap(1e-12) | pm.MaxPasses(20000))
    W = best.solution[:-1].numpy() / model.scale_[:, None]
    expected = W.T[some]  # attributes are independent problems
    np.testing.assert_allclose(model.coef_[some], expected, rtol=1e-4, atol=1e-4 * np.abs(W).max())


def test_features_whose_scale_tells_are_left_on_it():
    rng = np.random.default_rng(2)
    signal, noise = rng.random((240, 3)), 0.05 * rng.normal(size=(240, 60))
    Y = (signal > 0.5).astype(float)
    features = np.hstack([signal, noise])
    train, test = slice(0, 120), slice(120, 240)
    searched = pm.SingleTaskClassifierCV(random_state=0).fit(features[train], Y[train])
    fixed = pm.SingleTaskClassifierCV(standardize=True, random_state=0)
    fixed.fit(features[train], Y[train])
    assert set(searched.report_["scaling"]) <= {"Pareto", "as given"}
    assert set(fixed.cv_results_["scaling"]) == {"unit variance"}
    accuracy = [(each.predict(features[test]) == Y[test]).mean() for each in (searched, fixed)]
    assert accuracy[0] > accuracy[1] + 0.02


def few_that_count(n=140, d=60, m=16, seed=3):
    """Six features of equal variance tell all attributes."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, d))
    W = np.where(np.arange(d)[:, None] < 6, rng.normal(size=(d, m)), 0.0)
    return features, (features @ W + rng.normal(size=(n, m)) > 0).astype(float)


@pytest.mark.parametrize("kind", [pm.SharedPlusOwnClassifierCV, pm.LatentMTLClassifierCV])
def test_features_that_count_for_all_attributes_count_more(kind):
    features, Y = few_that_count()
    train, test = slice(0, 70), slice(70, 140)
    options = {"cv": 3, "random_state": 0, "standardize": True}
    model = kind(**options).fit(features[train], Y[train])
    without = kind(relevance=False, **options).fit(features[train], Y[train])
    assert model.sharing_.all()
    assert model.report_["scaling"].str.contains("relevance").all()
    assert model.feature_factors_[:6].min() > 2 * np.median(model.feature_factors_[6:])
    ap = [
        average_precision_score(Y[test], each.decision_function(features[test]), average="macro")
        for each in (model, without)
    ]
    assert ap[0] > ap[1] + 0.01


def test_what_is_shared_by_relevance_is_no_shared_part(tmp_path):
    features, Y = few_that_count()
    model = pm.SharedPlusOwnClassifierCV(cv=3, random_state=0).fit(features, Y)
    part = pm.SharedPlusOwnClassifierCV(cv=3, random_state=0, fallback=False).fit(features, Y)
    assert np.isfinite(part.report_["shared_strength"]).all()  # asked for, and so there
    np.testing.assert_allclose(
        part.shared_coef_, (part.shared_directions_ @ part.shared_loadings_).T, atol=1e-9
    )
    save_model(tmp_path / "model", model)
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.feature_factors_, model.feature_factors_)
    assert again.report_["scaling"].tolist() == model.report_["scaling"].tolist()
    np.testing.assert_array_equal(again.predict(features), model.predict(features))


def test_regressors_choose_among_the_same_scales():
    features, _ = few_that_count()
    rng = np.random.default_rng(4)
    W = np.where(np.arange(60)[:, None] < 6, rng.normal(size=(60, 8)), 0.0)
    values = features @ W + 2 * rng.normal(size=(140, 8))
    model = pm.SharedPlusOwnRegressorCV(cv=3, random_state=0).fit(features[:70], values[:70])
    alone = pm.SingleTaskRegressorCV(cv=3, random_state=0).fit(features[:70], values[:70])
    assert {"Pareto", "as given"} < set(alone.cv_results_["scaling"])
    assert model.sharing_.any()
    assert model.score(features[70:], values[70:]) > alone.score(features[70:], values[70:])


@pytest.mark.parametrize("given", ["unit", None, 2, 1])
def test_other_scalings_raise(given):
    with pytest.raises(ValueError, match=r"standardize: got .*; give 'search', True or False"):
        pm.SingleTaskClassifierCV(standardize=given).fit(*few_that_count())


@pytest.mark.parametrize("given", [True, False])
def test_a_scaling_that_is_given_is_the_only_one(given):
    model = pm.SingleTaskClassifierCV(cv=2, random_state=0, standardize=given)
    model.fit(*few_that_count())
    assert set(model.report_["scaling"]) == {"unit variance" if given else "as given"}
    np.testing.assert_array_equal(model.feature_factors_, 1.0)


def test_constant_features_beside_tiny_ones_change_nothing():
    features, Y = few_that_count()
    with_constant = np.hstack([1e-160 * features[:, :20], np.zeros((140, 1))])
    options = {"cv": 2, "random_state": 0}
    model = pm.SingleTaskClassifierCV(**options).fit(with_constant, Y)
    without = pm.SingleTaskClassifierCV(**options).fit(with_constant[:, :20], Y)
    np.testing.assert_allclose(
        model.decision_function(with_constant),
        without.decision_function(with_constant[:, :20]),
        rtol=1e-2,
        atol=1e-2,
    )


def test_the_model_alone_beside_has_factors_of_its_own():
    features, Y = few_that_count()
    model = pm.SharedPlusOwnClassifierCV(
        cv=2, random_state=0, standardize=True, keep_single_task=True
    ).fit(features, Y)
    assert (model.feature_factors_ != 1).any()
    np.testing.assert_array_equal(model.single_task_.feature_factors_, 1.0)
