"""Sparse features minus one origin: the design of a dense copy, which is never made."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from proxmtl import FISTA, L1, Problem, RelativeGap, SharedDesign, SquaredHinge, Targets, minimize
from proxmtl.data_term import DataTerm
from proxmtl.designs import CentredDesign, ShiftedDesign
from proxmtl.numerics import column_moments

RNG = np.random.default_rng(0)
N, D, M = 40, 7, 3
X = RNG.normal(size=(N, D)) * (RNG.random((N, D)) < 0.4) + 0.0
X[:, 2] += 5
ORIGIN = RNG.normal(size=D)
Y = np.sign(RNG.normal(size=(N, M)))
WEIGHTS = RNG.random((N, M))
TARGETS = Targets.from_labels(Y, sample_weight=WEIGHTS)


def both(intercept, origin=ORIGIN):
    thin = ShiftedDesign(csr_array(X), origin, intercept=intercept)
    return thin, SharedDesign(X - origin, intercept=intercept)


@pytest.mark.parametrize("unit", [1.0, 8.0])
@pytest.mark.parametrize("intercept", [False, True])
def test_products_are_those_of_the_copy(intercept, unit):
    thin, full = (design.with_unit(unit) if intercept else design for design in both(intercept))
    W, R = torch.from_numpy(RNG.normal(size=(D + intercept, M))), torch.from_numpy(Y)
    torch.testing.assert_close(thin.scores(W), full.scores(W), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(thin.adjoint(R), full.adjoint(R), rtol=1e-12, atol=1e-12)
    for found, expected in zip(
        thin.loss_and_grad(DataTerm(SquaredHinge(), TARGETS), W),
        full.loss_and_grad(DataTerm(SquaredHinge(), TARGETS), W),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    L = torch.from_numpy(RNG.normal(size=(D, 2)))
    S = W[: 2 + intercept]
    torch.testing.assert_close(thin.times(L).scores(S), full.times(L).scores(S))
    assert thin.magnitude() == pytest.approx(full.magnitude(), rel=1e-12)
    weights = torch.from_numpy(WEIGHTS[:, 0])
    for found, expected in zip(thin.moments(weights)[:2], full.moments(weights)[:2], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("left", [np.inf, 0], ids=["spectrum", "trace"])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_curvatures_are_bounds(offset, left):
    thin, full = both(False, column_moments(X).mean.numpy() + offset)
    thin.curvature_left = left
    exact = torch.tensor(
        [
            float(torch.linalg.eigvalsh(full.X.T @ (c[:, None] * full.X))[-1])
            for c in TARGETS.weights.T
        ]
    )
    found = thin.curvature_by_task(TARGETS)
    assert bool((found >= exact).all())
    heaviest = TARGETS.weights.amax(0) * torch.linalg.matrix_norm(full.X, 2) ** 2
    assert bool((found <= (1.03 if left else D) * heaviest).all())


def test_further_centring_is_that_of_the_copy():
    thin, full = both(True)
    means = torch.from_numpy(RNG.normal(size=(D, M)))
    W = torch.from_numpy(RNG.normal(size=(D + 1, M)))
    one, other = CentredDesign(thin, means), CentredDesign(full, means)
    torch.testing.assert_close(one.scores(W), other.scores(W), rtol=1e-12, atol=1e-12)
    exact = (full.X.T @ full.X - N * torch.outer(full.X.mean(0), full.X.mean(0))).numpy()
    least = float(TARGETS.weights.amax()) * np.linalg.eigvalsh(exact)[-1]
    assert least <= float(one.curvature_by_task(TARGETS).max()) <= 1.03 * least


def test_a_solve_is_that_of_the_copy():
    solved = [
        minimize(
            Problem(SquaredHinge(), design, TARGETS, L1(1.0)), FISTA(), stop=RelativeGap(1e-12)
        )
        for design in both(True)
    ]
    torch.testing.assert_close(solved[0].solution, solved[1].solution, rtol=0, atol=1e-5)
    assert solved[0].objective == pytest.approx(solved[1].objective, rel=1e-11)


@pytest.mark.parametrize("origin", [np.zeros(D - 1), np.full(D, np.nan), np.zeros((1, D))])
def test_bad_origins(origin):
    with pytest.raises(ValueError, match="origin: expected 7 finite numbers"):
        ShiftedDesign(csr_array(X), origin)


def test_it_has_no_samples_and_takes_labels_of_a_matrix():
    thin, _ = both(True)
    assert not thin.has_samples
    with pytest.raises(ValueError, match="do not fit shared features of 40 samples"):
        thin.check_targets(Targets.from_labels(Y[:-1]))
