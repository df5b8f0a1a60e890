"""Products with the factors of W = L S are those with W."""

import pytest
import torch
from arithmetic import assert_same_sums
from scipy.sparse import csr_matrix

from proxmtl import Logistic, SharedDesign, SquaredHinge, Targets, TaskDesign
from proxmtl.data_term import DataTerm
from proxmtl.designs import CentredDesign

N, D, K, M = 40, 12, 2, 9


def posed(kind, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N, D, generator=generator, dtype=dtype) + 3
    X[X < 2] = 0
    labels = torch.where(torch.randn(N, M, generator=generator) > 0, 1.0, -1.0)
    labels[torch.rand(N, M, generator=generator) < 0.3] = 0  # missing: means differ by task
    features = csr_matrix(X.numpy()) if kind == "sparse" else X
    design = SharedDesign(features, intercept=kind != "no intercept")
    targets = Targets.from_labels(labels.to(dtype))
    if kind == "units":
        design = design.with_unit(4.0)
    if kind == "centred":
        sums = X.double().T @ targets.weights.double()
        design = CentredDesign(design, sums / targets.weights.double().sum(0))
    L, S = torch.randn(D, K, generator=generator), torch.randn(K, M, generator=generator)
    bias = None if kind == "no intercept" else torch.randn(M, generator=generator).to(dtype)
    return design, targets, L.to(dtype), S.to(dtype), bias


@pytest.mark.parametrize("loss", [SquaredHinge(), Logistic()], ids=["hinge", "logistic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("kind", ["dense", "sparse", "no intercept", "units", "centred"])
def test_factored_products_are_those_of_the_product(kind, dtype, loss):
    design, targets, L, S, bias = posed(kind, dtype)
    assert design.factors_pay(K, M)
    W = design.join(L @ S, bias)
    Z = design.scores(W)
    # sums of D products with L, of K with S, and of the means, each of sums of absolute values
    exact, _, _, _, _ = posed("units" if kind == "units" else "dense", torch.float64)
    X = exact.X.abs()
    size = X @ (L.abs() @ S.abs()).double() + X.mean() * (L.abs().sum(0) @ S.abs()).double()
    size = size + (0 if bias is None else 4 * bias.abs().double())
    length = 2 * D + K + 4
    assert_same_sums(design.factored_scores(L, S, bias), Z, sizes=size, length=length)
    value, along_L, along_S, along_bias = design.factored_loss_and_grads(
        DataTerm(loss, targets), L, S, bias
    )
    expected, slope = design.loss_and_grad(DataTerm(loss, targets), W)
    G, of_bias = design.split(slope)
    # residuals err as the scores do, times the weights: the curvature is at most one
    R = loss.grad(Z, targets.labels, targets.weights).abs().double()
    R = R + targets.weights * size
    back = X.T @ R + X.mean() * R.sum(0)
    terms = 2 * length + N + M
    assert_same_sums(value, expected, sizes=(R * (1 + size)).sum(), length=terms + N * M)
    assert_same_sums(along_L, G @ S.T, sizes=back @ S.abs().double().T, length=terms)
    assert_same_sums(along_S, L.T @ G, sizes=L.abs().double().T @ back, length=terms + D)
    if bias is not None:
        assert_same_sums(along_bias, of_bias, sizes=4 * R.sum(0), length=terms)


def test_thick_factors_and_features_of_each_task_take_products_with_w():
    design, targets, _, _, _ = posed("dense")
    assert not design.factors_pay(M, M)
    assert not TaskDesign([design.X] * M).factors_pay(1, M)
    with pytest.raises(NotImplementedError, match="no products with factors"):
        TaskDesign([design.X] * M).factored_scores(torch.ones(D, 1), torch.ones(1, M), None)
    with pytest.raises(NotImplementedError, match="use loss_and_grad"):
        TaskDesign([design.X] * M).factored_loss_and_grads(
            DataTerm(SquaredHinge(), targets), torch.ones(D, 1), torch.ones(1, M), None
        )
