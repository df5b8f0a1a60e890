"""One suite over every registered solver: the contract of init, step, state and result."""

import io
import json
import math
from dataclasses import FrozenInstanceError, fields

import pytest
import torch
from solver_cases import SOLVER_FACTORIES, convex

import proxmtl as pm
from proxmtl.solvers import SOLVERS, run

OURS = {n: c for n, c in SOLVERS.items() if c.__module__.startswith("proxmtl")}
each = pytest.mark.parametrize("name", sorted(OURS))


def make(name, dtype=torch.float64):
    return SOLVER_FACTORIES[name](dtype)


def as_tuple(point):
    return point if isinstance(point, tuple) else (point,)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(as_tuple(a), as_tuple(b), strict=True))


def objective(problem, point):
    return float(problem.objective(point))


def test_every_registered_class_has_a_factory():
    assert set(OURS) == {type(case()[0]).__name__ for case in SOLVER_FACTORIES.values()}


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reduces_the_objective_keeps_the_start_and_the_dtype(name, dtype):
    solver, problem, start = make(name, dtype)
    before = [t.clone() for t in as_tuple(start)]
    result = run(problem, solver, start, pm.MaxIterations(20))
    assert same(start, tuple(before) if isinstance(start, tuple) else before[0])
    assert all(t.dtype == dtype for t in as_tuple(result.solution))
    assert objective(problem, result.solution) < 0.9 * objective(problem, start)
    assert result.certificate.solved_in == str(dtype).removeprefix("torch.")
    assert result.certificate.precision == "float64"


@each
def test_certificate_is_measured_at_the_returned_point(name):
    solver, problem, start = make(name)
    result = run(problem, solver, start, pm.MaxIterations(17))
    again = problem.certificate(result.solution)
    for field in ("objective", "kkt", "gap", "scale", "blocks", "block_gaps"):
        assert getattr(result.certificate, field) == getattr(again, field), field
    assert result.certificate.objective == pytest.approx(
        objective(problem, result.solution), rel=1e-12
    )
    json.dumps(result.certificate.to_dict(), allow_nan=False)


@each
def test_stop_figure_is_that_of_the_returned_point(name):
    solver, problem, start = make(name)
    result = run(problem, solver, start, pm.KKT(1.0, every=1) | pm.MaxIterations(500))
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.kkt <= 1.0
    assert result.history[-1]["KKT"] == result.certificate.kkt
    assert result.reason.startswith("KKT ")


@each
def test_budget_is_reported_with_its_reason(name):
    solver, problem, start = make(name)
    result = run(problem, solver, start, pm.MaxIterations(6))
    assert (result.status, result.iterations) == (pm.Status.BUDGET, 6)
    assert result.reason == "6 iterations"
    assert not result.status.ok
    assert [record["iteration"] for record in result.history] == [0, 1, 2, 3, 4, 5, 6]
    # some solvers solve for the intercept, or compare with zero, before their first iteration
    assert result.history[0]["objective"] <= objective(problem, start) * (1 + 1e-12)
    passes = [record["passes"] for record in result.history]
    assert passes == sorted(passes)
    assert passes[1] > 0
    assert result.passes == passes[-1] == result.state.passes


@each
def test_passes_and_seconds_end_a_run_too(name):
    solver, problem, start = make(name)
    result = run(problem, solver, start, pm.MaxPasses(12))
    assert result.reason == "12 passes"
    assert 6 < result.passes <= 12  # an iteration that does not fit in is not made
    assert run(problem, solver, start, pm.MaxSeconds(1e-9)).reason == "1e-09 s"
    assert run(problem, solver, start, pm.MaxIterations(0)).iterations == 0


@each
def test_callback_interrupts_and_the_state_resumes(name):
    solver, problem, start = make(name)
    seen = []

    def callback(progress):
        seen.append(progress.iteration)
        return progress.iteration == 4

    result = run(problem, solver, start, pm.MaxIterations(9), callback=callback)
    assert result.status is pm.Status.INTERRUPTED
    assert seen == [1, 2, 3, 4]
    rest = run(problem, solver, start, pm.MaxIterations(9), state=result.state)
    assert rest.iterations == 9


@each
def test_state_saved_loaded_and_resumed_takes_the_same_path_bitwise(name):
    solver, problem, start = make(name)
    through = run(problem, solver, start, pm.MaxIterations(23))
    solver, problem, start = make(name)
    half = run(problem, solver, start, pm.MaxIterations(11))
    file = io.BytesIO()
    torch.save(half.state.state_dict(), file)
    file.seek(0)
    solver, problem, start = make(name)
    state = solver.state_type.from_state_dict(torch.load(file, weights_only=True))
    rest = run(problem, solver, start, pm.MaxIterations(23), state=state)
    assert same(rest.solution, through.solution)
    assert rest.iterations == through.iterations
    assert rest.certificate == through.certificate
    # batches and working sets count as fractions of a pass, whose sums start anew
    assert rest.passes == pytest.approx(through.passes, rel=1e-12)
    tail = [record["objective"] for record in through.history[12:]]
    assert [record["objective"] for record in rest.history] == tail


