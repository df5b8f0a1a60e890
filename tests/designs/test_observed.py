"""Labels of some pairs: the same numbers as with NaN for missing, whatever the blocks and forms."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from proxmtl import (
    FISTA,
    L1,
    L21,
    LBFGS,
    Huber,
    LatentMTL,
    Logistic,
    NewtonCholesky,
    Problem,
    ProxSVRG,
    SharedDesign,
    Squared,
    SquaredFrobenius,
    SquaredHinge,
    StreamedDesign,
    Targets,
    TaskDesign,
    minimize,
)
from proxmtl.designs import ObservedDesign, observed
from proxmtl.regularizers import UnsupportedError

N, M, D = 60, 7, 5


def table(seed=0, n=N, n_tasks=M, share=0.3):
    """Features, and labels with NaN for missing; rows without a label, and every task with both."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, D))
    Y = np.sign(X @ rng.standard_normal((D, n_tasks)) + rng.standard_normal((n, n_tasks)))
    Y[rng.random(Y.shape) > share] = np.nan
    Y[3] = np.nan
    Y[0], Y[1] = 1, -1
    return X, Y


def stored(Y, kind=sparse.csr_array):
    rows, tasks = np.nonzero(~np.isnan(Y))
    return kind(sparse.coo_array((Y[rows, tasks], (rows, tasks)), shape=Y.shape))


def both(X, Y, penalty, **options):
    return (Problem.of(X, labels, penalty, **options) for labels in (Y, stored(Y)))


@pytest.mark.parametrize("kind", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array])
@pytest.mark.parametrize("loss", [SquaredHinge(), Logistic(), Huber(), Squared()])
@pytest.mark.parametrize("intercept", [False, True])
def test_is_the_problem_with_nan_for_missing(kind, loss, intercept):
    X, Y = table()
    weights = np.random.default_rng(1).random(N)
    options = {"loss": loss, "fit_intercept": intercept, "sample_weight": weights}
    dense = Problem.of(X, Y, L21(0.01), **options)
    pairs = Problem.of(X, stored(Y, kind), L21(0.01), **options)
    assert isinstance(pairs.design, ObservedDesign)
    assert pairs.data.shape == (int((~np.isnan(Y)).sum()),)
    W = torch.randn(dense.zeros().shape, dtype=torch.float64)
    mask = torch.from_numpy(~np.isnan(Y))
    close = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(pairs.scores(W), dense.scores(W)[mask], **close)
    for one, other in zip(
        pairs.smooth_value_and_grad(W), dense.smooth_value_and_grad(W), strict=True
    ):
        torch.testing.assert_close(one, other, **close)
    assert pairs.critical_strength() == pytest.approx(dense.critical_strength(), rel=1e-12)
    assert pairs.certificate(W).gap == pytest.approx(dense.certificate(W).gap, rel=1e-9)


@pytest.mark.parametrize("class_weight", [None, "balanced", (1.0, 3.0)])
@pytest.mark.parametrize("reduction", ["sum", "mean", "task_mean"])
def test_weights_are_those_of_dense_labels(reduction, class_weight):
    _, Y = table()
    options = {"reduction": reduction, "class_weight": class_weight}
    dense, pairs = (Targets.from_labels(each, **options) for each in (Y, stored(Y)))
    mask = torch.from_numpy(~np.isnan(Y))
    torch.testing.assert_close(pairs.weights, dense.weights[mask], rtol=1e-14, atol=0)
    own = np.random.default_rng(2).random(Y.shape)
    wanted = Targets.from_labels(Y, sample_weight=own).weights[mask]
    for weights in (own, stored(np.where(np.isnan(Y), np.nan, own))):
        found = Targets.from_labels(stored(Y), sample_weight=weights)
        assert torch.equal(found.weights, wanted)


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_any_shape_pattern_and_block(data):
    n, n_tasks, width = (data.draw(st.integers(1, most)) for most in (9, 6, 4))
    every = [(i, m) for i in range(n) for m in range(n_tasks)]
    pairs = sorted(data.draw(st.lists(st.sampled_from(every), unique=True, min_size=1)))
    rows, tasks = torch.tensor(pairs).T.contiguous()
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9)))
    X = torch.randn(n, width, generator=generator, dtype=torch.float64)
    intercept, streamed = data.draw(st.booleans()), data.draw(st.booleans())
    base = SharedDesign(X, intercept=intercept)
    if streamed:
        base = StreamedDesign(X.numpy(), intercept=intercept, memory=5 * 8 * width * 2)
    design = ObservedDesign(base, rows, tasks, n_tasks).with_unit(2.0)
    design._block_rows = min(data.draw(st.integers(1, n)), 2 if streamed else n)
    W = torch.randn(width + intercept, n_tasks, generator=generator, dtype=torch.float64)
    R = torch.randn(len(rows), generator=generator, dtype=torch.float64)
    columns = torch.cat([X, X.new_full((n, int(intercept)), 2.0)], dim=1)
    spread = torch.zeros(n, n_tasks, dtype=torch.float64).index_put((rows, tasks), R)
    wanted = (columns @ W)[rows, tasks], columns.T @ spread
    scores, (adjoint,) = design.sweep(W, lambda here, _: (R[here],))
    close = {"rtol": 1e-12, "atol": 1e-12}
    for found in ((scores, adjoint), (design.scores(W), design.adjoint(R))):
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, **close)
    kept = torch.from_numpy(np.flatnonzero(np.random.default_rng(0).random(len(rows)) < 0.6))
    if len(kept):
        part = design.take(kept)
        torch.testing.assert_close(part.scores(W), wanted[0][kept], **close)


