"""Traps seen in other libraries, one named test each (beside those of the registered suites)."""

import pytest
import torch
from solver_cases import CHAIN, convex, data
from strategies import classification

import proxmtl as pm
from proxmtl.solvers import ConstantStep, FunctionRestart, GradientRestart, NoRestart


def quadratic(*curvatures):
    """A separable strictly convex quadratic: each sample is seen with both labels."""
    X = torch.diag(torch.tensor(curvatures, dtype=torch.float64).sqrt())
    X = torch.cat([X, X])
    n = len(curvatures)
    Y = torch.cat([torch.ones(n, 1), -torch.ones(n, 1)]).double()
    weight = torch.cat([3 * torch.ones(n), torch.ones(n)]).double()
    targets = pm.Targets.from_labels(Y, sample_weight=weight)
    solution = 0.5 / X[:n].diagonal()[:, None]  # 3 (1 - z) = 1 + z
    return pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X), targets, pm.SquaredFrobenius(0.0)
    ), solution


def test_stop_rule_reads_the_returned_point_not_the_extrapolated_one():
    problem = convex("groups")
    solver = pm.FISTA(restart=NoRestart())
    result = pm.minimize(problem, solver, stop=pm.Gap(1e-3, every=1) | pm.MaxIterations(1000))
    assert problem.certificate(result.solution).gap <= 1e-3
    assert result.history[-1]["Gap"] == problem.certificate(result.solution).gap
    assert result.history[-1]["objective"] == pytest.approx(
        float(problem.objective(result.solution)), rel=1e-12
    )
    state = result.state
    assert torch.equal(result.solution, state.x)
    assert not torch.equal(state.x, state.previous)  # there was an extrapolated point to err at


@pytest.mark.parametrize("restart", [NoRestart(), GradientRestart()])
def test_momentum_keeps_the_accelerated_rate(restart):
    problem, solution = quadratic(1.0, 1e-4)
    best = float(problem.objective(solution))
    lipschitz, distance = problem.lipschitz, float(solution.square().sum())
    excess = []
    pm.minimize(
        problem,
        pm.FISTA(ConstantStep(), restart),
        stop=pm.MaxIterations(3000),
        callback=lambda p: excess.append(p.objective - best),
    )
    if isinstance(restart, NoRestart):
        for k, e in enumerate(excess, start=1):
            assert e <= 2 * lipschitz * distance / (k + 1) ** 2 * (1 + 1e-9)
        assert excess[-1] < 1.5e-4  # without momentum 0.27 is left
    else:
        assert excess[-1] < 1e-9


def test_backtracking_survives_cancellation_in_float32():
    # uncentred features: scores of order one from products of order 1e4
    generator = torch.Generator().manual_seed(0)
    X = (torch.randn(80, 60, generator=generator) + 300).float()
    Y = torch.where(torch.randn(80, 2, generator=generator) > 0, 1.0, -1.0)
    problem = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X), pm.Targets.from_labels(Y), pm.L1(20.0)
    )
    result = pm.minimize(problem, pm.FISTA(), stop=pm.MaxIterations(1500))
    assert result.state.step >= 0.4 / problem.lipschitz
    assert result.passes <= 1.5 * result.iterations
    objectives = [record["objective"] for record in result.history]
    assert objectives[-1] <= min(objectives) * (1 + 1e-4)


def test_steps_grow_again_after_a_steep_region():
    problem = convex("l1")
    tiny = pm.FISTA.__dataclass_fields__["step_rule"].default_factory()
    solver = pm.FISTA(type(tiny)(first=1e-9 / problem.lipschitz))
    result = pm.minimize(problem, solver, stop=pm.MaxIterations(400))
    assert result.state.step > 0.5 / problem.lipschitz


