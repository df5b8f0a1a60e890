"""Convex solvers against the optima of Clarabel and of LIBLINEAR, and their certificates."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from oracles import members_of, optimum, solve, squared_hinge
from solver_cases import PENALTIES, convex, data, factored, ragged
from strategies import classification

import proxmtl as pm
from proxmtl.regularizers import Nuclear, Sum

each_penalty = pytest.mark.parametrize("penalty", PENALTIES)
with_and_without = pytest.mark.parametrize("intercept", [False, True])
PRECISE = pm.RelativeGap(1e-9, every=50) | pm.MaxIterations(20_000)


def as_cvxpy(regularizers):
    """The sum of regularizers as a function of a cvxpy matrix."""

    def penalty(W):
        total = 0
        for r in regularizers:
            if isinstance(r, pm.L1):
                total += r.strength * cp.sum(cp.abs(W))
            elif isinstance(r, pm.SquaredFrobenius):
                total += r.strength * cp.sum_squares(W)
            else:
                for members, w in zip(members_of(r.groups), r.groups.weights.tolist(), strict=True):
                    total += r.strength * w * cp.sum(cp.norm(W[:, members], 2, axis=1))
        return total

    return penalty


_OPTIMA = {}


def exact(problem, *, key):
    """Optimum of a problem on a shared design, computed once a run."""
    if key not in _OPTIMA:
        t, design = problem.targets, problem.design
        _OPTIMA[key] = optimum(
            design.X,
            t.labels,
            t.weights,
            as_cvxpy(problem.regularizers),
            intercept=design.intercept,
        )[0]
    return _OPTIMA[key]


@each_penalty
@with_and_without
def test_fista_reaches_the_optimum_of_clarabel(penalty, intercept):
    problem = convex(penalty, intercept=intercept)
    best = exact(problem, key=(penalty, intercept))
    result = pm.minimize(problem, stop=PRECISE)
    assert result.status is pm.Status.CONVERGED
    found = result.certificate.objective
    assert found == pytest.approx(best, rel=1e-8)
    assert found - best <= result.certificate.gap + 1e-9 * best
    assert result.certificate.relative_kkt <= 1e-3


@each_penalty
@with_and_without
def test_no_gap_on_the_way_is_below_the_true_suboptimality(penalty, intercept):
    problem = convex(penalty, intercept=intercept)
    best = exact(problem, key=(penalty, intercept))
    start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(3)).double()
    seen = []
    pm.minimize(
        problem,
        pm.FISTA(),
        x0=start,
        stop=pm.MaxIterations(60),
        callback=lambda progress: seen.append(progress.certificate),
    )
    assert len(seen) == 60
    assert all(c.gap >= c.objective - best - 1e-7 * best for c in seen)
    assert seen[-1].gap < 1e-2 * seen[0].gap  # and it is no idle bound


@pytest.mark.parametrize("coarse", ["overlapping groups", "sum", "sum, one sweep"])
def test_an_inexact_prox_makes_the_certificate_wider_and_never_wrong(coarse):
    groups = pm.Groups.from_lists([[0, 1, 2], [2, 3], [1, 3]])
    terms = (pm.L1(1.5), Nuclear(3.0))
    tight, loose = {
        "overlapping groups": (
            pm.OverlappingGroupL2(groups, 2.0),
            pm.OverlappingGroupL2(groups, 2.0, gap=1e-2, max_sweeps=1),
        ),
        "sum": (Sum(terms), Sum(terms, gap=1e-2)),
        "sum, one sweep": (Sum(terms), Sum(terms, gap=1e-2, max_sweeps=1)),
    }[coarse]
    X, Y = classification(40, 6, 4, seed=4)
    made = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y))
    ridge = pm.SquaredFrobenius(1.0)
    result = pm.minimize(
        made.with_regularizers([tight, ridge]), stop=pm.RelativeGap(1e-12) | pm.MaxIterations(3000)
    )
    best = result.certificate.objective
    assert result.status.ok
    inexact = made.with_regularizers([loose, ridge])
    for away in (1.0, 0.1, 0.03, 0.01, 3e-3, 1e-3):
        on_the_way = inexact.certificate((1 - away) * result.solution)
        assert on_the_way.gap >= on_the_way.objective - best
        assert on_the_way.gap <= 1e-1 * best or away == 1.0  # and it is no idle bound


@each_penalty
@with_and_without
def test_float32_runs_are_certified_in_float64(penalty, intercept):
    problem = convex(penalty, intercept=intercept, dtype=torch.float32)
    best = exact(convex(penalty, intercept=intercept), key=(penalty, intercept))
    result = pm.minimize(problem, stop=pm.RelativeGap(1e-5) | pm.MaxIterations(3000))
    assert result.status is pm.Status.CONVERGED
    assert result.solution.dtype == torch.float32
    assert result.certificate.solved_in == "float32"
    assert result.certificate.objective == pytest.approx(best, rel=3e-5)
    assert result.certificate.gap >= result.certificate.objective - best - 1e-5 * best


@pytest.mark.parametrize(
    ("penalty", "intercept"), [("groups", True), ("overlap", False), ("groups-ridge", False)]
)
def test_smoothed_continuation_agrees_with_fista_within_the_certified_gaps(penalty, intercept):
    problem = convex(penalty, intercept=intercept)
    best = exact(problem, key=(penalty, intercept))
    tight = pm.minimize(problem, stop=PRECISE).certificate
    result = pm.minimize(
        problem, pm.SPGD(), stop=pm.RelativeGap(1e-2, every=20) | pm.MaxIterations(2000)
    )
    assert result.status is pm.Status.CONVERGED
    c = result.certificate
    assert abs(c.objective - tight.objective) <= c.gap + tight.gap
    assert c.gap >= c.objective - best - 1e-7 * best


@pytest.mark.parametrize("smoothing", [pm.SPGD(0.01), pm.SPGD("accuracy", accuracy=0.5)])
def test_fixed_smoothing_tells_what_it_minimised_and_its_error(smoothing):
    problem = convex("overlap")
    best = exact(problem, key=("overlap", False))
    result = pm.minimize(problem, smoothing, stop=pm.MaxIterations(600))
    c = result.certificate
    blocks = 6 * 3  # rows of W times groups
    nu = smoothing.smoothness if smoothing.accuracy is None else smoothing.accuracy / blocks
    assert c.smoothing_error == pytest.approx(nu * blocks / 2)
    assert 0 <= c.objective - c.smoothed_objective <= c.smoothing_error
    assert c.objective == pytest.approx(float(problem.objective(result.solution)), rel=1e-12)
    assert c.objective - best <= c.smoothing_error + 1e-3
    assert c.gap >= c.objective - best - 1e-9


@pytest.mark.parametrize(
    ("features", "strength"), [(1.0, 0.3), (0.0, 0.3), (1e-160, 0.3), (1.0, 0.0)]
)
def test_the_first_smoothness_has_the_lowest_bound_on_the_iterations(features, strength):
    """The bound of Nesterov's scheme, and no smoothing whose error is all that is sought."""
    problem = convex("overlap")
    (term,) = problem.regularizers
    design = pm.SharedDesign(features * problem.design.X)
    penalty = [pm.OverlappingGroupL2(term.groups, strength), pm.SquaredFrobenius(0.1)]
    problem = pm.Problem(problem.loss, design, problem.targets, penalty)
    x0 = torch.ones(6, 4, dtype=torch.float64)
    state = pm.SPGD().init(problem, x0)
    half = 6 * len(term.groups) / 2
    norm = sum(each.squared_operator_norm for each in problem.smoothings(1.0))

    def bound(nu):
        return (problem.lipschitz + norm / nu) / (state.sought - nu * half)

    assert 0 < state.smoothness * half < state.sought
    if strength:
        others = [bound(factor * state.smoothness) for factor in (0.9, 1.1)]
        assert bound(state.smoothness) < min(others)