def test_blocks_grow_where_labels_are_few(monkeypatch):
    monkeypatch.setattr(observed, "CACHED", 2 * D)
    X, Y = table(n=400)
    for share, least in ((1.0, 2), (0.1, 10)):
        few = np.where(np.random.default_rng(0).random(Y.shape) < share, np.sign(X[:, :1]), np.nan)
        design = Problem.of(X, stored(few), loss=Squared()).design
        assert design._block_rows >= least
        per_task = len(design.rows) * design._block_rows / 400 / M
        assert per_task >= observed.REUSED - 1


def test_curvatures_are_bounds_of_each_task_and_sharper_than_all_samples():
    X, Y = table()
    problem = Problem.of(X, stored(Y), loss=Squared())
    found = problem.design.curvature_by_task(problem.targets)
    for m in range(M):
        own = torch.from_numpy(X[~np.isnan(Y[:, m])])
        weight = 1 / float((~np.isnan(Y)).sum())
        true = weight * float(torch.linalg.eigvalsh(own.T @ own)[-1])
        assert true <= float(found[m]) <= weight * float(own.square().sum()) * (1 + 1e-12)


@pytest.mark.parametrize("solver", [None, FISTA(), ProxSVRG(batch=16)])
def test_solvers_end_at_the_same_point(solver):
    X, Y = table()
    dense, pairs = both(X, Y, [L1(0.01), SquaredFrobenius(0.1)], loss=Logistic())
    one, other = minimize(dense, tol=1e-9), minimize(pairs, solver, tol=1e-9)
    # a ridge of 0.1 bounds the distance of points whose gaps are this small
    gaps = one.certificate.gap + other.certificate.gap
    assert float((one.coef - other.coef).norm()) <= 2 * (gaps / 0.1) ** 0.5


@pytest.mark.parametrize("tolerance", [0.0, 1e-3])
def test_lbfgs_takes_pairs(tolerance):
    X, Y = table()
    dense, pairs = both(X, Y, SquaredFrobenius(0.01))
    one = minimize(dense, tol=1e-10)
    other = minimize(pairs, LBFGS(tolerance=tolerance), tol=1e-10)
    assert other.status.ok
    gaps = one.certificate.gap + other.certificate.gap
    assert float((one.coef - other.coef).norm()) <= 2 * (gaps / 0.01) ** 0.5
    assert isinstance(minimize(pairs, tol=1e-4).state, type(other.state))
    with pytest.raises(UnsupportedError, match="needs dense features that all tasks share"):
        minimize(pairs, NewtonCholesky())


