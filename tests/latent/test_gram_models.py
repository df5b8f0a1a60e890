"""Gram-Newton's quadratic models, and the steps that minimise them."""

import numpy as np
import pytest
import torch
from joint_cases import STRENGTHS, posed, shared
from scipy import sparse
from solver_cases import PAIRS, D, M, N, data, latent_start

from proxmtl import LatentProblem, MaxIterations, Problem, SharedDesign, SquaredHinge, Targets
from proxmtl.latent import GramNewton, gram_newton, grams, inner, manifold
from proxmtl.solvers import run

# ------------------------------------------------------------------ Gram matrices and counts


class Watched(SharedDesign):
    """Counts its products and the rows that it gives."""

    products, given = 0, 0

    def scores(self, W):
        self.products += 1
        return super().scores(W)

    def adjoint(self, residuals):
        self.products += 1
        return super().adjoint(residuals)

    def samples(self, task, entries):
        self.given += len(entries)
        return super().samples(task, entries)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_passes_are_the_products_and_the_operations_of_gram_matrices(missing):
    X, *_ = data()
    design = Watched(X)
    posed = Targets.from_labels(data(missing=missing)[1])
    problem = LatentProblem(SquaredHinge(), design, posed, PAIRS, **STRENGTHS)
    result = run(problem, GramNewton(), latent_start(problem), MaxIterations(11))
    certificates = 2  # of the last point: a product and its transpose
    of_grams = 2 * design.given * D**2 / (4 * N * D * M)
    assert result.passes == pytest.approx((design.products - certificates) / 2 + of_grams)
    assert design.given > N


def dense(problem, weights):
    """Gram matrices by their definition."""
    out = []
    for m, column in enumerate(grams.by_task(problem, weights)):
        rows = problem.design.samples(m, torch.arange(len(column)))
        if problem.design.intercept:
            rows = torch.cat([rows, torch.ones(len(rows), 1, dtype=rows.dtype)], 1)
        out.append(rows.T @ (column[:, None] * rows))
    return torch.stack(out)


def of_pairs():
    """Labels of some pairs of a sample and a task, whose tasks lie among each other."""
    X, Y, *_ = data(missing=0.3)
    Y = Y.numpy()
    places = np.nonzero(~np.isnan(Y))
    labels = sparse.csr_array((Y[places], places), shape=Y.shape)
    found = Problem.of(X, labels)
    return LatentProblem(SquaredHinge(), found.design, found.targets, PAIRS, **STRENGTHS)


NAMES = ["all labels", "missing labels, weights", "features per task", "labels of pairs"]


@pytest.mark.parametrize("name", NAMES)
def test_gram_matrices_follow_their_weights(name):
    problem = of_pairs() if name == "labels of pairs" else posed(name)[0]
    bound = problem.loss.curvature_bound * problem.targets.weights
    full, scales = grams.full_grams(problem)
    assert len(full) == (1 if name == "all labels" else M)
    expanded = full * scales[:, None, None]
    torch.testing.assert_close(expanded, dense(problem, bound), rtol=1e-10, atol=1e-10)
    generator = torch.Generator().manual_seed(1)
    kept, held = expanded, bound
    for share in (0.95, 0.5, 0.45, 0.9):
        before, wanted = (
            kept.clone(),
            bound * (torch.rand(bound.shape, generator=generator) < share),
        )
        moved, held = grams.moved_grams(problem, kept, held, wanted)
        assert torch.equal(kept, before)
        assert torch.equal(held, wanted)
        kept = moved
        torch.testing.assert_close(kept, dense(problem, wanted), rtol=1e-10, atol=1e-9)
    passes = problem.counts.passes
    again, _ = grams.moved_grams(problem, kept, held, wanted * 1.1)  # hardly moved
    assert again is kept
    assert problem.counts.passes == passes


