"""Products with few rows of weights, and adjoints that were made just before."""

import pytest
import scipy.sparse as sp
import torch

import proxmtl as pm
from proxmtl.designs import kept

N, D, M = 128, 1024, 3


def made(*, intercept=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N, D, dtype=dtype, generator=generator)
    R = torch.randn(N, M, dtype=torch.float64, generator=generator)
    return X, pm.SharedDesign(X, intercept=intercept), R


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("intercept", [False, True])
def test_scores_of_few_rows_are_those_of_all(intercept, dtype):
    X, design, _ = made(intercept=intercept, dtype=dtype)
    W = torch.zeros(D + intercept, M, dtype=torch.float64)
    W[[3, 500, 1000]] = torch.arange(1.0, 10.0, dtype=torch.float64).reshape(3, M) / 9
    W[D:] = 0.5
    assert kept.few_rows(X, W[:D]).tolist() == [3, 500, 1000]
    expected = X.double() @ W[:D] + (0.5 if intercept else 0.0)
    # three products and an intercept: few roundings in float64
    torch.testing.assert_close(design.scores(W), expected, rtol=1e-13, atol=1e-13)


def test_scores_of_few_rows_of_sparse_features():
    X, *_ = made()
    X = torch.where(torch.arange(D) % 2 == 0, X, 0.0).repeat(4, 1)  # 262,144 entries are stored
    W = torch.zeros(D, M, dtype=torch.float64)
    W[[3, 500, 1000]] = torch.arange(9.0, dtype=torch.float64).reshape(3, M)
    design = pm.SharedDesign(sp.csr_matrix(X.numpy()))
    assert kept.few_rows(design.X, W).tolist() == [3, 500, 1000]
    torch.testing.assert_close(design.scores(W), X @ W, rtol=1e-13, atol=1e-13)
    assert design.share_of(torch.tensor([3, 500, 1000])) == 2 / 512  # column 3 stores nothing
    assert pm.SharedDesign(X).share_of(torch.tensor([3, 500, 1000])) == 3 / D


def test_rows_are_few_only_where_they_pay():
    X, *_ = made()
    W = torch.zeros(D, M)
    assert len(kept.few_rows(X, W)) == 0
    W[: D // kept.SPARSE] = 1.0
    assert len(kept.few_rows(X, W)) == D // kept.SPARSE
    W[D - 1] = torch.nan  # counts as a row that is not zero
    assert kept.few_rows(X, W) is None
    assert kept.few_rows(X[:8], W.zero_()) is None  # small


def test_the_last_adjoint_is_made_once(monkeypatch):
    _, design, R = made()
    first = design.adjoint(R)
    monkeypatch.setattr("proxmtl.designs.shared.transposed", None)  # a product would fail
    again = design.adjoint(R.clone())
    assert torch.equal(again, first)
    again += 1.0  # a copy: what is kept stays
    assert torch.equal(design.adjoint(R), first)
    assert torch.equal(design.with_unit(2.0).adjoint(R), first)
    with pytest.raises(TypeError):
        design.adjoint(R.float())
    R[0, 0] += 1.0
    with pytest.raises(TypeError):
        design.adjoint(R)
    with pytest.raises(TypeError):
        design.take(torch.arange(N)).adjoint(R)


@pytest.mark.parametrize("intercept", [False, True])
def test_a_sweep_leaves_the_first_adjoint_and_takes_it(intercept):
    _, design, R = made(intercept=intercept)
    W = torch.zeros(D + intercept, M, dtype=torch.float64)

    def residuals(rows, scores):
        return (R, 2 * R) if intercept else (R,)

    scores, adjoints = design.sweep(W, residuals)
    assert torch.equal(scores, torch.zeros_like(R))
    known = design.kept["adjoint"][1]
    assert torch.equal(design.adjoint(R)[:D], known)
    again = design.sweep(W, residuals)[1]
    for one, other in zip(adjoints, again, strict=True):
        # sums of N products, in another order: sqrt(N) roundings, some more for the largest
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_nothing_is_kept_where_gradients_are_recorded():
    _, design, R = made()
    R.requires_grad_()
    design.adjoint(R).sum().backward()
    assert R.grad is not None
    assert "adjoint" not in design.kept


def test_gradients_of_scores_reach_rows_that_are_zero():
    X, design, _ = made()
    W = torch.zeros(D, M, dtype=torch.float64, requires_grad=True)
    design.scores(W).sum().backward()
    torch.testing.assert_close(W.grad, X.sum(0)[:, None].expand(D, M))
