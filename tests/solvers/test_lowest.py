"""No solve is worse than its start or than zero weights, and none passes its budget."""

import pytest
import torch
from solver_cases import SOLVER_FACTORIES, convex, ragged

import proxmtl as pm
from proxmtl.counts import OracleCounts, OutOfPassesError
from proxmtl.designs.products import TooManyProductsError, largest_curvature, trace
from proxmtl.solvers import ConstantStep, run

each = pytest.mark.parametrize("name", sorted(SOLVER_FACTORIES))
SLACK = 1 + 1e-12


def objective(problem, point):
    return float(problem.certificate(point).objective)


@each
@pytest.mark.parametrize("budget", [0.5, 1, 2, 3, 5, 10])
def test_every_solver_keeps_to_its_budget_and_to_what_it_was_given(name, budget):
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    result = run(problem, solver, start, pm.MaxPasses(budget))
    assert problem.counts.passes <= budget * SLACK
    assert result.passes == problem.counts.passes
    assert result.passes >= result.state.passes
    assert (result.status, result.reason) == (pm.Status.BUDGET, f"{budget:g} passes")
    found = result.certificate.objective
    assert found == pytest.approx(objective(problem, result.solution), rel=1e-12)
    assert found <= objective(problem, start) * SLACK
    assert found <= problem.null(result.solution)[1] * SLACK


@each
def test_a_good_start_stays_whatever_the_first_steps_do(name):
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    best = run(
        problem, solver, start, pm.RelativeKKT(1e-6, every=5) | pm.MaxIterations(400)
    ).solution
    for iterations in (0, 1, 3):
        again = run(problem, solver, best, pm.MaxIterations(iterations))
        assert again.certificate.objective <= objective(problem, best) * SLACK


@each
def test_an_iteration_that_does_not_fit_in_is_made_by_the_run_that_goes_on(name):
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    through = run(problem, solver, start, pm.MaxIterations(12))
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    part = run(problem, solver, start, pm.MaxPasses(through.passes / 2 + 0.3))
    rest = run(problem, solver, start, pm.MaxIterations(12), state=part.state)
    torch.testing.assert_close(rest.solution, through.solution, rtol=1e-12, atol=1e-12)
    assert rest.passes == pytest.approx(through.passes, rel=1e-12)


@pytest.mark.parametrize("batched", [False, True])
def test_the_lowest_point_of_a_wandering_run_is_returned(batched):
    problem = convex("groups", intercept=True)
    step = 1.999 / problem.lipschitz
    solver = pm.FISTA(ConstantStep(5 * step))

    def solved(iterations):
        stop = pm.MaxIterations(iterations)
        if batched:
            return pm.solve_batch([problem], solver, stop=stop)[0]
        return pm.minimize(problem, solver, stop=stop)

    result = solved(12)
    seen = [record["objective"] for record in result.history]
    start = objective(problem, problem.zeros())
    lowest = min(start, problem.null(problem.zeros())[1], *seen)
    assert seen[-1] > 1.01 * lowest  # it does wander
    assert result.certificate.objective == pytest.approx(lowest, rel=1e-12)
    assert result.returned != "the last iterate"
    assert result.certificate == problem.certificate(result.solution)


def test_diverging_runs_return_what_they_had():
    problem = convex("groups", intercept=True)
    result = pm.minimize(problem, pm.AdPGM(first=1e300), stop=pm.MaxIterations(100))
    assert result.status is pm.Status.DIVERGED
    assert result.certificate.objective <= problem.null(result.solution)[1] * SLACK
    assert bool(torch.isfinite(result.solution).all())