@pytest.mark.parametrize("kind", [pm.GroupL2, pm.OverlappingGroupL2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_group_prox_of_a_zero_block_of_zero_weight_is_zero(kind, dtype):
    r = kind(pm.Groups.from_lists([[0, 1], [2]], weights=[0.0, 1.0]), 1.0)
    x, value = r.prox(torch.zeros(2, 3, dtype=dtype), 0.0)
    assert torch.equal(x, torch.zeros(2, 3, dtype=dtype))
    assert float(value) == 0
    v = torch.tensor([[3.0, 4.0, 0.0]], dtype=dtype)
    assert torch.equal(r.prox(v, 1.0)[0], v)
    assert bool(torch.isfinite(r.kkt_residual(torch.zeros(1, 3, dtype=dtype), v)).all())


def test_derivative_of_a_norm_at_zero_is_not_nan():
    for r in (
        pm.GroupL2(pm.Groups.single(3), 1.0),
        pm.OverlappingGroupL2(pm.Groups.single(3), 1.0),
    ):
        W = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
        r.value(W).backward()
        assert torch.equal(W.grad, torch.zeros(2, 3, dtype=torch.float64))


def test_critical_strength_uses_the_loss_at_hand():
    # with weights, missing labels and an intercept the squared loss's formula is wrong
    problem = convex("l1", intercept=True)
    X, Y, _ = data()
    squared = float((X.T @ torch.nan_to_num(Y)).abs().max())
    critical = problem.critical_strength()
    assert abs(critical - squared) > 0.1 * squared
    above = pm.Problem(problem.loss, problem.design, problem.targets, pm.L1(critical * 1.0001))
    result = pm.minimize(above, stop=pm.Gap(1e-10) | pm.MaxIterations(5000))
    assert not bool(result.solution[:-1].any())


@pytest.mark.parametrize("restart", [GradientRestart(), FunctionRestart()])
def test_restart_does_not_depend_on_the_level_of_the_objective(restart):
    # samples without features add a constant to the loss: the path must stay the same
    X, Y = classification(30, 5, 2, seed=6)
    more_X = torch.cat([X, torch.zeros(500, 5, dtype=torch.float64)])
    more_Y = torch.cat([Y, torch.ones(500, 2, dtype=torch.float64)])
    ends = []
    for features, labels in ((X, Y), (more_X, more_Y)):
        targets = pm.Targets.from_labels(labels)
        problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(features), targets, pm.L1(0.1))
        solver = pm.FISTA(ConstantStep(1e-2), restart)
        ends.append(pm.minimize(problem, solver, stop=pm.MaxIterations(60)))
    assert ends[0].state.restarts == ends[1].state.restarts > 0
    torch.testing.assert_close(ends[0].solution, ends[1].solution, rtol=1e-9, atol=1e-12)


def test_smoothing_says_the_error_of_the_unsmoothed_objective():
    problem = convex("overlap")
    result = pm.minimize(problem, pm.SPGD(5.0), stop=pm.MaxIterations(300))
    certificate = result.certificate
    assert certificate.smoothed_objective < certificate.objective - 1.0
    assert certificate.smoothing_error == 5.0 * 6 * len(CHAIN) / 2
    exact = pm.minimize(problem, stop=pm.Gap(1e-8) | pm.MaxIterations(5000)).certificate
    assert certificate.gap >= certificate.objective - exact.objective


def test_a_false_gap_from_a_forgotten_intercept_constraint_is_not_given():
    # few positives: at the solution for a wrong intercept the naive dual point looks optimal
    X, Y = classification(40, 5, 1, seed=2)
    Y[8:] = -1
    targets = pm.Targets.from_labels(Y)
    naive = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), targets, pm.SquaredFrobenius(0.5))
    stuck = pm.minimize(naive, stop=pm.Gap(1e-12) | pm.MaxIterations(5000))
    assert stuck.certificate.gap <= 1e-12
    full = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), targets, pm.SquaredFrobenius(0.5)
    )
    point = torch.cat([stuck.solution, torch.zeros(1, 1, dtype=torch.float64)])
    best = pm.minimize(full, stop=pm.Gap(1e-10) | pm.MaxIterations(20_000)).certificate
    certificate = full.certificate(point)
    assert certificate.objective - best.objective > 0.1
    assert certificate.gap >= certificate.objective - best.objective


def test_a_small_step_is_not_taken_for_convergence():
    from proxmtl import ObjectiveChange, RelativeGap, Status

    problem = convex("groups")
    crawl = pm.FISTA(ConstantStep(1e-9 / problem.lipschitz), NoRestart())
    result = pm.minimize(problem, crawl, stop=ObjectiveChange(1e-3) | pm.MaxIterations(100))
    assert result.status is Status.BUDGET
    assert result.certificate.relative_gap > 0.1
    result = pm.minimize(problem, crawl, stop=RelativeGap(1e-3) | pm.MaxIterations(100))
    assert result.status is Status.BUDGET


def test_uninitialised_memory_of_the_library_is_poisoned_here():
    inside = {"__name__": "proxmtl.fake", "torch": torch}
    exec("a = torch.empty(3); b = torch.empty_like(a); c = a.new_empty(2)", inside)
    exec("d = torch.empty(2, dtype=torch.int64)", inside)
    assert all(bool(torch.isnan(inside[name]).all()) for name in "abc")
    assert inside["d"].dtype == torch.int64
