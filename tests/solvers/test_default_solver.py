"""The solver that is taken where none is named, at the start and for the rest of a run."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from solver_cases import sparse
from strategies import classification

import proxmtl as pm
from bench.solvers.costs import REFERENCE, Cost, cost_of_iteration, cost_of_pass
from proxmtl import kernels
from proxmtl.estimators.convex import minimised
from proxmtl.experiments import fit_report
from proxmtl.io import Checkpoint
from proxmtl.solvers.choice import TABLE, choose


def ridge(n=600, d=40, m=12):
    X, Y = classification(n, d, m, seed=0)
    return pm.Problem(
        pm.Logistic(), pm.SharedDesign(X), pm.Targets.from_labels(Y), pm.SquaredFrobenius(0.1)
    )


def test_the_choice_hangs_on_the_penalty_and_the_budget():
    problem = ridge()
    assert isinstance(choose(problem, most=5.0).solver, pm.LBFGS)
    assert isinstance(choose(problem, most=1000.0).solver, pm.NewtonCholesky)
    assert isinstance(choose(problem.with_regularizers(pm.L1(0.1))).solver, pm.FISTA)


def test_an_unnamed_solver_resumes_the_state_that_it_is_given():
    """Whichever the budget of the rest alone would choose."""
    problem, further = ridge(), pm.MaxPasses(1000) | pm.RelativeGap(1e-6)
    for first in (
        pm.minimize(problem, stop=pm.MaxPasses(5)),
        pm.minimize(problem, pm.FISTA(), stop=pm.MaxPasses(5)),
    ):
        rest = pm.minimize(problem, state=first.state, stop=further)
        assert rest.status is pm.Status.CONVERGED
        assert type(rest.state) is type(first.state)
    assert torch.isfinite(rest.solution).all()


def test_auto_is_the_default_and_says_what_it_takes_and_why():
    problem = sparse()
    for result in (pm.minimize(problem), pm.minimize(problem, "auto"), pm.minimize(problem, None)):
        assert result.solver == "CoordinateNewton"
        assert result.solver_reason == "L1 on sparse features: coordinate descent on working sets"
        assert f"by CoordinateNewton ({result.solver_reason}) after" in repr(result)
        assert "coordinate descent on working sets" in result._repr_html_()
    named = pm.minimize(problem, pm.FISTA(), stop=pm.MaxIterations(3))
    assert (named.solver, named.solver_reason) == ("FISTA", "")
    assert "by FISTA after 3 iterations" in repr(named)
    with pytest.raises(ValueError, match=r"solver: got 3; give a Solver object, .* or \"auto\""):
        pm.minimize(problem, 3)


PENALTIES = {
    "bent": pm.MCP(0.1, 3.0),
    "blocks": pm.L21(0.1),
    "tall": pm.L21(0.1),
    "wide": pm.Nuclear(0.1),
    "ridge": pm.SquaredFrobenius(0.1),
}


@pytest.mark.parametrize("kind", PENALTIES)
def test_each_class_of_the_table_has_its_reason(kind):
    n, d = (600, 300) if kind != "wide" else (40, 60)
    X, Y = classification(n, d, 30, seed=0)
    targets = pm.Targets.from_labels(Y)
    loss = pm.Squared() if kind == "blocks" else pm.Logistic()
    problem = pm.Problem(loss, pm.SharedDesign(X), targets, PENALTIES[kind])
    chosen, row = choose(problem, tolerance=1e-3), TABLE[kind]
    assert isinstance(chosen.solver, row.solver)
    assert chosen.reason == f"{type(PENALTIES[kind]).__name__} on dense features: {row.reason}"
    assert chosen.row is row
    cost = cost_of_iteration(problem, chosen.solver)
    assert cost is None or cost.seconds() > cost_of_pass(problem).seconds()


def test_large_features_of_one_task_are_left_to_working_sets():
    def chosen(shape, penalty, dtype=torch.float64):
        X = torch.zeros(shape, dtype=dtype)
        Y = torch.tensor([-1.0, 1.0], dtype=dtype).repeat(shape[0] // 2)[:, None]
        targets = pm.Targets.from_labels(Y)
        problem = pm.Problem(pm.Logistic(), pm.SharedDesign(X), targets, penalty)
        with kernels.use_backend("torch"):  # compiled, Gram matrices come first
            found = choose(problem).solver
        assert isinstance(choose(problem).solver, pm.BlockNewton)
        return type(found)

    large, small = (1000, 4200), (1000, 4100)  # on both sides of 32 MB
    assert chosen(large, pm.L1(0.1)) is pm.ProxNewton
    assert chosen(large, [pm.L1(0.1), pm.SquaredFrobenius(0.1)]) is pm.ProxNewton
    assert chosen(small, pm.L1(0.1)) is pm.FISTA
    assert chosen(large, pm.L1(0.1), torch.float32) is pm.FISTA
    assert chosen(large, pm.L21(0.1)) is pm.FISTA
    assert chosen((4200, 1000), pm.L1(0.1)) is pm.FISTA


def test_reads_count_where_few_tasks_share_features():
    """A pass for one task takes as long as its reads; Gram matrices run at full speed."""
    X, Y = classification(300, 3000, 1, seed=0)
    design, targets = pm.SharedDesign(X), pm.Targets.from_labels(Y)
    problem = pm.Problem(pm.SquaredHinge(), design, targets, pm.SquaredFrobenius(1.0))
    result = pm.minimize(problem, tol=1e-6)
    assert result.solver == "NewtonCholesky"
    assert result.status.ok
    assert result.iterations <= 12  # LBFGS takes 138


def test_estimators_take_the_same_solver_and_report_it():
    X, Y = classification(60, 8, 3, seed=0)
    model = pm.SingleTaskClassifier().fit(X.numpy(), Y.numpy() > 0)
    chosen = choose(model.pose(X.numpy(), Y.numpy() > 0)[0])
    report = fit_report(model)
    assert report["solver"] == model.result_.solver == type(chosen.solver).__name__
    assert report["solver_reason"] == model.result_.solver_reason == chosen.reason
    result = minimised(sparse(), tol=1e-4, max_passes=1000)
    assert result.solver == "CoordinateNewton"
    assert result.solver_reason == choose(sparse()).reason


def test_an_interrupted_run_goes_on_with_its_solver(tmp_path):
    """A run that the first call has begun, from the same call."""
    store = Checkpoint(tmp_path, seconds=0)
    part = pm.minimize(ridge(), checkpoint=store, callback=lambda p: p.iteration == 2)
    whole = pm.minimize(ridge(), checkpoint=store)
    assert part.iterations == 2
    assert whole.status.ok
    assert whole.iterations > 2
    assert whole.solver == part.solver == "NewtonCholesky"


def test_a_run_goes_on_with_its_solver_under_a_larger_budget(tmp_path):
    """Under which another one would be chosen."""
    store = Checkpoint(tmp_path, seconds=0)
    part = pm.minimize(ridge(), stop=pm.MaxPasses(5), checkpoint=store)
    assert part.solver == "LBFGS"
    larger = pm.MaxPasses(1000) | pm.RelativeGap(1e-6)
    assert pm.minimize(ridge(), stop=larger).solver == "NewtonCholesky"
    whole = pm.minimize(ridge(), stop=larger, checkpoint=store)
    assert whole.status.ok
    assert whole.solver == "LBFGS"
    assert whole.iterations > part.iterations


def test_the_cost_of_a_pass_is_counted_from_the_entries():
    X, Y = classification(60, 8, 3, seed=0)
    targets = pm.Targets.from_labels(Y)

    def passes(design):
        return cost_of_pass(pm.Problem(pm.Logistic(), design, targets, pm.L1(0.1)))

    assert passes(pm.SharedDesign(X))[:2] == (4 * 60 * 8 * 3, 2 * 60 * 8 * 8)
    assert passes(pm.SharedDesign(X.float()))[:2] == (4 * 60 * 8 * 3, 2 * 60 * 8 * 4)
    tasks = pm.Problem(
        pm.Logistic(),
        pm.TaskDesign([X, X[:20]]),
        pm.Targets.from_labels([Y[:, 0], Y[:20, 1]]),
        pm.L1(0.1),
    )
    assert cost_of_pass(tasks).flops == 4 * 80 * 8
    few = sp.random(60, 8, 0.25, format="csr", random_state=0)
    assert passes(pm.SharedDesign(few)).flops == 4 * few.nnz * 3
    once = np.zeros((2100, 2000))  # more than the caches hold: read once
    problem = pm.Problem(
        pm.Squared(),
        pm.SharedDesign(once),
        pm.Targets.from_labels(once[:, :1], coding="real"),
        pm.L1(0.1),
    )
    assert problem.reads_once
    assert cost_of_pass(problem)[:2] == (4 * once.size, 8 * once.size)


def test_costs_add_up():
    one, two = Cost(1e9, 2e9, 3), Cost(5e9, 0, 1)
    assert one.plus(two) == Cost(6e9, 2e9, 4)
    assert one.times(2) == Cost(2e9, 4e9, 6)
    assert one.plus(two).seconds() == pytest.approx(one.seconds() + two.seconds())
    assert Cost(flops=REFERENCE.flops).seconds() == pytest.approx(1)
    assert Cost(bytes=REFERENCE.bytes).seconds() == pytest.approx(1)
    assert Cost(calls=1 / REFERENCE.call).seconds() == pytest.approx(1)
    assert cost_of_iteration(ridge(), pm.NewtonCholesky()) is None


def test_solvers_are_taken_by_name():
    problem = pm.Problem.of(*arrays(), pm.L1(0.01))
    for name in ("fista", "FISTA", "Prox_Newton"):
        result = pm.minimize(problem, name, max_iter=2)
        assert result.solver.lower() == name.lower().replace("_", "")
        assert result.solver_reason == ""
    assert pm.minimize(problem, "Auto", max_iter=2).solver_reason
    with pytest.raises(ValueError, match=r"solver: got 'fistaa'; .* Did you mean 'FISTA'\?"):
        pm.minimize(problem, "fistaa")


def test_passes_are_limited_by_the_default_rule():
    problem = pm.Problem.of(*arrays(), pm.L1(0.01))
    result = pm.minimize(problem, "pgd", tol=1e-14, max_passes=12)
    assert result.status.name == "BUDGET"
    assert result.passes <= 12
    with pytest.raises(ValueError, match="max_passes: are those of the default rule"):
        pm.minimize(problem, stop=pm.MaxIterations(1), max_passes=12)


def arrays():
    X = torch.randn(30, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return X, X[:, :2] > 0


@pytest.mark.parametrize(("n", "d", "taken"), [(500, 64, "FISTA"), (200, 500, "BlockNewton")])
def test_a_single_task_takes_gram_matrices_where_accelerated_steps_are_many(n, d, taken):
    X, Y = classification(n, d, 1, seed=3)
    problem = pm.Problem(pm.Logistic(), pm.SharedDesign(X), pm.Targets.from_labels(Y), pm.L1(2.0))
    assert type(choose(problem).solver).__name__ == taken
