"""Solvers on features that are read block by block: the same answers, by few reads."""

import numpy as np
import pytest
import torch
from designs.test_streamed import Counted

import proxmtl as pm
from proxmtl.designs import StreamedDesign
from proxmtl.solvers import sketched
from proxmtl.solvers.choice import choose

N, D, M = 600, 14, 4
RNG = np.random.default_rng(5)
X = RNG.standard_normal((N, D)) * np.linspace(0.3, 3, D) + 0.5
Y = np.sign((X - 0.5) @ RNG.standard_normal((D, M)) + 2 * RNG.standard_normal((N, M)))
MISSING = np.where(RNG.random((N, M)) < 0.3, np.nan, Y)
WEIGHTS = RNG.random(N) + 0.1
RIDGE = [pm.SquaredFrobenius(0.02)]


def streamed(dtype=np.float64, *, intercept=True, source=None, memory=40_000):
    parts = [X[:200].astype(dtype), X[200:201].astype(dtype), X[201:].astype(dtype)]
    return StreamedDesign(source or parts, intercept=intercept, memory=memory)


def problem(design, *, labels=Y, weights=None, penalty=None, loss=None):
    like = torch.empty(0, dtype=design.dtype)
    targets = pm.Targets.from_labels(labels, sample_weight=weights, reduction="mean", like=like)
    return pm.Problem(loss or pm.Logistic(), design, targets, penalty or RIDGE)


SOLVERS = {
    "LBFGS": pm.LBFGS(),
    "NewtonCholesky": pm.NewtonCholesky(),
    "ProxSVRG": pm.ProxSVRG(batch=16),
    "ProxNewton": pm.ProxNewton(),
    "default": None,
}


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("case", ["all labels", "missing", "weights"])
def test_objectives_are_those_of_features_in_memory(name, dtype, intercept, case):
    labels = MISSING if case == "missing" else Y
    weights = WEIGHTS if case == "weights" else None
    designs = (
        streamed(dtype, intercept=intercept),
        pm.SharedDesign(X.astype(dtype), intercept=intercept),
    )
    tol = 3e-7 if dtype is np.float64 else 1e-6
    found = [
        pm.minimize(problem(design, labels=labels, weights=weights), solver, tol=tol)
        for design, solver in zip(designs, (SOLVERS[name], pm.LBFGS()), strict=True)
    ]
    assert all(result.status.ok for result in found)
    # each is within its certified gap of the minimum
    assert found[0].objective == pytest.approx(found[1].objective, abs=2 * tol, rel=0)


@pytest.mark.parametrize("loss", [pm.Logistic(), pm.SquaredHinge()])
def test_lbfgs_reads_once_or_twice_an_iteration(loss):
    source = Counted(X)
    posed = problem(streamed(source=source), loss=loss)
    source.read = 0
    result = pm.minimize(posed, pm.LBFGS(), stop=pm.MaxIterations(30))
    # the start, the sketch, two certificates and their scale take another seven
    assert source.read <= N * (2 * result.iterations + 7)
    source.read = 0
    sketched.Sketched.of(posed)
    assert source.read == 2 * N


def test_a_descent_reads_once_for_each_pass_and_certificate():
    """The probe of a first step, too; the scale of residuals comes with the first certificate."""
    source = Counted(X)
    posed = problem(streamed(source=source), penalty=[pm.L21(0.01)])
    source.read = 0
    result = pm.minimize(posed, pm.FISTA(), stop=pm.MaxIterations(1))
    assert result.passes.is_integer()  # what is half a pass, a gradient from scores, is a read, too
    assert source.read == N * (result.passes + posed.counts.certificates)


def test_a_step_of_newton_reads_three_times():
    source, steps = Counted(X), 4
    posed = problem(streamed(source=source))
    solver = pm.NewtonCholesky()
    state = solver.init(posed, posed.zeros())
    source.read = 0
    for _ in range(steps):
        state = solver.step(posed, state)
    assert source.read == 3 * steps * N
    # with room for one Hessian, a read for each task forms them
    posed = problem(streamed(source=source, memory=2 * 8 * D * D - 1))
    state = solver.init(posed, posed.zeros())
    source.read = 0
    solver.step(posed, state)
    assert source.read == (2 + M) * N


def test_an_epoch_reads_twice_and_a_curvature_product_once():
    source = Counted(X)
    posed = problem(streamed(source=source), penalty=[pm.L1(0.01)])
    solver = pm.ProxSVRG(batch=20)
    state = solver.init(posed, posed.zeros())
    source.read = 0
    state = solver.step(posed, state)
    assert source.read == 2 * N
    assert state.passes == 0.0
    scores = posed.scores(state.x)
    source.read = 0
    V = torch.ones_like(state.x)
    product = posed.curvature_product(scores, V)
    assert source.read == N
    memory = problem(pm.SharedDesign(X, intercept=True), penalty=[pm.L1(0.01)])
    torch.testing.assert_close(product, memory.curvature_product(scores, V))


def test_a_sketch_is_that_of_features_in_memory():
    found = [
        sketched.Sketched.of(problem(design))
        for design in (streamed(), pm.SharedDesign(X, intercept=True))
    ]
    grams = [s.basis @ torch.diag(s.spectrum) @ s.basis.T for s in found]
    torch.testing.assert_close(grams[0], grams[1], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[0].mean, found[1].mean)


def test_the_solver_is_chosen_by_its_reads():
    small = problem(streamed())
    assert isinstance(choose(small).solver, pm.NewtonCholesky)
    assert isinstance(choose(problem(streamed(), penalty=[pm.L1(0.1)])).solver, pm.FISTA)
    coupled = pm.Huber()
    real = pm.Targets.from_labels(np.nan_to_num(Y), coding="real")
    assert isinstance(choose(pm.Problem(coupled, streamed(), real, RIDGE)).solver, pm.LBFGS)


def test_derivatives_by_autograd_are_those_of_features_in_memory():
    found = []
    for design in (streamed(), pm.SharedDesign(X, intercept=True)):
        W = torch.full((D + 1, M), 0.1, dtype=torch.float64, requires_grad=True)
        data = problem(design).data
        value = data.value(design.scores(W))
        (grad,) = torch.autograd.grad(value, W, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), W)
        _, swept, own = design.evaluate(data, W)
        (again,) = torch.autograd.grad(swept, W)
        found.append((value, grad, second, own, again))
    for streams, memory in zip(*found, strict=True):
        torch.testing.assert_close(streams, memory)


def test_shares_in_float32_are_added_in_float64():
    """A sum of many blocks, of which each is lost beside the first in float32."""
    rows = np.full((4000, 1), 2.0**-13, np.float32)
    rows[0] = 1.0
    design = StreamedDesign(rows, memory=20)
    assert design.blocks.rows == 1
    ones = torch.ones(4000, 1)
    exact = rows.astype(np.float64).sum()
    for found in (
        design.adjoint(ones),
        design.sweep(torch.zeros(1, 1), lambda rows, _: (ones[rows],))[1][0],
    ):
        assert float(found) == np.float32(exact)
