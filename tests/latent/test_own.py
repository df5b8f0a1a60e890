"""Parts of each task's own, and the starts from the convex relative."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from solver_cases import CHAIN, PAIRS
from strategies import classification

import proxmtl as pm
from proxmtl.latent import starts

STRENGTHS = {"group_strength": 0.02, "l1_strength": 0.005, "frobenius_strength": 0.005}
X, Y = classification(80, 9, 6, seed=4, missing=0.15, shift=0.2)
ALL = pm.Groups.single(6)
each_init = pytest.mark.parametrize("init", ["svd", "trace", "best", "zero"])


def solved(X=X, Y=Y, **options):
    base = {"groups": ALL, "tol": 1e-6, "max_passes": 3000, "init": "best", **STRENGTHS}
    return pm.LatentMTL(**{**base, **options}).solve(X, Y)


def alone(strength, X=X, loss=None):
    """Ridge classifiers, one a task."""
    like = torch.as_tensor(X)
    problem = pm.Problem(
        loss or pm.SquaredHinge(),
        pm.SharedDesign(like, intercept=True),
        pm.Targets.from_labels(Y, reduction="mean", like=like),
        pm.SquaredFrobenius(strength),
    )
    return pm.minimize(problem, stop=pm.RelativeGap(1e-12) | pm.MaxIterations(20000))


@pytest.mark.parametrize("loss", [pm.SquaredHinge(), pm.Logistic()], ids=["hinge", "logistic"])
@each_init
def test_with_a_weak_ridge_each_task_is_a_classifier_of_its_own(init, loss):
    best = alone(1e-4, loss=loss)
    found = solved(init=init, own_strength=1e-4, loss=loss, tol=1e-8)
    assert found.live_latents == 0
    assert not found.collapsed
    assert found.status is pm.Status.CONVERGED
    assert found.certificate.objective == pytest.approx(best.objective, rel=1e-6)
    torch.testing.assert_close(found.coef, best.solution[:-1], rtol=1e-2, atol=1e-2)


@each_init
def test_with_a_strong_ridge_it_is_the_model_without_own_parts(init):
    init = "svd" if init == "zero" else init
    found = solved(init=init, own_strength=1e6, max_passes=600, tol=1e-5)
    without = solved(init=init, max_passes=600, tol=1e-5)
    assert float(found.own.abs().max()) < 1e-5
    assert found.certificate.objective == pytest.approx(without.certificate.objective, rel=1e-4)


@pytest.mark.parametrize("algorithm", ["auto", "gram", "panoc", "palm"])
@pytest.mark.parametrize("groups", [None, ALL, CHAIN], ids=["none", "all", "overlapping"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_every_algorithm_ends_no_higher_than_single_tasks(algorithm, groups, fit_intercept):
    labels = Y if groups is not CHAIN else Y[:, :4]
    own = 0.01
    model = pm.LatentMTL(
        groups,
        own_strength=own,
        algorithm=algorithm,
        fit_intercept=fit_intercept,
        init="trace",
        max_passes=400,
        **STRENGTHS,
    )
    result = model.solve(X, labels)
    problem = model.problem(X, labels)
    ridge = pm.Problem(problem.loss, problem.design, problem.targets, problem.own)
    best = pm.minimize(ridge, stop=pm.RelativeGap(1e-9) | pm.MaxIterations(5000))
    assert result.certificate.objective <= best.objective * (1 + 1e-3)
    assert result.certificate.objective == pytest.approx(
        problem.objective(blocks_of(problem, result))
    )
    assert set(result.certificate.block_gaps) == {"L", "S", "own"}
    assert result.coef.equal(result.L @ result.S + result.own)


def blocks_of(problem, result):
    named = {"L": result.L, "S": result.S, "intercept": result.intercept, "own": result.own}
    return tuple(named[name] for name in problem.block_names)


def test_what_tasks_share_goes_into_latents_and_the_rest_stays_own():
    generator = torch.Generator().manual_seed(1)
    normal = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    X = normal(400, 20)
    shared = normal(20, 1) @ normal(1, 8)
    own = torch.zeros(20, 8, dtype=torch.float64)
    own[:, 3] = 4 * normal(20)
    labels = torch.sign(X @ (shared + own) + normal(400, 8))
    found = solved(X, labels, groups=pm.Groups.single(8), own_strength=0.02, group_strength=0.01)
    assert found.live_latents == 1
    norms = found.own.norm(dim=0)
    assert int(norms.argmax()) == 3
    assert float(norms[3]) > 2 * float(norms[[0, 1, 2, 4, 5, 6, 7]].max())


@pytest.mark.parametrize("own", [None, 0.01])
@pytest.mark.parametrize("K", [1, 2, None])
def test_the_best_start_is_no_higher_than_those_it_chooses_from(own, K):
    model = pm.LatentMTL(ALL, own_strength=own, **STRENGTHS)
    problem = model.problem(X, Y).in_units()
    generator = torch.Generator().manual_seed(0)
    objective = {}
    for name in ("svd", "trace", "best", "zero"):
        problem.counts.forward = problem.counts.adjoint = 0
        start = getattr(starts, f"{name}_start")(problem, K or 6, generator)
        problem.check_point(start)
        assert start[1].shape[0] == (K or 6)
        assert problem.counts.passes <= 300
        objective[name] = problem.objective(start)
    slack = 1 + 1e-9
    assert objective["best"] <= min(objective["svd"], objective["trace"]) * slack
    assert objective["trace"] <= objective["zero"] * slack


@each_init
def test_features_that_say_nothing_leave_zero_weights(init):
    for features in (torch.zeros_like(X), torch.ones_like(X)):
        for own in (None, 0.01):
            result = solved(features, init=init, own_strength=own, max_passes=300)
            # centred, constant features leave rounding errors
            assert float(result.coef.abs().max()) < 1e-12
            assert result.status in (pm.Status.CONVERGED, pm.Status.COLLAPSED)


def test_by_default_own_parts_start_from_the_best_and_others_from_single_tasks():
    for own, init in ((None, "svd"), (0.01, "best")):
        options = {"groups": ALL, "own_strength": own, "max_passes": 40, **STRENGTHS}
        chosen = pm.LatentMTL(**options).solve(X, Y)
        assert chosen.coef.equal(pm.LatentMTL(**options, init=init).solve(X, Y).coef)


def test_a_trace_start_has_few_latents_where_tasks_share():
    generator = torch.Generator().manual_seed(3)
    normal = lambda *shape: torch.randn(shape, generator=generator, dtype=torch.float64)  # noqa: E731
    X = normal(200, 30)
    labels = torch.sign(X @ normal(30, 2) @ normal(2, 10) + normal(200, 10))
    model = pm.LatentMTL(pm.Groups.single(10), **STRENGTHS)
    problem = model.problem(X, labels).in_units()
    L, S, *_ = starts.trace_start(problem, 10, torch.Generator())
    assert 1 <= int(((L != 0).any(0) & (S != 0).any(1)).sum()) <= 4
    found = solved(X, labels, groups=pm.Groups.single(10), init="trace", max_passes=200)
    single = solved(X, labels, groups=pm.Groups.single(10), init="svd", max_passes=200)
    assert found.certificate.objective <= single.certificate.objective * (1 + 1e-2)


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_units_of_the_features_do_not_matter(scale):
    one = solved(own_strength=0.01, tol=1e-7)
    other = solved(
        scale * X,
        own_strength=0.01 * scale**2,
        tol=1e-7,
        group_strength=STRENGTHS["group_strength"],
        l1_strength=STRENGTHS["l1_strength"] * scale,
        frobenius_strength=STRENGTHS["frobenius_strength"] * scale**2,
    )
    assert other.certificate.objective == pytest.approx(one.certificate.objective, rel=1e-6)
    torch.testing.assert_close(scale * other.coef, one.coef, rtol=1e-3, atol=1e-3)


def test_far_features_are_centred_for_own_parts_too():
    one = solved(own_strength=0.01, tol=1e-7)
    other = solved(X + 50, own_strength=0.01, tol=1e-7)
    assert other.certificate.objective == pytest.approx(one.certificate.objective, rel=1e-6)
    torch.testing.assert_close(other.coef, one.coef, rtol=1e-3, atol=1e-3)


def test_features_by_task():
    stacked = solved([X] * 6, [Y[:, m] for m in range(6)], own_strength=0.01)
    shared = solved(own_strength=0.01)
    assert stacked.certificate.objective == pytest.approx(shared.certificate.objective, rel=1e-5)


def test_warm_starts_and_given_starts_bring_own_parts():
    best = solved(own_strength=0.01)
    model = pm.LatentMTL(ALL, own_strength=0.01, max_passes=5, **STRENGTHS)
    again = model.solve(X, Y, warm_start=best)
    assert again.certificate.objective <= best.certificate.objective * (1 + 1e-12)
    given = (best.L, best.S, best.intercept, best.own)
    same = pm.LatentMTL(ALL, own_strength=0.01, max_passes=5, init=given, **STRENGTHS).solve(X, Y)
    assert same.certificate.objective <= best.certificate.objective * (1 + 1e-12)
    with pytest.raises(ValueError, match="give own_strength"):
        pm.LatentMTL(ALL, init=given, **STRENGTHS).solve(X, Y)
    without = pm.LatentMTL(ALL, own_strength=0.01, max_passes=5, init=given[:3], **STRENGTHS)
    assert without.solve(X, Y).own is not None
    no_intercept = (best.L, best.S, None, best.own)
    plain = pm.LatentMTL(
        ALL, own_strength=0.01, fit_intercept=False, init=no_intercept, **STRENGTHS
    )
    assert not plain.solve(X, Y).intercept.any()


def test_a_resumed_solve_takes_the_same_path():
    # a start that takes as many passes whatever the budget
    options = {"own_strength": 0.01, "init": "svd", "tol": 0, **STRENGTHS}
    model = pm.LatentMTL(ALL, max_passes=90, **options)
    half = pm.LatentMTL(ALL, max_passes=60, **options).solve(X, Y)
    saved = type(half.state).from_state_dict(half.state.state_dict())
    resumed = model.solve(X, Y, state=saved)
    whole = model.solve(X, Y)
    assert resumed.own.equal(whole.own)
    assert resumed.L.equal(whole.L)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"own_strength": 0.0}, "own_strength: got 0"),
        ({"own_strength": -1.0}, "own_strength: got -1"),
        ({"own_strength": math.inf}, "own_strength: got inf"),
        ({"own_strength": math.nan}, "own_strength: got nan"),
        ({"own_strength": 0.1, "algorithm": "paper"}, "no own parts"),
        ({"init": "nonsense"}, "'auto', 'best', 'trace', 'svd', 'zero', 'paper'"),
        ({"init": (np.zeros((9, 2)), None)}, "init: give"),
    ],
)
def test_bad_options_say_what_to_do(options, match):
    with pytest.raises(ValueError, match=match):
        pm.LatentMTL(ALL, **STRENGTHS, **options).solve(X, Y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_features(dtype):
    found = solved(X.to(dtype), own_strength=0.01, tol=1e-3)
    wide = solved(X.to(dtype).to(torch.float64), own_strength=0.01, tol=1e-5)
    assert found.own.dtype == torch.float32
    assert found.certificate.objective == pytest.approx(wide.certificate.objective, rel=1e-3)


def test_disjoint_groups_too():
    found = solved(Y=Y[:, :4], groups=PAIRS, own_strength=0.01)
    assert found.status is pm.Status.CONVERGED


def test_latents_whose_products_are_zero_share_nothing_and_own_nothing():
    found = solved(own_strength=0.1, n_latents=1, tol=1e-1)
    L, S = torch.zeros_like(found.L), torch.zeros_like(found.S)
    L[:1], S[:, :1] = 1e-200, 1e-200  # live, and their product underflows
    none = dataclasses.replace(found, L=L, S=S, own=torch.zeros_like(found.own))
    assert none.live_latents == 1
    assert none.own_share is None
