"""Designs of some samples, or of some features, are those parts of the whole."""

import pytest
import torch
from solver_cases import data, ragged, targets

from proxmtl import FactoredDesign, SharedDesign, TaskDesign
from proxmtl.designs import Design, RestrictedDesign, ShiftedDesign


def design(kind, *, intercept):
    X, *_ = data()
    if kind == "task":
        return ragged("l1", intercept=intercept).design, ragged("l1").targets
    if kind == "csr":
        X = (X * (X > 0.3)).to_sparse_csr()
    base = SharedDesign(X, intercept=intercept)
    if kind == "shifted":
        thin = (X * (X > 0.3)).to_sparse_csr()
        base = ShiftedDesign(thin, torch.arange(X.shape[1]).double() / 3, intercept=intercept)
    generator = torch.Generator().manual_seed(5)
    if kind == "L fixed":
        L = torch.randn(6, 6, generator=generator, dtype=torch.float64)
        base = FactoredDesign(base, L=L)
    elif kind == "S fixed":
        S = torch.randn(6, 4, generator=generator, dtype=torch.float64)
        bias = torch.arange(4).double() if intercept else None
        base = FactoredDesign(base, S=S, bias=bias)
    return base, targets()


pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
each = pytest.mark.parametrize("kind", ["dense", "csr", "shifted", "task", "L fixed", "S fixed"])
with_and_without = pytest.mark.parametrize("intercept", [False, True])


def point(made, t, seed=0):
    shape = made.parameter_shape(t)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


@each
@with_and_without
@pytest.mark.parametrize("entries", [[0, 3, 4, 11], [5, 6, 7, 8], [2]])
def test_some_samples(kind, intercept, entries):
    whole, t = design(kind, intercept=intercept)
    chosen = torch.tensor(entries if kind != "task" else [*entries, 41, 42, 70, 107])
    part, W = whole.take(chosen), point(whole, t)
    torch.testing.assert_close(part.scores(W), whole.scores(W)[chosen])
    residuals = torch.randn(t.labels.shape, generator=torch.Generator().manual_seed(1)).double()
    only = torch.zeros_like(residuals)
    only[chosen] = residuals[chosen]
    torch.testing.assert_close(part.adjoint(residuals[chosen]), whole.adjoint(only))
    few = t.take(chosen)
    assert few.n_tasks == t.n_tasks
    assert float(part.lipschitz(few)) <= 1.05 * whole.lipschitz(t)
    assert whole.scores(W).shape == t.labels.shape  # the whole is as it was


def test_samples_of_some_tasks_only():
    whole, t = design("task", intercept=True)
    chosen = torch.arange(40)  # all of the first task
    part, few = whole.take(chosen), t.take(chosen)
    curvature = part.curvature_by_task(few)
    assert float(curvature[0]) == float(whole.curvature_by_task(t)[0]) > 0
    assert curvature[1:].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["dense", "csr", "task", "S fixed"])
@with_and_without
@pytest.mark.parametrize("features", [[0, 2, 3], [1, 2, 3], [5], []])
def test_some_features(kind, intercept, features):
    whole, t = design(kind, intercept=intercept)
    W = point(whole, t)
    mask = torch.zeros(6, dtype=torch.bool)
    mask[features] = True
    W[:6][~mask] = 0
    part = RestrictedDesign(whole, mask)
    assert part.parameter_shape(t) == whole.parameter_shape(t)
    assert part.share == len(features) / 6
    torch.testing.assert_close(part.scores(W), whole.scores(W))
    torch.testing.assert_close(part.linear(W), whole.linear(W))
    residuals = whole.scores(W)
    expected = whole.adjoint(residuals)
    expected[:6][~mask] = 0
    torch.testing.assert_close(part.adjoint(residuals), expected)
    part.check_targets(t)


def test_consecutive_samples_and_features_are_views():
    X, *_ = data()
    shared = SharedDesign(X)
    assert shared.take(torch.arange(5, 9)).X.data_ptr() == X[5:].data_ptr()
    assert shared.narrowed(torch.arange(2, 4)).X.data_ptr() == X[:, 2:].data_ptr()
    tasks = TaskDesign([X, X[:7]])
    part = tasks.take(torch.tensor([3, 4, 42]))
    assert [len(x) for x in part.X] == [2, 1]
    assert part.X[0].data_ptr() == X[3:].data_ptr()


def test_a_design_that_gives_no_parts_says_so():
    class Whole(Design):
        parameter_shape = scores = adjoint = check_targets = curvature_by_task = None

    Whole.__abstractmethods__ = frozenset()
    with pytest.raises(NotImplementedError, match=r"Whole does not give its samples in batches"):
        Whole().take(torch.arange(2))
    with pytest.raises(NotImplementedError, match=r"Whole does not give some of its features"):
        Whole().narrowed(torch.arange(2))
    latents, _ = design("L fixed", intercept=False)
    with pytest.raises(NotImplementedError, match=r"every latent reads all features.*cached"):
        latents.narrowed(torch.arange(2))
