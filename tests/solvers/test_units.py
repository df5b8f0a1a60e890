"""Units of features and samples do not matter: every solver takes the same path in all of them."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from solver_cases import SOLVER_FACTORIES, convex, targets

import proxmtl as pm
from proxmtl.designs import ShiftedDesign
from proxmtl.selection import solve_path
from proxmtl.solvers import ConstantStep, run

each = pytest.mark.parametrize("name", sorted(SOLVER_FACTORIES))

# powers of two: nothing is rounded otherwise, so the paths agree to the last digits
UNITS = [(2.0**-27, 1.0), (2.0**27, 1.0), (1.0, 2.0**-30), (1.0, 2.0**30), (2.0**20, 2.0**-24)]


def rescaled(problem, start, features, weights):
    """The same problem with features in another unit and samples of another weight, its start."""
    design = pm.SharedDesign(features * problem.design.X, intercept=problem.design.intercept)
    old = problem.targets
    t = pm.Targets(old.labels, weights * old.weights, old.n_tasks)
    if isinstance(problem, pm.LatentProblem):
        new = pm.LatentProblem(
            problem.loss,
            design,
            t,
            problem.groups,
            group_strength=weights * problem.group_norm.strength,
            l1_strength=weights * features * problem.l1.strength,
            frobenius_strength=weights * features**2 * problem.ridge.strength,
        )
        return new, (start[0] / features, *start[1:])
    terms = [
        r.with_strength(
            r.strength * weights * features ** (2 if isinstance(r, pm.SquaredFrobenius) else 1)
        )
        for r in problem.regularizers
    ]
    return pm.Problem(problem.loss, design, t, terms), in_unit(start, problem.design, 1 / features)


def in_unit(W, design, factor):
    weights, bias = design.split(W)
    return design.join(factor * weights, bias)


def scores(problem, point):
    weights = problem.weights(point) if isinstance(point, tuple) else point
    return problem.design.scores(weights)


@cache
def path_of(name):
    """Problem, start and result of some iterations of a solver."""
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    return problem, start, run(problem, solver, start, pm.MaxIterations(12))


@each
@pytest.mark.parametrize(("features", "weights"), UNITS)
def test_every_solver_takes_the_same_path(name, features, weights):
    problem, start, expected = path_of(name)
    solver, *_ = SOLVER_FACTORIES[name](torch.float64)
    other, there = rescaled(problem, start, features, weights)
    found = run(other, solver, there, pm.MaxIterations(12))
    torch.testing.assert_close(
        scores(other, found.solution), scores(problem, expected.solution), rtol=1e-9, atol=1e-11
    )
    assert found.passes == expected.passes
    assert found.returned == expected.returned
    certificate = found.certificate
    assert certificate.relative_kkt == pytest.approx(expected.certificate.relative_kkt, rel=1e-6)
    # dual norms of overlapping groups are bounds, sharp at the solution alone
    exact = isinstance(problem, pm.Problem) and getattr(problem.regularizer, "exact_prox", True)
    if certificate.gap is not None and exact:
        assert certificate.relative_gap == pytest.approx(
            expected.certificate.relative_gap, rel=1e-6
        )


@pytest.mark.parametrize("factor", [1e-8, 0.006, 30.0, 1e8])
@pytest.mark.parametrize("batched", [False, True])
def test_accuracies_are_reached_and_mean_the_same_for_any_scale(factor, batched):
    problem = convex("groups", intercept=True)
    other, _ = rescaled(problem, problem.zeros(), factor, 1.0)
    stop = pm.RelativeGap(1e-9) | pm.MaxIterations(400)
    ends = [
        pm.solve_batch([p], stop=stop)[0] if batched else pm.minimize(p, stop=stop)
        for p in (problem, other)
    ]
    assert [end.status for end in ends] == [pm.Status.CONVERGED] * 2
    expected, found = (scores(p, e.solution) for p, e in zip((problem, other), ends, strict=True))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_a_small_residual_hides_no_block(factor):
    # in small features the gradient of the weights is nothing beside that of the intercept
    problem = convex("l1", intercept=True)
    other, _ = rescaled(problem, problem.zeros(), factor, 1.0)
    stop = pm.RelativeKKT(1e-8) | pm.MaxIterations(2000)
    ends = [pm.minimize(p, stop=stop) for p in (problem, other)]
    assert ends[0].status is ends[1].status is pm.Status.CONVERGED
    assert bool((ends[0].solution[:-1] != 0).any())
    torch.testing.assert_close(
        scores(other, ends[1].solution), scores(problem, ends[0].solution), rtol=1e-5, atol=1e-5
    )


def test_units_leave_standardised_features_as_they_are():
    X = torch.randn(300, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for design in (pm.SharedDesign(X, intercept=True), pm.TaskDesign([X, X[:50]], intercept=True)):
        assert design.in_units() is design
    assert pm.SharedDesign(1e6 * X).in_units().unit == 1  # there is no intercept


@pytest.mark.parametrize("kind", ["shared", "sparse", "shifted", "task", "factored", "narrowed"])
def test_designs_in_units_are_the_same_map(kind):
    g = torch.Generator().manual_seed(1)
    X = 1e-5 * torch.randn(30, 6, generator=g, dtype=torch.float64)
    L = torch.randn(6, 6, generator=g, dtype=torch.float64)
    t = targets(n=30)
    design = {
        "shared": lambda: pm.SharedDesign(X, intercept=True),
        "sparse": lambda: pm.SharedDesign(csr_matrix(X.numpy()), intercept=True),
        "shifted": lambda: ShiftedDesign(
            csr_matrix(X.numpy() + 1e-4), np.full(6, 1e-4), intercept=True
        ),
        "task": lambda: pm.TaskDesign([X] * 4, intercept=True),
        "factored": lambda: pm.FactoredDesign(pm.SharedDesign(X, intercept=True), L=L),
        "narrowed": lambda: pm.SharedDesign(X, intercept=True).narrowed(torch.arange(6)),
    }[kind]()
    view = design.in_units()
    assert 0.3 < view.unit / design.magnitude() < 3
    if kind == "task":
        labels = [torch.nan_to_num(column, 1.0) for column in t.labels.T]
        t = pm.Targets.from_labels(labels)
    problem = pm.Problem(convex().loss, design, t, pm.L1(0.1))
    W = torch.randn(7, 4, generator=g, dtype=torch.float64)
    inner = problem.in_units()
    inside = inner.inside(W)
    assert torch.equal(inner.outside(inside), W)
    value, grad = problem.smooth_value_and_grad(W)
    found, slope = inner.smooth_value_and_grad(inside)
    torch.testing.assert_close(found, value)
    torch.testing.assert_close(slope[:-1], grad[:-1])
    torch.testing.assert_close(slope[-1], view.unit * grad[-1])
    torch.testing.assert_close(inner.scores(inside), problem.scores(W))
    assert inner.certificate(inside) == problem.certificate(W)
    assert inner.with_regularizers(pm.L1(0.1)).certificate(inside) == problem.certificate(W)
    exact = torch.linalg.matrix_norm(torch.cat([X, torch.full((30, 1), view.unit)], 1), 2) ** 2
    if kind == "shared":
        assert inner.lipschitz >= float(exact) * float(t.weights.min(0).values.max())


def test_steps_that_were_given_are_in_the_units_of_the_features():
    problem = convex("groups", intercept=True)
    other, _ = rescaled(problem, problem.zeros(), 1e3, 1.0)
    result = pm.minimize(
        other, pm.FISTA(ConstantStep(1 / other.lipschitz)), stop=pm.MaxIterations(30)
    )
    assert result.status is pm.Status.BUDGET
    history = [record["objective"] for record in result.history]
    assert history[-1] < history[0]


@cache
def latent(algorithm, s):
    """A latent model of features in a unit, from one start."""
    problem = convex()
    X, Y = problem.design.X, problem.targets.labels
    g = torch.Generator().manual_seed(4)
    L = torch.randn(6, 3, generator=g, dtype=torch.float64)
    S = torch.randn(3, 4, generator=g, dtype=torch.float64)
    model = pm.LatentMTL(
        group_strength=1e-2,
        l1_strength=1e-3 * s,
        frobenius_strength=1e-3 * s * s,
        init=(L / s, S),
        tol=1e-6,
        max_passes=60 if algorithm == "paper" else 1500,
        algorithm=algorithm,
    )
    return model.solve(s * X, Y)


@pytest.mark.parametrize("algorithm", ["auto", "gram", "panoc", "palm", "paper"])
@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_the_latent_model_is_solved_alike_in_any_unit(algorithm, factor):
    expected, found = latent(algorithm, 1.0), latent(algorithm, factor)
    assert expected.status is found.status
    assert (algorithm == "paper") == (found.status is pm.Status.BUDGET)
    torch.testing.assert_close(factor * found.coef, expected.coef, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.intercept, expected.intercept, rtol=1e-4, atol=1e-5)


def test_a_path_of_tiny_strengths_is_no_other_path(tmp_path):
    from proxmtl.io import InputError

    problem = convex("l1")
    other, _ = rescaled(problem, problem.zeros(), 1e-11, 1.0)
    critical = other.critical_strength()
    assert critical < 1e-9
    stop = pm.MaxPasses(20)
    solve_path(other, [critical / 2, critical / 4], stop=stop, folder=tmp_path / "path")
    with pytest.raises(InputError, match="another computation, which differs in its strengths;"):
        solve_path(other, [critical / 3, critical / 4], stop=stop, folder=tmp_path / "path")
