"""CoordinateNewton: the optimum of the other solvers, on any sparse problem with an L1 penalty."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from solver_cases import M, N, convex, sparse
from strategies import classification

import proxmtl as pm
from proxmtl import kernels
from proxmtl.designs import ShiftedDesign
from proxmtl.kernels import dispatch
from proxmtl.solvers import CoordinateNewton, run
from proxmtl.solvers.choice import choose
from proxmtl.solvers.working_set_newton import FINER

LOSSES = [pm.SquaredHinge(), pm.Logistic(), pm.Squared()]
PENALTIES = {
    "l1": [pm.L1(1.5)],
    "l1 and ridge": [pm.L1(1.0), pm.SquaredFrobenius(0.3)],
    "weighted": [pm.WeightedL1(torch.linspace(0.2, 1.2, N * M).reshape(N, M), 1.5)],
    "by task": [pm.WeightedL1(torch.linspace(0.5, 1.2, M), 1.5), pm.L1(0.1)],
    "elastic net": [pm.ElasticNet(2.0, 0.5)],
}


def solve(problem, tolerance=1e-9, **options):
    """Certified to a relative gap."""
    stop = pm.RelativeGap(tolerance) | pm.MaxIterations(200)
    result = pm.minimize(problem, CoordinateNewton(tolerance=tolerance, **options), stop=stop)
    assert result.status is pm.Status.CONVERGED, result
    return result


def like_fista(problem, result):
    """Whether objectives agree as far as both gaps and the rounding of sums tell."""
    other = pm.minimize(problem, pm.FISTA(), stop=pm.RelativeGap(1e-8) | pm.MaxIterations(20000))
    assert other.status is pm.Status.CONVERGED
    rounding = 1e-13 * abs(other.objective)
    return abs(other.objective - result.objective) <= other.gap + result.gap + rounding


def on(X, y, loss=None, penalty=None, *, intercept=False, **options):
    """Problem on a SciPy matrix."""
    targets = pm.Targets.from_labels(torch.as_tensor(y), **options)
    design = pm.SharedDesign(csr_matrix(X), intercept=intercept)
    return pm.Problem(loss or pm.SquaredHinge(), design, targets, penalty or pm.L1(0.5))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("intercept", [False, True])
def test_finds_the_optimum(loss, penalty, intercept):
    problem = sparse(PENALTIES[penalty], loss=loss, intercept=intercept)
    assert like_fista(problem, solve(problem))
    assert like_fista(problem, solve(problem, smallest=1))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("intercept", [False, True])
def test_an_origin_is_subtracted_without_being_stored(loss, intercept):
    base = sparse(loss=loss)
    origin = torch.linspace(-0.5, 1.0, N, dtype=torch.float64)
    design = ShiftedDesign(base.design.X, origin, intercept=intercept)
    problem = pm.Problem(loss, design, base.targets, pm.L1(1.5))
    result = solve(problem)
    assert like_fista(problem, result)
    dense = pm.SharedDesign(base.design.X.to_dense() - origin, intercept=intercept)
    again = pm.Problem(loss, dense, base.targets, pm.L1(1.5)).certificate(result.solution)
    assert again.relative_gap <= 2e-9


def test_features_in_float32_give_weights_in_float32():
    problem = sparse(dtype=torch.float32)
    result = solve(problem, 1e-6)
    assert result.solution.dtype == torch.float32
    assert result.state.x.dtype == torch.float64
    assert result.objective == pytest.approx(solve(sparse()).objective, rel=2e-6)


def test_at_the_critical_strength_all_weights_are_zero():
    for intercept in (False, True):
        problem = sparse(intercept=intercept)
        critical = problem.critical_strength()
        zero = solve(problem.with_regularizers(pm.L1(critical * (1 + 1e-9))))
        assert not zero.coef.any()
        some = solve(problem.with_regularizers(pm.L1(0.99 * critical)))
        assert 0 < int((some.coef != 0).sum()) < 5


def test_a_single_feature_a_constant_one_and_none_at_all():
    y = np.where(np.arange(12) % 3 > 0, 1.0, -1.0)[:, None]
    for X in (np.linspace(-1, 2, 12)[:, None], np.full((12, 2), 0.7), np.zeros((12, 3))):
        for intercept in (False, True):
            problem = on(X, y, intercept=intercept)
            result = solve(problem, 1e-8)
            assert like_fista(problem, result)
    assert not result.coef.any()


def test_one_sample_of_a_class():
    X, _ = classification(30, 50, 1, seed=1, missing=0.0)
    X = torch.where(X > 0.3, X, 0.0).numpy()
    y = -np.ones((30, 2))
    y[7, 0], y[11, 1] = 1.0, 1.0
    for loss in (pm.SquaredHinge(), pm.Logistic()):
        problem = on(X, y, loss, pm.L1(0.2), intercept=True)
        assert like_fista(problem, solve(problem))


@pytest.mark.parametrize("loss", [pm.SquaredHinge(), pm.Logistic()])
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**100])
def test_the_scale_of_the_weights_of_samples_does_not_matter(loss, scale):
    plain = sparse(loss=loss)
    heavy = pm.Targets(plain.targets.labels, scale * plain.targets.weights, M)
    scaled = pm.Problem(loss, plain.design, heavy, pm.L1(1.5 * scale))
    wanted, found = solve(plain), solve(scaled)
    assert found.iterations == wanted.iterations
    torch.testing.assert_close(found.solution, wanted.solution, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_the_scale_of_the_features_does_not_matter(scale):
    plain = sparse(intercept=False)
    X = csr_matrix(plain.design.X.to_dense().numpy())
    targets = plain.targets
    scaled = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(scale * X), targets, pm.L1(1.5 * scale))
    wanted, found = solve(plain), solve(scaled)
    torch.testing.assert_close(scale * found.solution, wanted.solution, rtol=1e-12, atol=0)


def test_stored_duplicates_count_as_their_sum():
    base = sparse()
    X = csr_matrix(base.design.X.to_dense().numpy())
    twice = csr_matrix(
        (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape
    )
    design = pm.SharedDesign(twice, intercept=True)
    problem = pm.Problem(pm.SquaredHinge(), design, base.targets, pm.L1(1.5))
    assert solve(problem).objective == pytest.approx(solve(base).objective, rel=1e-8)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("size", [1.0, 20.0])
def test_the_objective_never_increases_wherever_it_starts(loss, size):
    """Far out, the logistic loss is nearly linear, and the Newton step of it far too long."""
    problem = sparse(loss=loss)
    start = size * torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(2))
    stop = pm.RelativeGap(1e-9) | pm.MaxIterations(300)
    result = pm.minimize(problem, CoordinateNewton(), start.double(), stop)
    assert result.status is pm.Status.CONVERGED
    values = [float(problem.objective(start.double()))]
    values += [record["objective"] for record in result.history]
    # up to the rounding of their sums
    assert all(b <= a + 1e-13 * abs(a) for a, b in itertools.pairwise(values))


def one_against_many(*, intercept):
    """A task whose optimum is far below zero: one sample in 2001 is of the other class."""
    y = -np.ones((2001, 1))
    y[0] = 1.0
    X = csr_matrix(np.ones((2001, 1)))
    return on(X, y, pm.Logistic(), pm.L1(1e-3), intercept=intercept)


@pytest.mark.parametrize("far", [-40.0, -720.0, -740.0, -800.0])
@pytest.mark.parametrize("intercept", [False, True])
def test_where_a_step_fails_one_of_the_largest_curvature_follows(far, intercept):
    """The model has hardly a curvature there: its step is too long, infinite, or none at all."""
    problem = one_against_many(intercept=intercept)
    start = torch.zeros_like(problem.zeros(), dtype=torch.float64)
    start[-1] = far
    solver = CoordinateNewton()
    state = solver.init(problem, start)
    assert torch.equal(state.x, start)  # no worse than zero
    failed = solver.step(problem, state)
    assert failed.safe.all()
    assert torch.equal(failed.x, start)
    assert torch.equal(failed.scores, state.scores)
    assert not failed.stalled
    moved = solver.step(problem, failed)
    assert not moved.safe.any()
    # a step of curvature 2001 / 4 alone would take about one of its |far| away
    assert moved.objective < 0.5 * state.objective
    assert problem.certificate(solve(problem).solution).relative_gap <= 2e-9
    stop = pm.RelativeGap(1e-9) | pm.MaxIterations(50)
    assert pm.minimize(problem, solver, start, stop).status is pm.Status.CONVERGED


def test_it_stalls_only_once_a_safe_step_fails_too():
    """Rounding ends the run at the optimum, in every task."""
    problem = sparse(loss=pm.Logistic())
    result = pm.minimize(problem, CoordinateNewton(), stop=pm.MaxIterations(500))
    assert result.status is pm.Status.STALLED
    # the rounding of sums over samples and tasks
    assert result.gap <= torch.finfo(torch.float64).eps * N * M * result.objective


def test_a_task_that_a_safe_step_does_not_move_has_stalled():
    problem = sparse(pm.L1(1e4), intercept=False)  # zero is the optimum
    solver = CoordinateNewton()
    open_ = {"residual": torch.ones(M, dtype=torch.float64)}  # as if rounding said otherwise
    state = replace(solver.init(problem, problem.zeros()), **open_)
    once = solver.step(problem, state)
    assert once.safe.all()
    assert not once.stalled
    twice = solver.step(problem, replace(once, **open_))
    assert twice.safe.all()
    assert twice.stalled


def test_a_newton_step_is_not_lengthened():
    """From zero it ends at -2, slopes over curvatures of half and a quarter; the optimum is -7."""
    problem = one_against_many(intercept=False)
    solver = CoordinateNewton()
    moved = solver.step(problem, solver.init(problem, problem.zeros()))
    assert -2.0 < float(moved.x) < -1.99


@pytest.mark.parametrize("size", [1e3, 1e6, 1e150])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_task_starts_no_worse_than_at_zero(loss, size):
    problem = sparse(loss=loss)
    start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(0)).double()
    near = solve(problem).solution
    start = torch.where(torch.arange(M) == 1, near, size * start)
    state = CoordinateNewton().init(problem, start)
    assert state.x[:, 1].equal(near[:, 1])
    assert not state.x[:, torch.arange(M) != 1].any()
    torch.testing.assert_close(state.scores, problem.scores(state.x))
    stop = pm.RelativeGap(1e-9) | pm.MaxIterations(50)
    result = pm.minimize(problem, CoordinateNewton(), start, stop)
    assert result.status is pm.Status.CONVERGED


def test_the_penalty_of_a_start_counts_when_it_is_compared_with_zero():
    problem = sparse([pm.L1(1.0), pm.SquaredFrobenius(0.3)], intercept=False)
    near = solve(problem).solution
    strong = problem.with_regularizers([pm.L1(1e4), pm.SquaredFrobenius(0.3)])
    assert not CoordinateNewton().init(strong, near).x.any()


def test_no_run_takes_more_passes_than_it_may():
    whole = run(sparse(), CoordinateNewton(smallest=1), sparse().zeros(), pm.RelativeGap(1e-9))
    seen = set()
    for most in np.linspace(0.5, 1.5 * whole.passes, 12):
        problem = sparse()
        stop = pm.RelativeGap(1e-9) | pm.MaxPasses(most)
        result = run(problem, CoordinateNewton(smallest=1), problem.zeros(), stop)
        assert result.passes <= most + 1e-9
        assert problem.counts.passes <= most + 1e-9
        assert result.objective <= problem.loss_at_zero
        seen.add(result.status)
    assert seen == {pm.Status.BUDGET, pm.Status.CONVERGED}


def test_a_certificate_is_made_when_it_is_thought_to_suffice():
    problem = sparse(n=200, d=300)
    stop = pm.RelativeGap(1e-6, every=1000)
    result = pm.minimize(problem, CoordinateNewton(tolerance=1e-6), stop=stop)
    assert result.status is pm.Status.CONVERGED
    assert result.iterations > 5
    assert problem.counts.certificates == 1  # at the end
    # one that was due and did not suffice is followed by one for a smaller gap
    loose = pm.minimize(problem, CoordinateNewton(tolerance=1e-2), stop=stop)
    assert loose.status is pm.Status.CONVERGED
    assert loose.state.aim <= 1e-2 * FINER
    assert result.state.aim == 1e-6
    every = sparse(n=200, d=300)
    pm.minimize(every, CoordinateNewton(), stop=stop)
    assert every.counts.certificates > 5


def test_a_task_that_is_solved_is_left_as_it_is():
    """The second task has its solution at zero weights, whatever happens to the first."""
    problem = sparse(pm.WeightedL1(torch.tensor([1.0, 1e3, 1.0, 1.0]), 1.5), intercept=False)
    solver = CoordinateNewton()
    state = solver.init(problem, problem.zeros())
    assert state.residual.tolist()[1] == 0
    assert not state.rows[:, 1].any()
    state = solver.step(problem, state)
    assert not state.x[:, 1].any()
    assert state.x[:, 0].any()


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (lambda: convex("l1"), "needs sparse features"),
        (lambda: sparse(pm.L21(1.0)), "takes an L1 penalty"),
        (lambda: sparse([pm.SquaredFrobenius(1.0)]), "takes an L1 penalty"),
        (lambda: sparse(loss=pm.SmoothedHinge()), "linear far out"),
    ],
)
def test_what_it_cannot_take_raises_before_work(problem, reason):
    made = problem()
    with pytest.raises(pm.UnsupportedError, match=reason):
        pm.minimize(made, CoordinateNewton())
    assert made.counts.passes == 0
    assert not isinstance(choose(made).solver, CoordinateNewton)


def test_it_is_the_default_where_it_can_be():
    for penalty in PENALTIES.values():
        found = choose(sparse(penalty), tolerance=1e-4).solver
        assert found == CoordinateNewton(tolerance=1e-4)
    result = pm.minimize(sparse())
    assert isinstance(result.state, CoordinateNewton.state_type)
    assert result.status is pm.Status.CONVERGED


@pytest.mark.parametrize("backend", ["naive", "torch", "triton"])
def test_it_is_not_the_default_without_compiled_loops(backend, monkeypatch):
    problem = sparse()
    with kernels.use_backend(backend):
        assert isinstance(choose(problem).solver, pm.FISTA)
        CoordinateNewton().check(problem)  # by name it is served
    with kernels.use_backend("numba"):
        assert isinstance(choose(problem).solver, CoordinateNewton)
    monkeypatch.setattr(dispatch, "_installed", lambda _: False)
    monkeypatch.setattr(dispatch, "_reported", set())
    assert isinstance(choose(problem).solver, pm.FISTA)
    result = pm.minimize(problem, stop=pm.RelativeGap(1e-4) | pm.MaxIterations(2000))
    assert result.status is pm.Status.CONVERGED


def test_a_backend_for_gpus_leaves_the_default_on_sparse_features_usable():
    with kernels.use_backend("triton"):
        result = pm.minimize(sparse(), stop=pm.RelativeGap(1e-4) | pm.MaxIterations(2000))
    assert result.status is pm.Status.CONVERGED


@pytest.mark.parametrize("standardize", [False, True])
def test_an_estimator_fits_sparse_features_with_it(standardize, monkeypatch):
    solvers = []

    def watched(problem, solver, **options):
        solvers.append((type(problem.design), solver))
        return pm.minimize(problem, solver, **options)

    monkeypatch.setattr("proxmtl.estimators.convex.minimize", watched)
    base = sparse(n=80)
    X = csr_matrix(base.design.X.to_dense().numpy())
    Y = torch.where(base.targets.weights > 0, base.targets.labels, torch.nan).numpy()
    model = pm.LassoClassifier(
        strength=0.02, loss="squared_hinge", tol=1e-8, standardize=standardize
    )
    fitted = model.fit(X, Y)
    ((design, solver),) = solvers
    assert design is (ShiftedDesign if standardize else pm.SharedDesign)
    assert isinstance(solver, CoordinateNewton)
    assert fitted.result_.status is pm.Status.CONVERGED
    scores, objective = fitted.decision_function(X), fitted.result_.objective
    dense = model.fit(X.toarray(), Y)
    assert isinstance(solvers[1][1], pm.FISTA)
    assert objective == pytest.approx(dense.result_.objective, rel=1e-7)
    np.testing.assert_allclose(scores, dense.decision_function(X.toarray()), atol=1e-3)