def test_zero_weights_are_returned_where_they_are_lower_and_keep_a_gap():
    problem = convex("l1", intercept=True)
    strong = problem.with_regularizers([pm.L1(0.999 * problem.critical_strength())])
    start = torch.ones_like(problem.zeros())
    result = pm.minimize(
        strong, pm.PGD(), start, pm.RelativeGap(0.5, every=1) | pm.MaxIterations(300)
    )
    point, claim = strong.null(start)
    assert result.status is pm.Status.CONVERGED
    assert result.returned == "W = 0"
    assert torch.equal(result.solution, point)
    assert result.certificate.objective == pytest.approx(claim, rel=1e-12)
    exact = pm.minimize(
        strong, stop=pm.RelativeGap(1e-12) | pm.MaxIterations(5000)
    ).certificate.objective
    assert result.certificate.gap >= result.certificate.objective - exact - 1e-12


def test_zero_weights_of_problems_with_a_part_held_fixed_are_not_guessed():
    from solver_cases import factored

    problem = factored("S", intercept=True)
    assert problem.null(problem.zeros()) is None
    assert factored("L").null(torch.zeros(3, 4)) is not None
    assert pm.minimize(problem, stop=pm.MaxIterations(2)).status is pm.Status.BUDGET


@pytest.mark.parametrize("make", [convex, ragged])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_objective_of_zero_weights_is_known_without_a_product(make, intercept):
    problem = make("l1", intercept=intercept)
    point, claim = problem.null(problem.zeros())
    assert problem.counts.passes == 0
    assert claim == pytest.approx(objective(problem, point), rel=1e-12)
    if intercept:
        nearby = [point.clone() for _ in range(2)]
        nearby[0][-1] += 1e-4
        nearby[1][-1] -= 1e-4
        assert all(objective(problem, other) > claim for other in nearby)


def test_a_batch_keeps_to_the_budget_of_each():
    problem = convex("groups", intercept=True)
    tight = pm.Problem(problem.loss, problem.design, problem.targets, [pm.L1(0.3)])
    for budget in (1, 2, 2.5, 4, 7.3):
        for result in pm.solve_batch([problem, tight], stop=pm.MaxPasses(budget)):
            assert result.passes <= budget * SLACK
            assert result.status is pm.Status.BUDGET
            assert result.reason == f"{budget:g} passes"


def test_counts_stop_before_the_product_and_limits_nest():
    counts = OracleCounts()
    with counts.limited(3):
        counts.charge(forward=2, adjoint=2)
        with counts.limited(0.5):
            assert counts.left == 0.5
            with pytest.raises(OutOfPassesError, match=r"2\.5 passes"):
                counts.charge(forward=2)
        assert counts.passes == 2
        with counts.limited(100):
            assert counts.left == 1
        counts.charge(forward=1, adjoint=1)
        with pytest.raises(OutOfPassesError):
            counts.charge(forward=1e-3)
    counts.charge(forward=10)
    assert counts.left == float("inf")


@pytest.mark.parametrize("shape", [(40, 6), (300, 200)])
def test_a_curvature_of_few_products_is_a_bound(shape):
    X = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = torch.linspace(0.5, 1.0, shape[0], dtype=torch.float64)
    exact, made = largest_curvature(X, weights)
    assert exact <= trace(X, weights) <= 1.01 * float(X.square().sum())
    with pytest.raises(TooManyProductsError) as caught:
        largest_curvature(X, weights, most=made - 1)
    assert caught.value.products <= made - 1


@pytest.mark.parametrize("solver", [pm.PDHG(), pm.FISTA(ConstantStep())])
def test_curvatures_are_part_of_a_budget(solver):
    generator = torch.Generator().manual_seed(0)
    problem = convex("l1")
    X = torch.randn(300, 200, generator=generator, dtype=torch.float64)
    labels = torch.sign(X[:, :1])
    targets = pm.Targets(labels, torch.ones_like(labels), 1)
    from proxmtl import SharedDesign

    wide = pm.Problem(problem.loss, SharedDesign(X), targets, [pm.L1(5.0)])
    result = pm.minimize(wide, solver, stop=pm.MaxPasses(12))
    assert result.passes <= 12
    assert result.iterations > 2
    assert result.certificate.objective < wide.null(wide.zeros())[1]