@pytest.mark.parametrize("penalty", ["l1", "groups", "ridge"])
@with_and_without
def test_ragged_tasks_reach_the_optimum(penalty, intercept):
    problem = ragged(penalty, intercept=intercept)
    result = pm.minimize(problem, stop=PRECISE)
    M = problem.targets.n_tasks
    W, b = cp.Variable((6, M)), cp.Variable(M) if intercept else np.zeros(M)
    total = as_cvxpy(problem.regularizers)(W)
    labels = problem.targets.labels.split(problem.design.sizes)
    for m, (X, y) in enumerate(zip(problem.design.X, labels, strict=True)):
        total += squared_hinge(X.numpy() @ W[:, m] + b[m], y.numpy(), np.ones(len(y)))
    best = solve(cp.Problem(cp.Minimize(total)))
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.objective == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("fixed", ["L", "S"])
@with_and_without
def test_blocks_of_the_joint_problem_reach_the_optimum(fixed, intercept):
    problem = factored(fixed, intercept=intercept)
    result = pm.minimize(problem, stop=PRECISE)
    t, base = problem.targets, problem.design.base
    P = cp.Variable((6, 3) if fixed == "S" else (3, 4))
    b = np.zeros((1, 4))
    if intercept:
        b = cp.Variable((1, 4)) if fixed == "L" else problem.design.bias.numpy()[None]
    W = P @ problem.design.S.numpy() if fixed == "S" else problem.design.L.numpy() @ P
    scores = base.X.numpy() @ W + np.ones((len(base.X), 1)) @ b
    value = squared_hinge(scores, t.labels.numpy(), t.weights.numpy())
    best = solve(cp.Problem(cp.Minimize(value + as_cvxpy(problem.regularizers)(P))))
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.objective == pytest.approx(best, rel=1e-8)
    assert result.certificate.gap >= result.certificate.objective - best - 1e-9 * best


