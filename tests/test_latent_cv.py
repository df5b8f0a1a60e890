"""The paper's model with own parts, its strength and whether attributes share it chosen inside."""

import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import average_precision_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from strategies import classification
from test_shared_plus_own import hidden, shared_data

from proxmtl import Groups, LatentMTLClassifierCV, Logistic, Problem, SharedDesign, Targets
from proxmtl.estimators import SingleTaskClassifierCV, cross_validated, load_model, save_model
from proxmtl.latent import refactor
from proxmtl.latent.path import critical_strength, followed, with_own_parts

SMALL = {"cv": 3, "random_state": 0}
OVERLAPPING = {"first": list(range(7)), "second": list(range(5, 12)), "all": list(range(12))}


def convex_problem(n=80, d=10, m=6, scale=1.0, seed=0):
    X, Y = classification(n, d, m, seed=seed)
    X = scale * torch.as_tensor(X)
    targets = Targets.from_labels(Y, reduction="mean", like=X)
    return Problem(Logistic(), SharedDesign(X, intercept=True), targets)


def check_parts(model, X):
    """The parts make up the coefficients, and attributes alone have no latent."""
    tolerance = 1e-6 * max(np.abs(model.coef_).max(), 1e-300)
    np.testing.assert_allclose((model.L_ @ model.S_ + model.V_).T, model.coef_, atol=tolerance)
    assert not model.S_[:, ~model.sharing_].any()
    assert model.n_latents_ == len(model.S_)
    assert model.S_.any(axis=1).all()
    assert model.L_.any(axis=0).all()
    assert model.decision_function(X).shape == (len(X), len(model.coef_))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    # the search of scales is that of SharedPlusOwnClassifierCV, which is checked with it
    [LatentMTLClassifierCV(cv=2, max_passes=12, standardize=True, relevance=False)]
)
def test_scikit_learn_contract(estimator, check):
    if check.func.__name__.startswith("check_sample_weight_equivalence"):
        pytest.skip("folds of repeated rows are other folds")
    check(estimator)


@pytest.mark.parametrize("groups", [None, OVERLAPPING], ids=["one", "overlapping"])
def test_sharing_is_found_where_there_is_some(groups):
    X, Y = shared_data(200, seed=4)
    train, test = slice(0, 100), slice(100, 200)
    few = hidden(Y[train], 0.3)
    both = LatentMTLClassifierCV(groups=groups, **SMALL).fit(X[train], few)
    alone = SingleTaskClassifierCV(**SMALL).fit(X[train], few)
    check_parts(both, X)
    assert both.sharing_.mean() > 0.7
    assert 0 < both.n_latents_ < 12
    ap = [
        average_precision_score(Y[test], model.decision_function(X[test]), average="macro")
        for model in (both, alone)
    ]
    assert ap[0] > ap[1] + 0.02
    assert both.report_["gain"].mean() > 0
    if groups is not None:
        assert list(both.groups_.names) == list(groups)


def test_a_final_fit_without_latents_is_tried_from_another_start(monkeypatch):
    """A descent to W = V, as from zero factors, is no reason to share nothing."""
    X, Y = shared_data(200, seed=4)
    few = hidden(Y[:100], 0.3)

    def nowhere(problem, groups, strength, own, budget):
        D, M = problem.design.split(problem.zeros())[0].shape
        factors = torch.zeros(D, 1), torch.zeros(1, M)
        return *(factor.to(problem.design.dtype) for factor in factors), None, None

    monkeypatch.setattr("proxmtl.latent.path.start_of", nowhere)
    model = LatentMTLClassifierCV(**SMALL).fit(X[:100], few)
    assert model.n_latents_ > 0
    assert model.sharing_.mean() > 0.7
    assert max(result.passes for result in model.results_) <= model.max_passes


def test_nothing_is_shared_where_there_is_nothing_to_share():
    X, Y = shared_data(300, d=12, m=8, own=1.0, seed=1)
    both = LatentMTLClassifierCV(relevance=False, **SMALL).fit(X, Y)
    alone = SingleTaskClassifierCV(tol=1e-3, **SMALL).fit(X, Y)
    check_parts(both, X)
    assert both.n_latents_ == 0
    assert not both.sharing_.any()
    np.testing.assert_array_equal(both.coef_, alone.coef_)


def test_attributes_that_would_lose_keep_their_own_classifier(monkeypatch):
    X, Y = shared_data(100, m=6, seed=4)
    few = hidden(Y, 0.4)
    mixed = np.arange(6) != 2
    monkeypatch.setattr(cross_validated, "sharing", lambda *_, **__: mixed)
    model = LatentMTLClassifierCV(**SMALL).fit(X, few)
    check_parts(model, X)
    np.testing.assert_array_equal(model.report_["shared"], mixed)
    assert np.isfinite(model.report_["shared_strength"]).tolist() == mixed.tolist()
    assert model.S_[:, mixed].any(axis=0).all()
    alone = SingleTaskClassifierCV(tol=1e-3, **SMALL).fit(X, few)
    np.testing.assert_array_equal(model.coef_[2], alone.coef_[2])
    np.testing.assert_allclose(model.V_[:, 2], model.coef_[2], rtol=1e-12)
    assert len(model.results_) == 2


