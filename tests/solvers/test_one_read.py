"""Solvers and certificates that read the features once where a kernel or a block allows it."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse
import torch
from solver_cases import convex, data, latent, latent_start, ragged

import proxmtl as pm
from proxmtl.designs import fused as by_kernel
from proxmtl.designs import products, shared, task
from proxmtl.solvers import Backtracking
from proxmtl.solvers.sized import in_size, size_of

SOLVERS = [pm.FISTA(), pm.MFISTA(), pm.PGD(), pm.AdPGM(), pm.DavisYin()]


@pytest.fixture
def fused(kernel_calls, monkeypatch):
    """Features of any size go through the kernel; its calls are listed."""
    for module in (shared, task):
        monkeypatch.setattr(module, "FUSED", 0)
    monkeypatch.setattr(shared, "WIDE", 0)
    return kernel_calls


@pytest.mark.parametrize("problem", [convex, ragged], ids=["shared", "by task"])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_iterations_take_one_call_of_the_kernel(solver, problem, fused):
    posed = problem("elastic" if problem is convex else "l1", intercept=True)
    result = pm.minimize(posed, solver, stop=pm.RelativeGap(1e-8) | pm.MaxIterations(1500))
    assert result.certificate.relative_gap <= 1e-8
    # all but the probe of the first step, of which the gradient alone is needed
    assert sum(not call["return_scores"] for call in fused) <= 1
    # a start, a probe, and steps that are tried again
    assert result.iterations <= len(fused) <= 1.3 * result.iterations + 3
    if not isinstance(solver, pm.DavisYin):  # which finds the curvature, in passes of its own
        # passes beyond one an iteration are those whose guess of the next point was wrong
        assert result.passes <= 1.5 * result.iterations + 5


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: type(s).__name__)
def test_looking_ahead_leads_to_the_same_points(solver, fused, monkeypatch):
    found = []
    for entries in (0, 1 << 60):
        monkeypatch.setattr(shared, "FUSED", entries)
        found.append(
            pm.minimize(convex(intercept=True), solver, stop=pm.MaxIterations(12)).solution
        )
    assert fused
    size = float(found[1].abs().max())
    # twelve steps, each a handful of sums over forty samples
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-11 * size)


@pytest.mark.parametrize("solver", SOLVERS[:3], ids=lambda s: type(s).__name__)
def test_a_run_that_looked_ahead_goes_on_to_the_bit(solver, fused, tmp_path):
    problem = convex(intercept=True)
    whole = pm.minimize(problem, solver, stop=pm.MaxIterations(14))
    half = pm.minimize(problem, solver, stop=pm.MaxIterations(7))
    assert half.state.ahead is not None
    torch.save(half.state.state_dict(), tmp_path / "half")
    fields = torch.load(tmp_path / "half", weights_only=True)
    rest = type(half.state).from_state_dict(fields)
    resumed = pm.minimize(problem, solver, state=rest, stop=pm.MaxIterations(14))
    assert torch.equal(resumed.solution, whole.solution)
    assert resumed.passes == whole.passes


def test_a_step_that_grows_is_foreseen(fused):
    """From a step far too short nearly every iteration tries a longer one, and one read serves."""
    result = pm.minimize(convex(), pm.FISTA(Backtracking(first=1e-4)), stop=pm.MaxIterations(40))
    assert result.passes <= 1.15 * result.iterations


@pytest.mark.parametrize("make", [convex, ragged, latent], ids=["shared", "by task", "latent"])
def test_a_certificate_is_one_read_and_counted(make, monkeypatch):
    problem = make(intercept=True)
    if isinstance(problem, pm.Problem):
        point = problem.zeros() + 0.1
        problem.certificate(point)  # finds the units at zero
    else:
        point = latent_start(problem)
    monkeypatch.setattr(products, "CACHED", (1, 1))
    before, calls = problem.counts.certificates, []
    sweep = type(problem.design).sweep

    def counted(self, *args):
        calls.append(args)
        return sweep(self, *args)

    def raises(*_):
        raise AssertionError("another read")

    monkeypatch.setattr(type(problem.design), "sweep", counted)
    monkeypatch.setattr(products, "sweeps", lambda *_: True)
    for module in (shared, task):
        monkeypatch.setattr(module, "sweeps", lambda *_: True)
    monkeypatch.setattr(task, "SWEPT", 0)
    for product in ("scores", "linear", "adjoint"):
        monkeypatch.setattr(type(problem.design), product, raises)
    passes = problem.counts.passes
    problem.certificate(point)
    assert len(calls) == 1
    assert problem.counts.certificates == before + 1
    assert problem.counts.passes == passes


def estimators():
    return {
        "LassoClassifier": pm.LassoClassifier(),
        "L21Classifier": pm.L21Classifier(),
        "GroupLassoClassifier": pm.GroupLassoClassifier(),
        "LatentMTLClassifier": pm.LatentMTLClassifier(n_latents=3),
        "LatentMTLClassifier, logistic": pm.LatentMTLClassifier(n_latents=3, loss="logistic"),
    }


@pytest.mark.parametrize("name", estimators())
def test_estimators_run_the_kernel(name, fused):
    X = np.random.default_rng(0).standard_normal((60, 8))
    Y = (X[:, :3] + 0.3 * X[:, 3:4] > 0).astype(float)
    estimators()[name].fit(X, Y)
    assert fused


def test_small_features_and_losses_without_a_kernel_take_two_products(monkeypatch):
    def raises(*_, **__):
        raise AssertionError("the kernel")

    monkeypatch.setattr(by_kernel, "hinge_value_and_grad", raises)
    pm.minimize(convex(), pm.FISTA(), stop=pm.MaxIterations(3))
    monkeypatch.setattr(shared, "FUSED", 0)
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    targets = pm.Targets.from_labels(X[:, :2].sign(), like=X)
    wide = pm.Problem(pm.Logistic(), pm.SharedDesign(X), targets, pm.L1(0.1))
    assert not wide.reads_once  # float32, and fewer features than the kernel wants
    pm.minimize(wide, pm.FISTA(), stop=pm.MaxIterations(3))


@pytest.mark.parametrize("solver", SOLVERS[:3], ids=lambda s: type(s).__name__)
def test_a_run_goes_on_under_another_loss_without_what_was_read_ahead(solver, fused):
    """The data are the same, so that the state is taken; its linearization is of the other loss."""
    X, Y, _ = data()
    targets = pm.Targets.from_labels(Y, like=X)
    design = pm.SharedDesign(X, intercept=True)
    hinge, logistic = (
        pm.Problem(loss, design, targets, pm.L1(0.5)) for loss in (pm.SquaredHinge(), pm.Logistic())
    )
    state = pm.minimize(hinge, solver, stop=pm.MaxIterations(5)).state
    assert state.ahead is not None
    found = pm.minimize(logistic, solver, state=state, stop=pm.MaxIterations(6)).solution
    plain = replace(state, ahead=None)
    expected = pm.minimize(logistic, solver, state=plain, stop=pm.MaxIterations(6)).solution
    assert torch.equal(found, expected)


def test_features_by_columns_are_not_read_once(monkeypatch):
    monkeypatch.setattr(task, "FUSED", 0)
    X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = pm.Targets.from_labels([X[:, 0].sign(), X[:, 1].sign()])
    for parts, expected in (([X, X], True), ([X, X.T.contiguous().T], False)):
        assert pm.Problem(pm.SquaredHinge(), pm.TaskDesign(parts), targets).reads_once is expected


def test_a_problem_on_another_design_keeps_nothing_of_the_first(fused):
    problem = convex(intercept=True)
    problem.certificate(problem.zeros())
    assert problem.reads_once
    kept = vars(problem.on(pm.SharedDesign(2 * problem.design.X, intercept=True)))
    assert not {"_at_zero", "reads_once", "_restricted_design"} & set(kept)
    sparse = scipy.sparse.csr_matrix(problem.design.X.numpy())
    assert not problem.on(pm.SharedDesign(sparse, intercept=True)).reads_once


@pytest.mark.parametrize("loss", [pm.Logistic(), pm.SquaredHinge(), pm.Squared()])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lbfgs_keeps_the_gradient_of_its_point_where_it_sweeps(loss, scale, dtype, monkeypatch):
    """Of tasks that take a whole step and of those that take another, in units of every size."""
    monkeypatch.setattr(products, "CACHED", (40, 40))
    monkeypatch.setattr(shared, "sweeps", lambda *_: True)
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(80, 9, generator=generator, dtype=dtype)
    noise = torch.randn(80, 3, generator=generator, dtype=dtype) * torch.tensor([0.1, 1.0, 5.0])
    Y = (X[:, :3] + noise).sign().to(dtype)
    Y[::5, 1] = torch.nan
    targets = pm.Targets.from_labels(Y, like=X)
    design = pm.SharedDesign(scale * X, intercept=True)
    posed = pm.Problem(loss, design, targets, pm.SquaredFrobenius(1e-3 * scale**2)).in_units()
    inside = in_size(posed, size_of(posed))
    solver, whole = pm.LBFGS(), 0
    state = solver.init(posed, posed.zeros())
    for _ in range(12):
        before = posed.counts.adjoint
        state = solver.step(posed, state)
        whole += posed.counts.adjoint == before + 1
        z = inside.design.scores(state.x)
        slope = inside.design.adjoint(inside.data.gradient(z))
        slope[:-1] += 2 * inside.ridge * state.x[:-1]
        largest = inside.design.adjoint(inside.data.gradient(torch.zeros_like(z))).abs().max()
        rounding = 32 * torch.finfo(dtype).eps * float(largest)
        torch.testing.assert_close(state.grad, slope, rtol=0, atol=rounding)
    assert whole > 0  # steps that are whole for all tasks, ...
    assert whole < 12 or not isinstance(loss, pm.Logistic)  # ... and some that are not
