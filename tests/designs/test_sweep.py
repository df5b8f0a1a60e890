"""One read of the features for scores and gradients: the same numbers as of two products."""

import pytest
import scipy.sparse
import torch
from arithmetic import assert_same_sums

from proxmtl import SharedDesign, TaskDesign
from proxmtl.designs import products, task
from proxmtl.designs.centred import CentredDesign
from proxmtl.designs.shifted import ShiftedDesign

N, D, M = 37, 5, 3


def features(dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(N, D, generator=generator, dtype=dtype)


def sparse(dtype):
    X = features(dtype)
    return scipy.sparse.csr_matrix(torch.where(X > 0, X, 0.0).numpy())


DESIGNS = {
    "shared": lambda dtype: SharedDesign(features(dtype), intercept=True),
    "shared, no intercept": lambda dtype: SharedDesign(features(dtype)),
    "shared, in units": lambda dtype: SharedDesign(features(dtype), intercept=True).with_unit(4.0),
    "sparse": lambda dtype: SharedDesign(sparse(dtype), intercept=True),
    "tasks": lambda dtype: TaskDesign(
        [features(dtype, m)[: N - 9 * m] for m in range(M)], intercept=True
    ),
    "tasks, no intercept": lambda dtype: TaskDesign([features(dtype, m) for m in range(M)]),
    "tasks, in units": lambda dtype: TaskDesign(
        [features(dtype, m) for m in range(M)], intercept=True
    ).with_unit(4.0),
    "centred": lambda dtype: CentredDesign(
        SharedDesign(features(dtype), intercept=True), torch.full((D, M), 0.3).double()
    ),
    "shifted": lambda dtype: ShiftedDesign(sparse(dtype), torch.full((D,), 0.2)),
}


def residuals_of(rows, scores):
    place = torch.arange(rows.start, rows.stop, dtype=scores.dtype)
    place = place if scores.ndim == 1 else place[:, None]
    return scores.tanh() * place, scores.clamp_min(0)


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("entries", [1, 20, 1 << 18])
def test_a_sweep_gives_the_scores_and_both_adjoints(name, dtype, entries, monkeypatch):
    monkeypatch.setattr(products, "CACHED", (entries, entries))
    monkeypatch.setattr(products, "FEWEST", 1)
    monkeypatch.setattr(task, "SWEPT", 0)
    design = DESIGNS[name](dtype)
    generator = torch.Generator().manual_seed(3)
    W = torch.randn(D + int(design.intercept), M, generator=generator, dtype=torch.float64)
    scores, adjoints = design.sweep(W, residuals_of)
    plain = design.scores(W)
    # sums of a few products of numbers of the size of 1, with those of the means of features
    assert_same_sums(scores, plain, sizes=plain.abs() + 8 * W.abs().sum(), length=4 * D)
    for own, residuals in zip(adjoints, residuals_of(slice(0, len(plain)), plain), strict=True):
        size = 8 * (1 + W.abs().sum()) * residuals.abs().sum() * N
        assert_same_sums(own, design.adjoint(residuals), sizes=size, length=N + 4 * D)


@pytest.mark.parametrize("name", ["shared", "tasks"])
def test_features_of_another_precision_are_read_once(name, monkeypatch):
    monkeypatch.setattr(products, "CACHED", (20, 20))
    monkeypatch.setattr(task, "SWEPT", 0)
    design = DESIGNS[name](torch.float32)
    read = []
    blocks = products._cached_blocks
    monkeypatch.setattr(
        products, "_cached_blocks", lambda X, *other: read.append(X.numel()) or blocks(X, *other)
    )
    W = torch.ones(D + 1, M, dtype=torch.float64)
    design.sweep(W, residuals_of)
    assert sum(read) == sum(X.numel() for X in ([design.X] if name == "shared" else design.X))
