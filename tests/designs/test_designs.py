"""Designs: scores and adjoint are transposes, curvature bounds hold, precision is kept."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from arithmetic import assert_same_sums
from scipy.sparse import csr_matrix
from strategies import classification

from proxmtl import FactoredDesign, SharedDesign, SquaredHinge, Targets, TaskDesign
from proxmtl.data_term import DataTerm
from proxmtl.designs import ObservedDesign, ShiftedDesign, StreamedDesign
from proxmtl.designs.products import GRAM_LIMIT, largest_curvature

N, D, M, K = 12, 5, 3, 2
SIZES = [7, 3, 12]


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def features(dtype=torch.float64):
    X = normal(N, D).to(dtype)
    X[X < -0.3] = 0
    return X


def csr(X):
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return X.to_sparse_csr()


def shared(intercept=False, dtype=torch.float64):
    return SharedDesign(features(dtype), intercept=intercept)


def sparse(intercept=False, dtype=torch.float64):
    return SharedDesign(csr(features(dtype)), intercept=intercept)


def shifted(intercept=False, dtype=torch.float64):
    return ShiftedDesign(csr(features(dtype)), normal(D, seed=2), intercept=intercept)


def ragged(intercept=False, dtype=torch.float64):
    return TaskDesign(
        [normal(n, D, seed=m).to(dtype) for m, n in enumerate(SIZES)], intercept=intercept
    )


def matrix_targets(dtype=torch.float64):
    Y = torch.where(normal(N, M, seed=9) > 0, 1.0, -1.0).to(dtype)
    Y[0], Y[1], Y[4, 1] = 1.0, -1.0, math.nan
    weights = normal(N, M, seed=8).abs().to(dtype)
    return Targets.from_labels(Y, sample_weight=weights, like=Y)


def ragged_targets(dtype=torch.float64):
    labels = [torch.where(normal(n, seed=m) > 0, 1.0, -1.0).to(dtype) for m, n in enumerate(SIZES)]
    for part in labels:
        part[:2] = torch.tensor([1.0, -1.0])
    weights = [normal(n, seed=20 + m).abs().to(dtype) for m, n in enumerate(SIZES)]
    return Targets.from_labels(labels, sample_weight=weights, like=labels[0])


def streamed(intercept=False, dtype=torch.float64):
    parts = [part.numpy() for part in features(dtype).split([5, 1, 6])]
    return StreamedDesign(parts, intercept=intercept, memory=3 * 2 * D * dtype.itemsize)


def some_pairs():
    """Nine pairs in twelve, at random; sample 3 has none."""
    kept = normal(N, M, seed=11) > -0.7
    kept[3] = False
    kept[:2] = True
    return torch.nonzero(kept, as_tuple=True)


def observed(intercept=False, dtype=torch.float64):
    return ObservedDesign(shared(intercept, dtype), *some_pairs(), M)


def observed_streamed(intercept=False, dtype=torch.float64):
    return ObservedDesign(streamed(intercept, dtype), *some_pairs(), M)


def observed_targets(dtype=torch.float64):
    whole, (rows, tasks) = matrix_targets(dtype), some_pairs()
    return Targets(whole.labels[rows, tasks], whole.weights[rows, tasks], M, tasks)


BASES = {
    "shared": shared,
    "csr": sparse,
    "streamed": streamed,
    "shifted": shifted,
    "task": ragged,
    "observed": observed,
    "observed_streamed": observed_streamed,
}


def factored(kind, fixed):
    base = BASES[kind]

    def make(intercept=False, dtype=torch.float64):
        design = base(intercept, dtype)
        if fixed == "S":
            return FactoredDesign(
                design,
                S=normal(K, M, seed=3).to(dtype),
                bias=normal(M, seed=4).to(dtype) if intercept else None,
            )
        made = FactoredDesign(design, L=normal(D, K, seed=5).to(dtype))
        return made.cached() if fixed == "cached" else made

    return make


FIXED = ("L", "S", "cached")
DESIGNS = {
    **BASES,
    **{
        f"{kind}-{fixed}": factored(kind, fixed) for kind in BASES for fixed in ("L", "S", "cached")
    },
}

each = pytest.mark.parametrize("name", DESIGNS)
with_and_without = pytest.mark.parametrize("intercept", [False, True])


def targets_for(name, dtype=torch.float64):
    if name.startswith("observed"):
        return observed_targets(dtype)
    return ragged_targets(dtype) if name.startswith("task") else matrix_targets(dtype)


def at_random(name, intercept):
    """A design and its targets, parameters and residuals."""
    design, targets = DESIGNS[name](intercept), targets_for(name)
    W = normal(*design.parameter_shape(targets), seed=6)
    return design, targets, W, normal(*targets.labels.shape, seed=7)


def dense_map(design, targets):
    """Matrix of the linear part of the scores, column by column."""
    shape = design.parameter_shape(targets)
    zero = torch.zeros(shape, dtype=torch.float64)
    offset = design.scores(zero)
    columns = []
    for i in range(zero.numel()):
        unit = torch.zeros(zero.numel(), dtype=torch.float64)
        unit[i] = 1
        columns.append((design.scores(unit.reshape(shape)) - offset).reshape(-1))
    return torch.stack(columns, dim=1)


@each
@with_and_without
def test_adjoint_is_the_transpose_of_the_linear_part(name, intercept):
    design, _, W, R = at_random(name, intercept)
    linear = design.scores(W) - design.scores(torch.zeros_like(W))
    forward, back = float((linear * R).sum()), float((W * design.adjoint(R)).sum())
    assert forward == pytest.approx(back, rel=1e-12)
    assert design.adjoint(R).shape == W.shape


@each
@with_and_without
def test_parameters_and_residuals_are_not_modified(name, intercept):
    design, targets, W, R = at_random(name, intercept)
    kept = W.clone(), R.clone()
    design.scores(W)
    design.adjoint(R)
    design.loss_and_grad(DataTerm(SquaredHinge(), targets), W)
    assert torch.equal(W, kept[0])
    assert torch.equal(R, kept[1])


@each
@with_and_without
def test_lipschitz_bounds_the_true_largest_eigenvalue(name, intercept):
    design, targets = DESIGNS[name](intercept), targets_for(name)
    A = dense_map(design, targets)
    true = float(torch.linalg.eigvalsh(A.T @ (targets.weights.reshape(-1, 1) * A))[-1])
    assert true <= design.lipschitz(targets) * (1 + 1e-12)
    assert design.lipschitz(targets) <= 60 * true


@each
@with_and_without
def test_loss_gradient_is_that_of_autograd(name, intercept):
    design, targets = DESIGNS[name](intercept), targets_for(name)
    W = normal(*design.parameter_shape(targets), seed=6).requires_grad_()
    loss = SquaredHinge()
    loss.value(design.scores(W), targets.labels, targets.weights).backward()
    value, gradient = design.loss_and_grad(DataTerm(loss, targets), W.detach())
    torch.testing.assert_close(gradient, W.grad, rtol=1e-12, atol=1e-12)
    exact = loss.value(design.scores(W.detach()), targets.labels, targets.weights)
    assert float(value) == pytest.approx(float(exact), rel=1e-12)


@each
@with_and_without
def test_float64_parameters_on_float32_features_are_computed_in_float64(name, intercept):
    stored = DESIGNS[name](intercept, torch.float32)
    if "cached" in name:
        pytest.skip("a cached product is rounded once")
    assert stored.dtype == torch.float32
    targets = targets_for(name, torch.float32)
    W = normal(*stored.parameter_shape(targets), seed=6)
    scores = stored.scores(W)
    assert scores.dtype == torch.float64
    exact = dense_map(stored, targets) @ W.reshape(-1)
    offset = stored.scores(torch.zeros_like(W))
    torch.testing.assert_close(scores - offset, exact.reshape(scores.shape), rtol=1e-13, atol=1e-13)
    value, gradient = stored.loss_and_grad(DataTerm(SquaredHinge(), targets), W)
    assert value.dtype == gradient.dtype == torch.float64
    rounded = stored.loss_and_grad(DataTerm(SquaredHinge(), targets), W.float())[1]
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), gradient, rtol=1e-4, atol=1e-4)
    assert not torch.equal(rounded.double(), gradient)


@pytest.mark.parametrize("kind", ["shared", "task"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_narrow_features_are_worked_on_in_float32(kind, dtype):
    X = (normal(N, D) * 4).round().to(dtype)
    design = SharedDesign(X) if kind == "shared" else TaskDesign([X] * M)
    assert design.dtype == torch.float32
    W = normal(D, M, dtype=torch.float32)
    expected = X.float() @ W
    scores = design.scores(W)
    got = scores if kind == "shared" else torch.stack(scores.split([N] * M), dim=1)
    assert_same_sums(got, expected, sizes=X.abs().float() @ W.abs(), length=D)


@pytest.mark.parametrize("fixed", ["L", "S"])
@pytest.mark.parametrize("kind", BASES)
@with_and_without
def test_factored_scores_are_those_of_the_product(kind, fixed, intercept):
    base, design = BASES[kind](intercept), DESIGNS[f"{kind}-{fixed}"](intercept)
    targets = targets_for(kind)
    P = normal(*design.parameter_shape(targets), seed=6)
    if fixed == "L":
        W = torch.cat([design.L @ P[:K], P[K:]])
    else:
        W = P @ design.S
        W = torch.cat([W, design.bias[None]]) if intercept else W
    torch.testing.assert_close(design.scores(P), base.scores(W), rtol=1e-12, atol=1e-12)
    if fixed == "L":
        cached = design.cached()
        torch.testing.assert_close(cached.scores(P), base.scores(W), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 4), (40, 3), (3, 40), (60, 2), (20, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_largest_curvature_is_exact_or_just_above(shape, weighted):
    X = normal(*shape)
    c = normal(shape[0], seed=1).abs() if weighted else None
    gram = X.T @ (X if c is None else c[:, None] * X)
    true = float(torch.linalg.eigvalsh(gram)[-1])
    assert true <= largest_curvature(X, c)[0] <= (1 + 1e-10) * true
    iterated, products = largest_curvature(csr(X), c, transpose=csr(X.T))
    assert true <= iterated <= 1.02 * true
    assert products > 0


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("n", [1, 7, 1000])
def test_no_rounding_takes_a_curvature_below_the_truth(n, d):
    """In fractions: lambda I - A is positive semidefinite, which its minors tell."""
    for seed in range(20):
        X, c = normal(n, d, seed=seed), normal(n, seed=seed + 100).abs()
        rows = [[Fraction(x) for x in row] for row in X.tolist()]
        weights = [Fraction(w) for w in c.tolist()]
        gram = [
            [sum(w * x[i] * x[j] for w, x in zip(weights, rows, strict=True)) for j in range(d)]
            for i in range(d)
        ]
        for found, _ in (largest_curvature(X, c), largest_curvature(csr(X), c, transpose=csr(X.T))):
            minors = [Fraction(found) - gram[i][i] for i in range(d)]
            assert min(minors) >= 0
            assert d == 1 or minors[0] * minors[1] >= gram[0][1] ** 2


def test_no_rounding_takes_the_intercept_s_curvature_below_the_truth():
    X = torch.zeros(1000, 1, dtype=torch.float64)
    for seed in range(20):
        c = normal(1000, seed=seed).abs()
        targets = Targets.from_labels(classification(1000, 1, 1)[1], sample_weight=c)
        truth = sum(Fraction(w) for w in targets.weights[:, 0].tolist())
        assert truth <= Fraction(SharedDesign(X, intercept=True).lipschitz(targets))


def test_lanczos_estimates_on_large_sides_are_above():
    X = normal(GRAM_LIMIT + 60, GRAM_LIMIT + 40, dtype=torch.float32) + 0.5
    true = float(torch.linalg.matrix_norm(X.double(), 2)) ** 2
    assert true <= largest_curvature(X)[0] <= 1.02 * true


@pytest.mark.parametrize("d", [1, 2, 3, 9])
def test_all_zero_features_have_no_curvature(d):
    X = torch.zeros(6, d, dtype=torch.float64)
    targets = Targets.from_labels(classification(6, 2, 1)[1])
    for design in (SharedDesign(X), SharedDesign(csr(X))):
        assert design.lipschitz(targets) == 0


def test_task_designs_take_one_array_for_all_tasks():
    X = normal(M, N, D)
    stacked, listed = TaskDesign(X), TaskDesign(list(X))
    W = normal(D, M, seed=6)
    assert torch.equal(stacked.scores(W), listed.scores(W))
    assert stacked.n_features == listed.n_features == D


def test_arrays_of_numpy_are_taken_as_they_are():
    X, W = normal(N, D), normal(D, M, seed=6)
    assert torch.equal(SharedDesign(X.numpy()).scores(W), SharedDesign(X).scores(W))
    assert SharedDesign(np.ones((3, 2), dtype=np.int64)).dtype == torch.float64


def test_sparse_features_that_may_not_be_written_to_are_taken_without_a_warning():
    X = csr_matrix(np.eye(3))
    for part in (X.data, X.indices, X.indptr):
        part.flags.writeable = False
    # torch gives this warning once a process, unless it is told to give it always
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message=".*not writable")
            design = SharedDesign(X)
    finally:
        torch.set_warn_always(before)
    assert torch.equal(design.scores(torch.ones(3, 1, dtype=torch.float64)), torch.ones(3, 1))
