"""BlockNewton: the optimum of the other solvers, for L1 penalties and norms of rows."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from solver_cases import M, convex, sparse
from strategies import classification

import proxmtl as pm
from proxmtl import kernels
from proxmtl.kernels import dispatch
from proxmtl.solvers import BlockNewton, run
from proxmtl.solvers.choice import choose
from proxmtl.solvers.row_models import row_models
from proxmtl.solvers.working_set_newton import FINER

LOSSES = [pm.SquaredHinge(), pm.Logistic(), pm.Squared()]
GROUPS = pm.Groups.from_lists([[0, 2], [3]], n_items=M, weights=[1.0, 0.5])
PENALTIES = {
    "l1": [pm.L1(1.5)],
    "weighted": [pm.WeightedL1(torch.linspace(0.2, 1.2, 12 * M).reshape(12, M), 1.5)],
    "elastic net": [pm.ElasticNet(2.0, 0.5)],
    "rows": [pm.L21(2.0)],
    "rows and ridge": [pm.L21(1.5), pm.SquaredFrobenius(0.3)],
    "groups, one task in none": [pm.GroupL2(GROUPS, 2.0), pm.SquaredFrobenius(0.1)],
}
RULE = pm.RelativeGap


def dense(penalty, loss=None, *, intercept=True, n=40, d=12, dtype=torch.float64, missing=0.2):
    """Features of several scales and means, one of them constant and two the same."""
    X, Y = classification(n, d, M, seed=3, missing=missing, shift=0.3, dtype=dtype)
    X = X * torch.logspace(0, 0.5, d, dtype=dtype) + torch.linspace(-1, 2, d, dtype=dtype)
    X[:, 1], X[:, 2] = 0.7, X[:, 0]
    weight = 0.5 + torch.rand(n, generator=torch.Generator().manual_seed(4)).to(dtype)
    if not missing:
        weight = torch.ones_like(weight)
    labels = pm.Targets.from_labels(Y, sample_weight=weight, like=X)
    design = pm.SharedDesign(X, intercept=intercept)
    return pm.Problem(loss or pm.SquaredHinge(), design, labels, penalty)


def solve(problem, tolerance=1e-9, *, most=200, **options):
    """Certified to a relative gap."""
    stop = RULE(tolerance) | pm.MaxIterations(most)
    result = pm.minimize(problem, BlockNewton(tolerance=tolerance, **options), stop=stop)
    assert result.status is pm.Status.CONVERGED, result
    return result


def like_fista(problem, result):
    """Whether objectives agree as far as both gaps and the rounding of sums tell."""
    other = pm.minimize(problem, pm.FISTA(), stop=RULE(1e-6) | pm.MaxIterations(20000))
    assert other.status is pm.Status.CONVERGED
    rounding = 1e-13 * abs(other.objective)
    return abs(other.objective - result.objective) <= other.gap + result.gap + rounding


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_finds_the_optimum(loss, penalty, intercept, missing):
    problem = dense(PENALTIES[penalty], loss, intercept=intercept, missing=missing)
    result = solve(problem)
    assert like_fista(problem, result)
    assert solve(problem, smallest=1).objective == pytest.approx(result.objective, rel=3e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_accelerated_steps_follow_where_gram_matrices_would_cost_more(loss):
    problem = dense(pm.L21(1.5), loss)
    whole = solve(problem, 1e-7)
    assert whole.state.inner is None
    least, most = 0.3 * whole.state.grams, 0.7 * whole.state.grams
    for allowance in (0.0, least, most):
        result = solve(dense(pm.L21(1.5), loss), 1e-7, most=3000, allowance=allowance)
        assert result.state.inner is not None
        assert result.state.grams <= allowance
        assert like_fista(problem, result)
        values = [record["objective"] for record in result.history]
        assert all(b <= a + 1e-13 * abs(a) for a, b in itertools.pairwise(values))


def test_accelerated_steps_follow_where_the_budget_has_no_room_for_gram_matrices():
    problem = dense(pm.L21(1.5), d=60)
    # one of the smallest set takes 50^2 / (2 60) passes of 4 tasks
    result = run(problem, BlockNewton(), problem.zeros(), pm.MaxPasses(8))
    assert result.state.inner is not None
    assert result.passes <= 8
    assert result.objective < 0.9 * problem.loss_at_zero


@pytest.mark.parametrize("penalty", ["l1", "rows"])
def test_a_state_is_saved_and_resumed(penalty):
    problem = dense(PENALTIES[penalty], d=40)
    solver = BlockNewton(smallest=3)
    part = run(problem, solver, problem.zeros(), pm.MaxIterations(2))
    state = BlockNewton.state_type.from_state_dict(part.state.state_dict())
    rest = run(problem, solver, problem.zeros(), pm.MaxIterations(4), state=state)
    whole = run(problem, solver, problem.zeros(), pm.MaxIterations(4))
    assert torch.equal(rest.solution, whole.solution)


def test_a_state_of_accelerated_steps_is_saved_and_resumed():
    problem, solver = dense(pm.L21(1.5)), BlockNewton(allowance=1.0)
    part = run(problem, solver, problem.zeros(), pm.MaxIterations(6))
    assert part.state.inner is not None
    state = BlockNewton.state_type.from_state_dict(part.state.state_dict())
    rest = run(problem, solver, problem.zeros(), pm.MaxIterations(12), state=state)
    whole = run(problem, solver, problem.zeros(), pm.MaxIterations(12))
    assert torch.equal(rest.solution, whole.solution)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_features_of_lower_precision_give_weights_in_float32(dtype):
    problem = dense(pm.L21(1.5), dtype=torch.float32)
    X = problem.design.X.to(dtype)
    problem = problem.on(pm.SharedDesign(X, intercept=True))
    result = solve(problem, 1e-6)
    assert result.solution.dtype == torch.float32
    assert result.state.x.dtype == torch.float64
    wide = pm.SharedDesign(X.double(), intercept=True)
    targets = dense(pm.L21(1.5)).targets
    exact = solve(pm.Problem(pm.SquaredHinge(), wide, targets, pm.L21(1.5)))
    assert result.objective == pytest.approx(exact.objective, rel=2e-6)


def test_the_squared_loss_needs_one_gram_matrix_for_all_tasks():
    problem = dense(pm.L21(1.5), pm.Squared(), missing=0.0, d=60, n=80)
    result = solve(problem, smallest=10)
    kept = problem.design.kept["rows"]
    assert kept.grams.shape == (1, len(kept.rows), len(kept.rows))
    X = problem.design.X[:, kept.rows]
    centred = X - X.mean(0)
    torch.testing.assert_close(kept.grams[0], centred.T @ centred, rtol=0, atol=1e-11)
    # what is kept changes neither the digits nor the count of a further run
    again = solve(problem, smallest=10)
    assert torch.equal(again.solution, result.solution)
    assert again.passes == pytest.approx(result.passes, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("intercept", [False, True])
def test_tasks_with_nothing_in_common_take_the_steps_of_each_alone(loss, intercept):
    problem = dense(pm.ElasticNet(1.5, 0.2), loss, d=40, intercept=intercept)
    solver, stop = BlockNewton(smallest=3), pm.MaxIterations(3)
    together = run(problem, solver, problem.zeros(), stop)
    assert together.state.rows.shape == (40, M)
    grams = passes = 0.0
    for m in range(M):
        labels = pm.Targets(problem.targets.labels[:, [m]], problem.targets.weights[:, [m]], 1)
        design = pm.SharedDesign(problem.design.X, intercept=intercept)
        alone = pm.Problem(loss, design, labels, problem.regularizer)
        one = run(alone, solver, alone.zeros(), stop)
        # products of one column and of four are summed in another order
        torch.testing.assert_close(
            together.state.x[:, [m]], one.state.x, rtol=1e-10, atol=1e-12 * one.state.x.abs().max()
        )
        assert torch.equal(together.state.rows[:, m], one.state.rows)
        grams += one.state.grams / M
        passes += one.passes / M
    assert together.state.grams == pytest.approx(grams)
    assert together.passes == pytest.approx(passes)


@pytest.mark.parametrize("first", ["l1", "rows", "groups, one task in none"])
@pytest.mark.parametrize("second", ["l1", "rows", "groups, one task in none"])
def test_a_state_is_resumed_on_another_penalty(first, second):
    made = {name: dense(PENALTIES[name], pm.Logistic(), d=40) for name in (first, second)}
    begun = run(made[first], BlockNewton(), made[first].zeros(), pm.MaxIterations(2))
    problem, stop = made[second], RULE(1e-9) | pm.MaxIterations(100)
    result = pm.minimize(problem, BlockNewton(), state=begun.state, stop=stop)
    assert result.status is pm.Status.CONVERGED
    assert like_fista(problem, result)


def test_a_task_that_is_done_takes_no_more_steps():
    problem = dense(pm.L1(1.5), pm.Logistic(), d=40)
    solver = BlockNewton(smallest=3)
    state = solver.init(problem, problem.zeros())
    residual = state.residual.clone()
    residual[1] = 0.0
    moved = solver.step(problem, replace(state, residual=residual))
    assert (moved.x != state.x).any(0).tolist() == [True, False, True, True]
    few = solver.step(problem, replace(state, residual=torch.zeros_like(residual)))
    assert torch.equal(few.x, state.x)
    assert few.stalled


@pytest.mark.parametrize("intercept", [False, True])
def test_models_are_the_hessian_with_the_best_intercepts(intercept):
    problem = dense(pm.L1(1.0), pm.Logistic(), intercept=intercept)
    x = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(1)).double()
    h = problem.data.curvature(problem.scores(x))
    rows = torch.tensor([0, 3, 4, 7])
    models = row_models(problem, rows, h)
    X = problem.design.X[:, rows]
    for m in range(M):
        wanted = X.T @ (h[:, m, None] * X)
        if intercept:
            crossed = X.T @ h[:, m]
            wanted = wanted - torch.outer(crossed, crossed) / h[:, m].sum()
        torch.testing.assert_close(models.grams[m], wanted, rtol=1e-12, atol=1e-12)
    assert row_models(problem, rows, h) is models
    other = row_models(problem, rows, 2 * h)
    torch.testing.assert_close(other.grams, 2 * models.grams)


def test_at_the_critical_strength_all_weights_are_zero():
    for intercept in (False, True):
        problem = dense(pm.L21(1.0), intercept=intercept)
        critical = problem.critical_strength()
        zero = solve(problem.with_regularizers(pm.L21(critical * (1 + 1e-9))))
        assert not zero.coef.any()
        some = solve(problem.with_regularizers(pm.L21(0.99 * critical)))
        assert 0 < int((some.coef != 0).any(1).sum()) < 3


def test_a_single_feature_a_constant_one_and_none_at_all():
    y = torch.where(torch.arange(12) % 3 > 0, 1.0, -1.0).double()[:, None]
    columns = torch.linspace(-1, 2, 12)[:, None], torch.full((12, 2), 0.7), torch.zeros(12, 3)
    for X in columns:
        for intercept in (False, True):
            design = pm.SharedDesign(X.double(), intercept=intercept)
            targets = pm.Targets.from_labels(y)
            problem = pm.Problem(pm.Logistic(), design, targets, pm.L21(0.5))
            result = solve(problem, 1e-8)
            assert like_fista(problem, result)
    assert not result.coef.any()


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_the_scale_of_the_features_does_not_matter(scale):
    plain = dense(pm.L21(1.5), intercept=False)
    scaled = pm.Problem(
        pm.SquaredHinge(),
        pm.SharedDesign(scale * plain.design.X),
        plain.targets,
        pm.L21(1.5 * scale),
    )
    wanted, found = solve(plain), solve(scaled)
    torch.testing.assert_close(scale * found.solution, wanted.solution, rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("size", [1.0, 20.0])
@pytest.mark.parametrize("penalty", ["l1", "rows"])
def test_the_objective_never_increases_wherever_it_starts(loss, size, penalty):
    """Far out, the logistic loss is nearly linear, and the Newton step of it far too long."""
    problem = dense(PENALTIES[penalty], loss)
    start = size * torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(2))
    stop = RULE(1e-9) | pm.MaxIterations(300)
    result = pm.minimize(problem, BlockNewton(), start.double(), stop)
    assert result.status is pm.Status.CONVERGED
    values = [float(problem.objective(start.double()))]
    values += [record["objective"] for record in result.history]
    # up to the rounding of their sums
    assert all(b <= a + 1e-13 * abs(a) for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("far", [-40.0, -720.0, -800.0])
@pytest.mark.parametrize("intercept", [False, True])
def test_where_a_step_fails_one_of_the_largest_curvature_follows(far, intercept):
    """The model has hardly a curvature there: its step is too long, infinite, or none at all."""
    y = -torch.ones(2001, 1, dtype=torch.float64)
    y[0] = 1.0
    design = pm.SharedDesign(torch.ones(2001, 1, dtype=torch.float64), intercept=intercept)
    problem = pm.Problem(pm.Logistic(), design, pm.Targets.from_labels(y), pm.L21(1e-3))
    start = torch.zeros_like(problem.zeros())
    start[-1] = far
    solver = BlockNewton()
    state = solver.init(problem, start)
    assert torch.equal(state.x, start)  # no worse than zero
    for _ in range(2):
        state = solver.step(problem, state)
    assert state.objective < 0.5 * solver.init(problem, start).objective
    stop = RULE(1e-9) | pm.MaxIterations(50)
    assert pm.minimize(problem, solver, start, stop).status is pm.Status.CONVERGED


def test_it_stalls_only_once_a_safe_step_fails_too():
    """Rounding ends the run at the optimum, in every task."""
    problem = dense(pm.L21(1.5), pm.Logistic())
    result = pm.minimize(problem, BlockNewton(), stop=pm.MaxIterations(500))
    assert result.status is pm.Status.STALLED
    # the rounding of sums over samples and tasks
    assert result.gap <= torch.finfo(torch.float64).eps * 40 * M * result.objective


@pytest.mark.parametrize("penalty", [pm.L1(1e4), pm.L21(1e4)])
def test_what_a_safe_step_does_not_move_has_stalled(penalty):
    problem = dense(penalty, intercept=False)  # zero is the optimum
    solver = BlockNewton()
    # as if rounding said so
    start = solver.init(problem, problem.zeros())
    open_ = {
        "residual": torch.ones(problem.data.n_tasks, dtype=torch.float64),
        "rows": torch.ones_like(start.rows),
    }
    state = replace(solver.init(problem, problem.zeros()), **open_)
    once = solver.step(problem, state)
    assert once.safe.all()
    assert not once.stalled
    twice = solver.step(problem, replace(once, **open_))
    assert twice.safe.all()
    assert twice.stalled


@pytest.mark.parametrize("penalty", ["l1", "rows"])
def test_no_run_takes_more_passes_than_it_may(penalty):
    made = lambda: dense(PENALTIES[penalty])  # noqa: E731
    whole = run(made(), BlockNewton(smallest=1), made().zeros(), RULE(1e-9))
    seen = set()
    for most in np.linspace(0.5, 1.5 * whole.passes, 12):
        problem = made()
        stop = RULE(1e-9) | pm.MaxPasses(most)
        result = run(problem, BlockNewton(smallest=1), problem.zeros(), stop)
        assert result.passes <= most + 1e-9
        assert problem.counts.passes <= most + 1e-9
        assert result.objective <= problem.loss_at_zero
        seen.add(result.status)
    assert seen == {pm.Status.BUDGET, pm.Status.CONVERGED}


def test_a_certificate_is_made_when_it_is_thought_to_suffice():
    problem = dense(pm.L21(2.0), n=200, d=60)
    stop = RULE(1e-6, every=1000)
    result = pm.minimize(problem, BlockNewton(tolerance=1e-6, smallest=4), stop=stop)
    assert result.status is pm.Status.CONVERGED
    assert result.iterations > 3
    assert problem.counts.certificates == 1  # at the end
    loose = pm.minimize(problem, BlockNewton(tolerance=1e-2), stop=stop)
    assert loose.status is pm.Status.CONVERGED
    assert loose.state.aim <= 1e-2 * FINER
    assert result.state.aim == 1e-6


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (sparse, "needs dense features"),
        (lambda: convex("l1-overlap"), "takes an L1 penalty or norms of rows"),
        (lambda: convex("ridge"), "takes an L1 penalty or norms of rows"),
        (lambda: dense(pm.L21(1.0, axis=0)), "takes an L1 penalty or norms of rows"),
        (lambda: dense(pm.L21(1.0), pm.SmoothedHinge()), "linear far out"),
    ],
)
def test_what_it_cannot_take_raises_before_work(problem, reason):
    made = problem()
    with pytest.raises(pm.UnsupportedError, match=reason):
        pm.minimize(made, BlockNewton())
    assert made.counts.passes == 0
    assert not isinstance(choose(made).solver, BlockNewton)


@pytest.mark.parametrize("allowance", [-1.0, math.nan])
def test_a_bad_allowance_raises(allowance):
    with pytest.raises(ValueError, match="allowance: got"):
        BlockNewton(allowance=allowance)


def test_it_is_the_default_where_small_working_sets_are_cheap():
    squared = {"loss": pm.Squared(), "missing": 0.0}
    for penalty in ("l1", "rows", "groups, one task in none"):
        problem = dense(PENALTIES[penalty], **squared)
        found = choose(problem, tolerance=1e-4)
        assert replace(found.solver, allowance=1.0) == BlockNewton(tolerance=1e-4, allowance=1.0)
        result = pm.minimize(problem)
        assert result.solver == "BlockNewton"
        assert result.status is pm.Status.CONVERGED
    # where each of several tasks needs matrices of its own, on correlated features only
    for loss, missing in ((pm.Logistic(), 0.0), (pm.Squared(), 0.2)):
        for penalty in ("rows", "elastic net"):
            many = dense(PENALTIES[penalty], loss, missing=missing, n=400, d=600)
            assert isinstance(choose(many).solver, pm.FISTA)
            X = many.design.X + 3 * many.design.X[:, :1]
            common = many.on(pm.SharedDesign(X, intercept=True))
            assert isinstance(choose(common).solver, BlockNewton)
            # few features, too: what steps do beside their products counts for both
            few = pm.SharedDesign(X[:, :30], intercept=True)
            assert isinstance(choose(many.on(few)).solver, BlockNewton)
            few = pm.SharedDesign(many.design.X[:, :30], intercept=True)
            assert isinstance(choose(many.on(few)).solver, pm.FISTA)


@pytest.mark.parametrize("backend", ["naive", "torch", "triton"])
def test_it_is_not_the_default_without_compiled_loops(backend, monkeypatch):
    problem = dense(pm.L21(1.5), pm.Squared(), missing=0.0)
    with kernels.use_backend(backend):
        assert isinstance(choose(problem).solver, pm.FISTA)
        BlockNewton().check(problem)  # by name it is served
    monkeypatch.setattr(dispatch, "_installed", lambda _: False)
    monkeypatch.setattr(dispatch, "_reported", set())
    assert isinstance(choose(problem).solver, pm.FISTA)
