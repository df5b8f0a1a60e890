"""Labels of one byte each: those of floating point to the bit, and none of their memory."""

import numpy as np
import pytest
import torch
from arithmetic import gamma

import proxmtl as pm
from proxmtl import stored_labels
from proxmtl.data_term import DataTerm
from proxmtl.numerics import PIECE_ELEMENTS
from proxmtl.ranks import ALONE
from proxmtl.stored_labels import DenseLabels, SignLabels

N, M = PIECE_ELEMENTS // 8 + 37, 9
RNG = np.random.default_rng(0)
SIGNS = RNG.choice(np.array([-1, 1], dtype=np.int8), (N, M))
SOME = np.where(RNG.random((N, M)) < 0.3, 0, SIGNS).astype(np.int8)
OPTIONS = {
    "plain": {},
    "tasks": {"task_weight": RNG.uniform(0.5, 2, M), "reduction": "task_mean"},
    "classes": {"class_weight": "balanced", "reduction": "mean"},
    "samples": {"sample_weight": RNG.uniform(0, 2, N).astype(np.float32), "reduction": "sum"},
}


@pytest.fixture(autouse=True)
def _low_threshold(monkeypatch):
    monkeypatch.setattr(stored_labels, "LARGE", PIECE_ELEMENTS)


def both(labels, dtype, **options):
    """Targets in one byte a label, and in floating point, which weights of labels ask for."""
    sample = options.pop("sample_weight", np.ones(N, np.float32))
    short = pm.Targets.from_labels(
        labels, like=torch.empty(0, dtype=dtype), sample_weight=sample, **options
    )
    each = np.repeat(sample[:, None], M, axis=1)
    long = pm.Targets.from_labels(
        labels, like=torch.empty(0, dtype=dtype), sample_weight=each, **options
    )
    assert isinstance(short.stored, SignLabels)
    assert isinstance(long.stored, DenseLabels)
    return short, long


@pytest.mark.parametrize("labels", [SIGNS, SOME], ids=["all", "some"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_labels_and_weights_are_those_of_floating_point(labels, options):
    short, long = both(labels, torch.float32, **options)
    assert torch.equal(short.labels, long.labels)
    if "sample_weight" in options or "class_weight" in options:
        # sums of labels go by blocks in both, so that counts are the same
        torch.testing.assert_close(short.weights, long.weights, rtol=4 * 2**-24, atol=0)
    else:
        assert torch.equal(short.weights, long.weights)
    assert short.shape == long.shape == (N, M)
    assert short.figures() == pytest.approx(long.figures(), rel=1e-6)


@pytest.mark.parametrize("loss", [pm.SquaredHinge(), pm.Logistic()], ids=["hinge", "logistic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_data_term_is_that_of_floating_point(loss, dtype):
    """To the bit, label by label; sums go over arrays of other strides, in another order."""
    short, long = (DataTerm(loss, each) for each in both(SOME, torch.float32))
    Z = torch.randn(N, M, dtype=dtype, generator=torch.Generator().manual_seed(0))
    V = 0.9 * Z + 0.01
    for name in ("gradient", "terms", "curvature"):
        assert torch.equal(getattr(short, name)(Z), getattr(long, name)(Z)), name
    for name in ("bregman_terms", "curvature_product"):
        assert torch.equal(getattr(short, name)(Z, V), getattr(long, name)(Z, V)), name
    for name, given in (("value", (Z,)), ("weighted_squares", (Z,)), ("bregman", (Z, V))):
        found, expected = (float(getattr(each, name)(*given)) for each in (short, long))
        # of terms that are not negative
        assert found == pytest.approx(expected, rel=2 * gamma(N * M, dtype)), name
    U = -0.5 * short.gradient(Z)
    found, expected = (each.dual_scale(U, 2.0) for each in (short, long))
    assert found == pytest.approx(expected, rel=4 * gamma(N * M, dtype))  # a ratio of two sums
    found, expected = (float(each.conjugate(-U)) for each in (short, long))
    sizes = float(U.abs().sum() + U.square().sum()) + N * M  # a term of the entropy is at most 1
    assert found == pytest.approx(expected, abs=2 * gamma(N * M, dtype) * sizes)
    assert torch.equal(short.observed(), long.observed())
    residuals = -short.gradient(Z)
    reach = 2 * gamma(N, dtype) * float(residuals.abs().max())
    for name in ("balanced", "balanced_by_companion"):
        found, expected = (getattr(each, name)(residuals) for each in (short, long))
        torch.testing.assert_close(found, expected, rtol=4 * gamma(N, dtype), atol=reach)
    (found, value), (expected, other) = (each.null(intercept=True) for each in (short, long))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)  # weights of 1 add up exactly
    assert value == pytest.approx(other, rel=1e-12)
    assert torch.equal(short.take(slice(5, 90)).terms(Z[5:90]), long.terms(Z)[5:90])
    assert short.n_observed == int((SOME != 0).sum())


def test_columns_are_those_of_some_tasks():
    short, long = both(SOME, torch.float64, task_weight=np.arange(1.0, M + 1))
    tasks = torch.tensor([5, 0, 7])
    parts = [each.among_tasks(tasks, ALONE) for each in (short, long)]
    assert isinstance(parts[0].stored, SignLabels)
    assert torch.equal(parts[0].labels, parts[1].labels)
    assert torch.equal(parts[0].weights, parts[1].weights)
    assert torch.equal(parts[0].labels, long.labels[:, tasks])


def test_weights_that_are_no_matrix_raise():
    for sample in ([[1.0, 2.0], [1.0]], "weights"):
        with pytest.raises(ValueError, match="sample_weight"):
            pm.Targets.from_labels(SIGNS, sample_weight=sample)


def test_a_memory_map_of_bytes_gives_the_problem_of_its_numbers(tmp_path):
    np.save(tmp_path / "labels.npy", SIGNS)
    X = RNG.standard_normal((N, 3)).astype(np.float32)
    mapped = np.load(tmp_path / "labels.npy", mmap_mode="r")
    problems = [pm.Problem.of(X, Y, pm.L1(0.01)) for Y in (mapped, SIGNS > 0, SIGNS.astype(float))]
    solutions = [pm.minimize(each, tol=1e-4).solution for each in problems]
    assert all(torch.equal(each, solutions[0]) for each in solutions)
    assert problems[0].targets.stored.signs.dtype == torch.int8


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(3.0, "expected -1 and \\+1"), (np.inf, "infinite"), ("zeros", "0 means missing")],
)
def test_a_wrong_label_far_down_raises(wrong, message):
    labels = SIGNS.astype(np.float64)
    if wrong == "zeros":
        labels = np.where(labels < 0, 0, labels)
    else:
        labels[-1, -1] = wrong
    with pytest.raises(ValueError, match=message):
        pm.Targets.from_labels(labels)


def test_a_task_of_one_sign_raises():
    labels = SIGNS.copy()
    labels[:, 4] = 1
    with pytest.raises(ValueError, match="task 4 has only \\+1"):
        pm.Targets.from_labels(labels)