@pytest.mark.parametrize("own", [None, 0.3, 1e-9])
@pytest.mark.parametrize("intercept", [True, False])
def test_the_reduced_model_is_the_minimum_over_what_is_eliminated(own, intercept):
    problem = shared(own=own, intercept=intercept, n=12)
    blocks = latent_start(problem)
    V = problem.parts(blocks).own
    hessians = dense(problem, problem.targets.weights)
    slope = torch.randn(
        problem.zeros().shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    model = grams.reduced(problem, hessians, slope, V)

    def quadratic(W, b, own_change):
        """Change of the loss's model and of the ridge."""
        move = W if own_change is None else W + own_change
        move = problem.design.join(move, b)
        value = (move * (grams.times(hessians, move) / 2 + slope)).sum()
        if own_change is not None:
            value = value + own * ((V + own_change).square().sum() - V.square().sum())
        return float(value)

    generator = torch.Generator().manual_seed(4)
    for scale in (0.0, 0.1, 1.0):
        W = scale * torch.randn(D, M, generator=generator, dtype=torch.float64)
        b, change = model.others(W)
        least = quadratic(W, b, change)
        predicted = (W * (grams.times(model.hessians, W) / 2 + model.slopes)).sum() - model.gain
        assert least == pytest.approx(float(predicted), rel=1e-6)
        for _ in range(5):  # every other point is above
            other = None if b is None else b + 0.1 * torch.randn(M, generator=generator)
            moved = (
                None if change is None else change + 0.1 * torch.randn(D, M, generator=generator)
            )
            assert quadratic(W, other, moved) >= least


# ------------------------------------------------------------------ the model and its Newton steps


def model_at(name, K=3):
    view, start = posed(name)
    state = GramNewton().init(view, start)
    L, S, _, own = view.parts(state.blocks)
    hessians = state.full * state.scales[:, None, None]
    quadratic = grams.reduced(view, hessians, state.slope, own)
    model = inner.Model(view, quadratic, L @ S)
    generator = torch.Generator().manual_seed(5)
    L = torch.randn(D, K, generator=generator, dtype=torch.float64)
    S = torch.randn(K, M, generator=generator, dtype=torch.float64)
    L[0, 0], L[2, 1], S[1, :2] = 0, 0, 0
    return model, model.at(L, S)


def minimised(model, point, tolerance):
    factors = point.L, point.S
    return inner.minimise(model, factors, inner.Memory(), tolerance=tolerance, rounds=60)[0]


def on_manifold(point, model, seed):
    generator = torch.Generator().manual_seed(seed)
    move_L = torch.randn(point.L.shape, generator=generator, dtype=torch.float64)
    move_S = torch.randn(point.S.shape, generator=generator, dtype=torch.float64)
    return move_L * (point.L != 0), move_S * (point.S != 0)


each_model = pytest.mark.parametrize(
    "name", ["all labels", "own parts", "overlapping groups", "features per task", "logistic"]
)


@each_model
def test_gradients_and_hessian_products_are_those_of_finite_differences(name):
    model, point = model_at(name)
    assert model.penalty(point.L, point.S) == pytest.approx(
        model.problem.factor_penalty(point.L, point.S), rel=1e-12
    )
    h = 1e-5
    for seed in range(3):
        move = on_manifold(point, model, seed)
        ahead, back = (
            model.at(point.L + sign * h * move[0], point.S + sign * h * move[1]) for sign in (1, -1)
        )
        of_L, of_S = manifold.gradient_of(model, point)
        along = float((of_L * move[0]).sum() + (of_S * move[1]).sum())
        # third derivatives are of the size of the values: h^2 and eps / h are left
        assert (ahead.value - back.value) / (2 * h) == pytest.approx(along, rel=1e-6, abs=1e-6)
        product = manifold.hessian_product(model, point, *move)
        slopes = [manifold.gradient_of(model, each) for each in (ahead, back)]
        for found, high, low in zip(product, *slopes, strict=True):
            torch.testing.assert_close((high - low) / (2 * h), found, rtol=1e-6, atol=1e-5)


@each_model
def test_directions_solve_newtons_equations(name, monkeypatch):
    model, point = model_at(name)
    point = minimised(model, point, 1e-3)
    monkeypatch.setattr(manifold, "ROUNDING", 0.0)
    gradient = manifold.gradient_of(model, point)
    live = point.L != 0, manifold.live_entries(model, point.S)
    factored = manifold.factored(model, point, gradient, live, 0.0)
    product = manifold.hessian_product(model, point, *factored)
    size = max(float(g.abs().max()) for g in gradient)
    for g, Hd in zip(gradient, product, strict=True):
        torch.testing.assert_close(Hd, -g, rtol=1e-6, atol=1e-6 * size)
    monkeypatch.setattr(manifold, "ACCURACY", 1e-10)
    iterated = manifold.iterated(model, point, gradient, live, 0.0)
    for a, b in zip(iterated, factored, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(b.abs().max()))


@each_model
def test_an_inner_solve_ends_at_a_stationary_point_of_its_model(name):
    model, start = model_at(name)
    passes = model.problem.counts.passes
    point = minimised(model, start, 1e-9)
    assert model.residual(point) <= 1e-9
    assert point.value < start.value
    assert model.problem.counts.passes == passes


def test_a_bad_model_raises_the_share_of_the_majoriser(monkeypatch):
    problem = shared()
    view = problem.in_units()
    solver = GramNewton()
    state = solver.init(view, view.inside(latent_start(problem)))
    # a model without curvature, far from the loss: the step to its minimum is not taken
    state.theta, state.grams = 1e-3, 0 * state.full * state.scales[:, None, None]
    monkeypatch.setattr(gram_newton, "_with_grams", lambda _, state: state)
    new = solver.step(view, state)
    assert new.objective < state.objective
    assert new.theta > 1e-3