@each
def test_resuming_twice_from_one_state_takes_one_path(name):
    solver, problem, start = make(name)
    state = run(problem, solver, start, pm.MaxIterations(8)).state
    fields = state.state_dict()
    ends = [
        run(problem, solver, start, pm.MaxIterations(14), state=s).solution
        for s in (state, state, *[type(state).from_state_dict(fields) for _ in range(2)])
    ]
    assert all(same(ends[0], end) for end in ends[1:])


@each
def test_runs_are_reproducible(name):
    ends = []
    for _ in range(2):
        solver, problem, start = make(name)
        ends.append(run(problem, solver, start, pm.MaxIterations(12)).solution)
    assert same(*ends)


@each
def test_a_foreign_state_raises(name):
    solver, problem, start = make(name)
    other = "PALM" if name != "PALM" else "PANOC"
    foreign = run(*reversed(make(other)[:2]), make(other)[2], pm.MaxIterations(1)).state
    with pytest.raises(ValueError, match=r"state: a .*State cannot be resumed by"):
        run(problem, solver, start, pm.MaxIterations(2), state=foreign)
    state = run(problem, solver, start, pm.MaxIterations(1)).state
    fields = state.state_dict()
    fields.pop("objective")
    with pytest.raises(ValueError, match=r"state: .* has fields"):
        type(state).from_state_dict(fields)


@each
def test_a_start_with_nan_raises_before_work(name):
    solver, problem, start = make(name)
    first = as_tuple(start)[0].clone()
    first[0, 0] = math.nan
    bad = first if not isinstance(start, tuple) else (first, *start[1:])
    with pytest.raises(ValueError, match="NaN or infinite"):
        run(problem, solver, bad, pm.MaxIterations(2))
    assert problem.counts.passes == 0


@each
def test_solvers_are_frozen_values(name):
    solver, *_ = make(name)
    assert solver == type(solver)(**{f.name: getattr(solver, f.name) for f in fields(solver)})
    with pytest.raises(AttributeError):
        solver.anything = 1


def test_a_state_of_another_problem_raises():
    state = pm.minimize(convex("l1"), stop=pm.MaxIterations(1)).state
    with pytest.raises(ValueError, match="shape"):
        pm.minimize(convex("l1", intercept=True), state=state)


def test_default_stop_certifies_or_says_that_it_does_not():
    result = pm.minimize(convex("groups"))
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.relative_gap <= 1e-6
    assert "RelativeGap" in result.reason
    few = pm.minimize(convex("groups"), stop=pm.RelativeGap(1e-6) | pm.MaxIterations(3))
    assert few.status is pm.Status.BUDGET


def test_an_optimal_start_ends_at_once():
    best = pm.minimize(
        convex("groups"), stop=pm.RelativeKKT(1e-12) | pm.MaxIterations(5000)
    ).solution
    result = pm.minimize(
        convex("groups"), x0=best, stop=pm.RelativeGap(1e-9) | pm.MaxIterations(50)
    )
    assert (result.status, result.iterations) == (pm.Status.CONVERGED, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_fixed_point_stalls_and_is_measured_whatever_the_period_of_the_rule(dtype):
    problem = convex("l1", dtype=dtype)
    zero = pm.Problem(problem.loss, problem.design, problem.targets, pm.L1(1e4))
    assert pm.minimize(zero, stop=pm.MaxIterations(50)).status is pm.Status.STALLED
    assert pm.minimize(zero, stop=pm.MaxIterations(50)).iterations == 1
    start = torch.full_like(zero.zeros(), 1e-3)
    result = pm.minimize(
        zero, x0=start, stop=pm.RelativeGap(1e-9, every=1000) | pm.MaxIterations(50)
    )
    assert result.status is pm.Status.CONVERGED
    assert result.iterations < 10


@each
def test_the_solution_is_the_callers_own(name):
    solver, problem, start = make(name)
    result = run(problem, solver, start, pm.MaxIterations(4))
    fields = result.state.state_dict()
    for part in as_tuple(result.solution):
        part.fill_(7.0)
    again = type(result.state).from_state_dict(fields)
    ends = [
        run(problem, solver, start, pm.MaxIterations(6), state=state).solution
        for state in (result.state, again)
    ]
    assert same(*ends)


@each
def test_solvers_are_values(name):
    """One may be used for many problems at a time: a run leaves nothing in it."""
    solver, _, _ = make(name)
    for option in ("restart", "anything"):
        with pytest.raises(FrozenInstanceError):
            setattr(solver, option, None)