@pytest.mark.parametrize("terms", [[pm.L1(0.8)], [pm.GroupL2(pm.Groups.single(3), 1.0)]])
def test_gap_closes_where_a_part_of_the_scores_is_fixed(terms):
    # a norm alone: the dual point is scaled, and the scale must know of the fixed intercept
    problem = factored("S", intercept=True, penalty=terms)
    result = pm.minimize(problem, stop=PRECISE)
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.relative_gap <= 1e-9


@pytest.mark.parametrize("strength", [3.0])
@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_liblinear_finds_the_same_optimum(strength, penalty):
    from sklearn.svm import LinearSVC

    X, Y = classification(60, 8, 1, seed=4)
    regularizer = pm.L1(strength) if penalty == "l1" else pm.SquaredFrobenius(strength)
    problem = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y), regularizer
    )
    C = 1 / (2 * strength) if penalty == "l1" else 1 / (4 * strength)
    peer = LinearSVC(
        penalty=penalty,
        loss="squared_hinge",
        dual=False,
        C=C,
        fit_intercept=False,
        tol=1e-8,
        max_iter=200_000,
        random_state=0,
    ).fit(X.numpy(), Y[:, 0].numpy())
    theirs = torch.as_tensor(peer.coef_.T.copy())
    result = pm.minimize(problem, stop=PRECISE)
    ours = result.certificate.objective
    assert ours <= float(problem.objective(theirs)) * (1 + 1e-9)
    assert ours == pytest.approx(float(problem.objective(theirs)), rel=1e-6)
    torch.testing.assert_close(result.solution, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("penalty", ["l1", "groups"])
@with_and_without
def test_zero_is_the_solution_from_the_critical_strength_on(penalty, intercept):
    problem = convex(penalty, intercept=intercept)
    critical = problem.critical_strength()
    for factor, alive in ((1 + 2e-3, False), (1 - 1e-2, True)):
        regularizer = problem.regularizer.with_strength(critical * factor)
        scaled = pm.Problem(problem.loss, problem.design, problem.targets, regularizer)
        W, bias = scaled.design.split(pm.minimize(scaled, stop=PRECISE).solution)
        assert bool((W != 0).any()) == alive
        assert intercept == (bias is not None and float(bias.abs().max()) > 1e-3)


def test_zero_is_stationary_from_the_critical_strength_of_overlaps_on():
    problem = convex("overlap")
    critical = problem.critical_strength()
    for factor, stationary in ((1 + 1e-3, True), (1 - 1e-2, False)):
        regularizer = problem.regularizer.with_strength(critical * factor)
        scaled = pm.Problem(problem.loss, problem.design, problem.targets, regularizer)
        assert (scaled.certificate(scaled.zeros()).relative_kkt < 1e-5) == stationary


def test_critical_strength_with_an_intercept_is_not_the_naive_one():
    X, Y = classification(40, 5, 1, seed=2, shift=1.0)
    Y[8:] = -1  # few positives: the intercept alone explains much
    with_bias = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), pm.Targets.from_labels(Y), pm.L1(1)
    )
    without = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y), pm.L1(1))
    assert with_bias.critical_strength() < 0.8 * without.critical_strength()
    assert without.critical_strength() == pytest.approx(float((X.T @ Y).abs().max()))


def test_unpenalised_problems_have_no_gap_and_say_so():
    X, Y, weight = data()
    targets = pm.Targets.from_labels(Y, sample_weight=weight)
    problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), targets)
    assert not problem.has_gap
    result = pm.minimize(problem)
    assert result.status is pm.Status.CONVERGED
    assert "RelativeKKT" in result.reason
    assert result.certificate.gap is None
    with pytest.raises(ValueError, match="needs a figure that this problem does not have"):
        pm.minimize(problem, stop=pm.RelativeGap(1e-3))


def test_objective_of_a_zero_problem_by_hand():
    problem = convex("groups")
    certificate = problem.certificate(problem.zeros())
    assert certificate.objective == pytest.approx(float(problem.targets.weights.sum()) / 2)
    assert math.isfinite(certificate.gap)


def test_solution_does_not_depend_on_the_solver_or_its_parts():
    from proxmtl.solvers import Backtracking, ConstantStep, FunctionRestart, NoRestart

    problem = convex("groups-ridge", intercept=True)
    best = exact(problem, key=("groups-ridge", True))
    for solver in (
        pm.FISTA(ConstantStep()),
        pm.FISTA(ConstantStep(), NoRestart()),
        pm.FISTA(Backtracking(first=1e3), FunctionRestart()),
        pm.FISTA(Backtracking(first=1e-6, growth=1.5)),
    ):
        result = pm.minimize(problem, solver, stop=PRECISE)
        assert result.status is pm.Status.CONVERGED, solver
        assert result.certificate.objective == pytest.approx(best, rel=1e-8)