@pytest.mark.parametrize("penalty", [[L21(0.01)], [SquaredFrobenius(0.01)]])
def test_rows_in_files_give_what_rows_in_memory_give(penalty):
    X, Y = table()
    pairs = stored(Y)
    whole = minimize(Problem.of(X, pairs, penalty), tol=1e-8)
    rows = StreamedDesign([X[:7], X[7:]], intercept=True, memory=5 * 8 * D * 4)
    posed = Problem.of(rows, pairs, penalty)
    assert posed.reads_once
    read = minimize(posed, tol=1e-8)
    gaps = whole.certificate.gap + read.certificate.gap
    assert read.certificate.objective == pytest.approx(whole.certificate.objective, abs=gaps)
    assert read.status.ok


def test_float32_and_float16_features():
    X, Y = table()
    for dtype in (np.float32, np.float16):
        problem = Problem.of(torch.from_numpy(X.astype(dtype)), stored(Y))
        W = torch.randn(D + 1, M, dtype=torch.float64)
        wanted = (X.astype(dtype).astype(np.float64) @ W[:D].numpy() + W[D].numpy())[~np.isnan(Y)]
        torch.testing.assert_close(problem.scores(W), torch.from_numpy(wanted), rtol=0, atol=1e-12)


def test_codings_and_what_is_not_clear():
    X, Y = table()
    signs, zeros = stored(Y), stored(np.where(Y < 0, 0, Y))
    one, other = (Problem.of(X, each).targets.labels for each in (signs, zeros))
    assert torch.equal(one, other)  # a stored 0 is a label
    missing = stored(Y)
    missing.data[5] = np.nan
    assert Problem.of(X, missing).data.shape == (signs.nnz - 1,)
    with pytest.raises(ValueError, match=r"stores 1 only.*Y\.toarray\(\)"):
        Problem.of(X, stored(np.where(Y < 0, np.nan, Y)))
    twice = sparse.coo_array(([1, -1, 1], ([0, 1, 1], [0, 0, 0])), shape=(N, M))
    with pytest.raises(ValueError, match=r"1 entries .* more than once"):
        Problem.of(X, twice)
    with pytest.raises(ValueError, match="expected 0 and 1, -1 and"):
        Problem.of(X, 3 * signs)
    with pytest.raises(ValueError, match="without a label"):
        Problem.of(X, sparse.csr_array((N, M)))
    lone = Y.copy()
    lone[:, 2] = np.nan
    with pytest.raises(ValueError, match="task 2 has no observed label"):
        Problem.of(X, stored(lone))
    with pytest.raises(ValueError, match=r"labels: shape .* for features of 60 samples"):
        Problem.of(X, signs[:50])
    with pytest.raises(ValueError, match="a sparse matrix with other entries"):
        Problem.of(X, signs, sample_weight=zeros[:, ::-1])


def test_designs_that_have_no_pairs():
    X, Y = table()
    signs = stored(Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        with pytest.raises(ValueError, match="is sparse, and so are the labels"):
            Problem.of(sparse.csr_array(X), signs)
    with pytest.raises(ValueError, match="a TaskDesign has no features that all tasks share"):
        Problem.of(TaskDesign([X] * M), signs)
    design = Problem.of(X, signs).design
    with pytest.raises(ValueError, match="are not those of the"):
        Problem(SquaredHinge(), design, Targets.from_labels(Y))
    assert Problem.of(design, signs).design is design
    # a task's labels of other samples, as many: their tasks alone do not tell them apart
    one, other = (stored(np.roll(Y[:, :1], by, axis=0)) for by in (0, 1))
    with pytest.raises(ValueError, match="are not in the places of the"):
        Problem.of(Problem.of(X, one).design, other)
    base = SharedDesign(X)
    for rows, tasks, message in (
        ([0, 1], [0], "give one of each"),
        ([1, 0], [0, 0], "do not ascend"),
        ([0, N], [0, 0], "rows: from 0 to 60"),
        ([0, 1], [0, M], "tasks: from 0 to 7"),
    ):
        with pytest.raises(ValueError, match=message):
            ObservedDesign(base, torch.tensor(rows), torch.tensor(tasks), M)


def test_the_latent_model_takes_them_as_the_convex_ones_do():
    X, Y = table(share=0.5)
    model = LatentMTL()
    W = torch.randn(D, 2, dtype=torch.float64), torch.randn(2, M, dtype=torch.float64)
    posed = [model.problem(X, labels) for labels in (Y, stored(Y))]
    assert posed[1].targets.labels.ndim == 1
    values = [float(each.objective((*W, torch.zeros(M, dtype=torch.float64)))) for each in posed]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