@pytest.mark.parametrize(("dtype", "own"), [(np.float32, 0.0), (np.float64, 1.0)])
def test_models_are_saved_pickled_and_cloned(tmp_path, dtype, own):
    X, Y = shared_data(60, m=4, own=own)
    X = X.astype(dtype)
    model = LatentMTLClassifierCV(groups=[[0, 1], [2, 3]], cv=2, random_state=0).fit(X, Y)
    save_model(tmp_path / "model", model)
    for again in (load_model(tmp_path / "model"), pickle.loads(pickle.dumps(model))):
        for name in ("coef_", "L_", "S_", "V_", "sharing_", "calibration_"):
            np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.n_latents_ == model.n_latents_
    np.testing.assert_array_equal(clone(model).fit(X, Y).coef_, model.coef_)


def test_features_that_say_nothing_give_zero():
    Y = shared_data(60)[1]
    model = LatentMTLClassifierCV(**SMALL).fit(np.ones((60, 5)), Y)
    assert not model.coef_.any()
    assert model.n_latents_ == 0


def test_an_attribute_that_a_fold_lacks_keeps_its_place():
    X, Y = shared_data(60)
    Y[:, 3] = 0
    Y[7, 3] = 1  # in one training part of three it has one class
    model = LatentMTLClassifierCV(groups=OVERLAPPING, **SMALL).fit(X, Y)
    check_parts(model, X)
    assert np.isnan(model.report_["score"].iloc[3])


@pytest.mark.parametrize(
    "groups", [Groups.single(6), Groups.from_lists([[0, 1, 2, 3], [2, 3, 4, 5]])]
)
def test_the_unit_goes_with_the_features_and_the_groups(groups):
    plain = critical_strength(convex_problem(), groups)
    # of features 4 times as large sigma is 4 times and t* a quarter: c grows as 4 / 4^(1/3)
    scaled = critical_strength(convex_problem(scale=4.0), groups)
    assert scaled == pytest.approx(plain * 4 ** (2 / 3), rel=1e-9)
    heavy = Groups.from_lists(
        [groups.members(g) for g in range(len(groups))], 6, weights=[8.0] * len(groups)
    )
    assert critical_strength(convex_problem(), heavy) == pytest.approx(plain / 4, rel=1e-9)


def test_a_latent_pays_below_the_unit_and_not_above_it():
    problem = convex_problem()
    groups = Groups.single(6)
    unit = critical_strength(problem, groups)
    lowest = []
    for strength in (1.001 * unit, 0.999 * unit):
        posed = with_own_parts(problem, groups, strength, 1e9)
        # the quadratic model of the loss at the best intercepts, along the steepest direction
        shapes = (10, 1), (1, 6), (6,), (10, 6)
        null, value = posed.null(tuple(torch.zeros(s, dtype=torch.float64) for s in shapes))
        view = posed.in_units()
        _, grads = view.smooth_value_and_grads(view.inside(null))
        U, s, Vh = torch.linalg.svd(-grads[-1], full_matrices=False)
        direction = view.design.join(U[:, :1] @ Vh[:1], torch.zeros(6, dtype=torch.float64))
        scores = view.design.scores(direction)
        bend = float((view.targets.weights * scores.square()).sum()) / 4
        t = torch.linspace(1e-3, 3, 5000, dtype=torch.float64) * float(s[0]) / bend
        cost = 3 * strength * 2 ** (-2 / 3) * t ** (2 / 3)
        lowest.append(float((cost - s[0] * t + bend * t**2 / 2).min()))
        assert value == pytest.approx(math.log(2), rel=0.2)
    assert lowest[0] > 0 > lowest[1]


def test_stronger_ones_have_fewer_latents_and_descents_end_below_their_starts():
    problem = convex_problem(seed=2)
    groups = Groups.single(6)
    unit = critical_strength(problem, groups)
    strengths = [f * unit for f in (5.0, 0.5, 0.05)]
    brief, long = (
        list(followed(problem, groups, strengths, 0.05, passes=passes, tolerance=1e-9))
        for passes in (4, 200)
    )
    live = [int((blocks[0] != 0).any(0).sum()) for _, blocks in long]
    assert live == sorted(live)
    assert live[0] == 0 < live[-1]
    for (posed, short), (_, more) in zip(brief, long, strict=True):
        assert posed.objective(more) <= posed.objective(short) * (1 + 1e-9)


def test_singular_vectors_are_the_cheapest_factors_of_one_group():
    problem = with_own_parts(convex_problem(), Groups.single(6), 0.1, 1.0)
    rng = torch.Generator().manual_seed(0)
    L = torch.randn(10, 4, generator=rng, dtype=torch.float64)
    S = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    exact = refactor(problem, L, S)
    torch.testing.assert_close(exact[0] @ exact[1], L @ S)
    sizes = torch.linalg.svdvals(L @ S)[:4]
    # 3 lambda^(1/3) (mu / 2)^(2/3) t^(2/3) each, at mu = lambda = 0.1
    expected = float((3 * 0.1 * 2 ** (-2 / 3) * sizes ** (2 / 3)).sum())
    assert problem.factor_penalty(*exact) == pytest.approx(expected, rel=1e-10)
    # nothing nearby is cheaper
    for _ in range(20):
        A = torch.eye(4, dtype=torch.float64) + 0.1 * torch.randn(
            4, 4, generator=rng, dtype=torch.float64
        )
        moved = exact[0] @ A, torch.linalg.solve(A, exact[1])
        assert problem.factor_penalty(*moved) >= expected
