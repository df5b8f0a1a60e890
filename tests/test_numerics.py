"""Moments and sums over samples against extended precision, where float32 sums lose them."""

import ast
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from proxmtl import SingleTaskClassifier, Targets
from proxmtl.estimators import LassoClassifier
from proxmtl.estimators.standardize import fit_standardization
from proxmtl.experiments import fit_platt
from proxmtl.numerics import BLOCK_ELEMENTS, column_moments, dot

EPS = np.finfo(np.float64).eps
DTYPES = [np.float64, np.float32, np.float16, np.int8, np.uint16, np.int64, np.bool_, ">f4", ">f8"]


def exact(X, weights=None):
    """Mean and standard deviation in extended precision."""
    wide = np.asarray(X).astype(np.longdouble)
    weights = np.ones(len(wide)) if weights is None else weights
    shares = (weights / weights.astype(np.longdouble).sum())[:, None]
    moved = wide - wide[0]
    mean = (shares * moved).sum(0)
    return mean + wide[0], np.sqrt((shares * (moved - mean) ** 2).sum(0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_any_dtype(dtype, weighted):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((500, 4)) * 20 + 60).clip(0, 120).astype(dtype)
    weights = rng.integers(0, 4, 500) * 0.3 if weighted else None
    mean, std = exact(X, weights)
    for layout in (X, np.asfortranarray(X), X[::-1], X.repeat(2, axis=1)[:, ::2]):
        same = None if weights is None else (weights[::-1] if layout.strides[0] < 0 else weights)
        found = column_moments(layout, None if same is None else same.copy())
        # each of the 500 additions rounds once, relative to the largest deviation
        np.testing.assert_allclose(found.mean, mean.astype(float), rtol=500 * EPS)
        np.testing.assert_allclose(found.std, std.astype(float), rtol=500 * EPS)


def test_a_pressure_in_float32_keeps_its_scale_and_its_coefficient():
    z = np.random.default_rng(0).standard_normal(300_000)
    X = (101325 + 30 * z).astype(np.float32)[:, None]
    mean, std = exact(X)
    found = fit_standardization(X)
    np.testing.assert_allclose(found.scale, std.astype(float), rtol=1e-12)
    np.testing.assert_allclose(found.mean, mean.astype(float), rtol=1e-14)
    np.testing.assert_allclose(found.scale, 30, rtol=5 / np.sqrt(len(z)))
    few = slice(None, None, 100)
    lasso = LassoClassifier(strength=1e-3).fit(X[few], z[few] > 0)
    reference = LassoClassifier(strength=1e-3).fit(z[few, None], z[few] > 0)
    np.testing.assert_allclose(30 * lasso.coef_, reference.coef_, rtol=0.05)


@pytest.mark.parametrize("offset", [1e3, 1e8, 1e12, -1e15])
def test_a_mean_much_larger_than_the_spread(offset):
    z = np.random.default_rng(1).standard_normal((1000, 1))
    X = offset + z
    mean, std = exact(X)
    found = column_moments(X)
    np.testing.assert_allclose(found.std, std.astype(float), rtol=1e-13)
    np.testing.assert_allclose(found.mean, mean.astype(float), rtol=2 * EPS)
    assert not found.constant.any()


VALUES = [0.1, 255.3, 1e-8, 1e4, 0.0, 1e30, 1e300, 1e-300, 5e-324]
FITTING = [
    (value, dtype)
    for dtype in (np.float64, np.float32, np.float16)
    for value in VALUES
    if value <= float(np.finfo(dtype).max)
]


@pytest.mark.parametrize(("value", "dtype"), FITTING)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_constant_has_scale_one_and_becomes_zero(value, dtype, weighted):
    weights = np.random.default_rng(2).random(999) if weighted else None
    X = np.full((999, 2), value, dtype)
    X[:, 1] = np.arange(999) / 1000
    found = fit_standardization(X, weights)
    assert found.mean[0] == float(X[0, 0])
    assert found.scale[0] == 1
    assert found.scale[1] != 1
    assert not found.apply(X)[:, 0].any()


def test_constant_but_for_rounding():
    rng = np.random.default_rng(3)
    noise = rng.integers(-1, 2, (100, 1)) * EPS
    X = 255.3 * (1 + noise)
    found = fit_standardization(X)
    assert found.scale == 1
    assert not found.apply(X).any()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1e8, 1e8 + 1e-6], np.float64),
        ([2.0**24, 2.0**24 + 2], np.float32),  # neighbours
        ([2048.0, 2050.0], np.float16),
        ([1e-310, 2e-310], np.float64),
        ([0.0, 5e-324], np.float64),
        ([1e8] * 10_000 + [1e8 + 1e-6], np.float64),  # one row of many
    ],
)
def test_what_varies_is_not_constant(values, dtype):
    X = np.array(values, dtype)[:, None]
    found, std = column_moments(X), exact(X)[1]
    assert not found.constant
    # the smallest denormal has one digit
    np.testing.assert_allclose(found.scale, std.astype(float), rtol=1e-9, atol=5e-324)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 3e307, 1e-310, 1e160, 1e-160])
def test_ends_of_the_range(scale):
    z = np.random.default_rng(4).standard_normal((200, 2)).clip(-3, 3)
    z[:, 1] += 2
    X = z * scale
    found, (mean, std) = fit_standardization(X), exact(z)
    rtol = 1e-12 if scale > 1e-300 else 1e-12 + 5e-324 / scale * 1e3  # denormals have few digits
    np.testing.assert_allclose(found.mean / scale, mean.astype(float), rtol=rtol)
    np.testing.assert_allclose(found.scale / scale, std.astype(float), rtol=rtol)
    np.testing.assert_allclose(found.apply(X), (z - mean) / std, atol=1e-9)


def test_the_widest_range_there_is():
    X = np.array([[-1.7e308], [1.7e308]])
    found = fit_standardization(X)
    assert found.mean == 0
    assert found.scale == 1.7e308
    assert found.apply(X).tolist() == [[-1], [1]]


def test_rows_of_weight_zero_are_not_looked_at():
    X = np.array([[1e300], [2.0], [4.0], [np.nan]])
    found = column_moments(X, np.array([0, 1, 3, 0]) * 1e300)
    assert found.mean.tolist() == [3.5]
    np.testing.assert_allclose(found.std, np.sqrt(0.75), rtol=4 * EPS)


def test_blocks_and_memory_maps(tmp_path):
    rng = np.random.default_rng(5)
    rows = BLOCK_ELEMENTS // 16 + 1000
    X = (rng.standard_normal((rows, 16)) + 1e4).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mean, std = exact(X)
    for given in (np.load(tmp_path / "X.npy", mmap_mode="r"), torch.from_numpy(X)):
        found = column_moments(given)
        np.testing.assert_allclose(found.std, std.astype(float), rtol=1e-11)
        np.testing.assert_allclose(found.mean, mean.astype(float), rtol=1e-14)


def test_moments_leave_their_input_alone_and_record_no_graph():
    X = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    before = X.detach().clone()
    found = column_moments(X)
    assert torch.equal(X.detach(), before)
    assert not found.mean.requires_grad


@pytest.mark.parametrize(
    ("X", "weights", "message"),
    [
        (np.zeros(3), None, r"saw shape \(3,\)"),
        (np.zeros((0, 3)), None, "no sample of positive weight"),
        (np.zeros((2, 3)), np.zeros(2), "no sample of positive weight"),
    ],
)
def test_what_has_no_moments(X, weights, message):
    with pytest.raises(ValueError, match=message):
        column_moments(X, weights)


def test_no_columns_have_no_moments():
    assert column_moments(np.zeros((3, 0))).scale.shape == (0,)


def test_a_long_inner_product_in_float32():
    n = 3_000_000
    a = torch.rand(n, generator=torch.Generator().manual_seed(0))
    expected = float(a.double().square().sum())
    # pieces of 65,536 positive terms, each rounded at most so often
    assert abs(float(dot(a, a)) - expected) <= 65536 * 2**-24 * expected / 100


def test_counts_per_task_go_beyond_what_float32_can_count():
    stalls, ones = torch.tensor([2.0**24]), torch.ones(64)
    values = torch.cat([stalls, ones])
    targets = Targets(values, values, 1, torch.zeros(65, dtype=torch.int64))
    assert float(targets.per_task(values)) == 2**24 + 64


def test_calibration_of_scores_with_an_offset():
    z = np.random.default_rng(6).standard_normal(200)
    y = (z + np.random.default_rng(7).standard_normal(200) > 0).astype(float)
    plain, moved = (fit_platt((z + c)[:, None], y[:, None]) for c in (0.0, 1e6))
    np.testing.assert_allclose(moved.slope, plain.slope, rtol=1e-6)


def test_a_feature_far_from_zero_is_fitted_as_its_centred_copy():
    z = np.random.default_rng(8).standard_normal((300, 2))
    y = z @ [1.0, -0.5] > 0.2
    near = SingleTaskClassifier(tol=1e-10).fit(z, y)
    far = SingleTaskClassifier(tol=1e-10).fit(1e7 + z, y)
    np.testing.assert_allclose(far.coef_, near.coef_, rtol=1e-6)


SPREADS = {"std", "var", "nanstd", "nanvar", "std_mean", "var_mean", "average"}
MEANS = {"mean", "nanmean"}
# float64 numbers, as few as there are folds, splits, classes or labels of a row; labels less the
# first of them; features in Newton's steps, where any number near the mean serves; and maps of a
# network, which are no samples
OTHER_MEANS = {
    "proxmtl/estimators/labels.py: weights.mean",
    "proxmtl/estimators/racing.py: behind[:, f, scored[f]].mean",
    "proxmtl/estimators/racing.py: behind[:, scored].mean",
    "proxmtl/estimators/racing.py: behind[:, scored].std",
    "proxmtl/estimators/racing.py: scores[members][:, scored].mean",
    "proxmtl/estimators/scoring.py: np.average",
    "proxmtl/estimators/search.py: (sums[:, count > 0] / count[count > 0]).mean",
    "proxmtl/estimators/search.py: self.scores[solved, f][:, scored].mean",
    "proxmtl/estimators/verdict.py: gain[known].var",
    "proxmtl/estimators/verdict.py: gains.std",
    "proxmtl/estimators/verdict.py: np.nanmean",
    "proxmtl/estimators/verdict.py: np.nanstd",
    "proxmtl/experiments/compare.py: self._over_splits().std",
    "proxmtl/experiments/zero_shot.py: _signatures(class_attributes).mean",
    "proxmtl/selection/cross_validation.py: scores.std",
    "proxmtl/latent/strengths.py: given.mean",
    "proxmtl/solvers/newton_rows.py: wide.mean",
    "proxmtl/designs/base.py: part.weights.mean",
    "backbones/experiments/paired.py: gains.mean",
    "backbones/experiments/markdown.py: per_cent.std",
    "backbones/experiments/paired.py: means.std",
    "backbones/experiments/paired.py: means.var",
    "backbones/experiments/systems.py: found.mean",
    "backbones/experiments/tables/awa.py: np.nanmean",
    "backbones/quantized.py: first.mean",
}


def means_of_rows(source):
    """Calls that may reduce rows in the dtype that they come in: spreads, means along an axis."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        named = {keyword.arg for keyword in node.keywords}
        a_module = isinstance(node.func.value, ast.Name) and node.func.value.id in ("np", "torch")
        along = named & {"axis", "dim"} or len(node.args) > a_module
        if "dtype" not in named and (
            node.func.attr in SPREADS or (node.func.attr in MEANS and along)
        ):
            yield ast.unparse(node.func)


def test_means_and_spreads_over_samples_come_from_one_place():
    root = Path(__file__).parents[1]
    found = {
        f"{path.relative_to(root)}: {call}"
        for folder in ("proxmtl", "backbones")
        for path in (root / folder).rglob("*.py")
        if path.name != "numerics.py"
        for call in means_of_rows(path.read_text(encoding="utf-8"))
    }
    assert found - OTHER_MEANS == set(), "use proxmtl.numerics, or say why it is no sum of samples"
    assert OTHER_MEANS - found == set(), "these have gone"


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("X.mean(0)", ["X.mean"]),
        ("np.mean(X, axis=0)", ["np.mean"]),
        ("torch.mean(X, 0)", ["torch.mean"]),
        ("X.std()", ["X.std"]),
        ("np.mean(X)", []),
        ("X.mean(0, dtype=np.float64)", []),
        ("column_moments(X).mean", []),
    ],
)
def test_the_search_for_means_can_fail(code, seen):
    assert list(means_of_rows(code)) == seen


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["csr_array", "csc_matrix", "coo_array"])
def test_moments_of_sparse_columns_are_those_of_dense_ones(kind, weighted):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 8)) * (rng.random((50, 8)) < 0.4)
    X[:, 0], X[:, 1] = 0, 3.3  # nothing stored, and the same everywhere
    X[:, 2] *= 1e-200
    X[:, 3] *= 1e300
    X[:, 4] = 1e9 + rng.normal(size=50)
    X[:, 5] = 0
    X[7, 5] = 1e-310
    weights = np.where(np.arange(50) < 5, 0, rng.random(50)) if weighted else None
    dense = column_moments(X, weights)
    thin = column_moments(getattr(scipy.sparse, kind)(X), weights)
    for found, expected in zip(thin, dense, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=0)
    assert torch.equal(thin.constant, dense.constant)
    assert thin.std[1] == thin.std[0] == 0


def test_moments_of_sparse_entries_stored_twice_leave_them_so():
    twice = scipy.sparse.csc_array(([1.0, 2.0, 3.0], [0, 0, 1], [0, 2, 3]), shape=(2, 2))
    np.testing.assert_array_equal(column_moments(twice).mean, [1.5, 1.5])
    assert twice.nnz == 3


def test_moments_of_matrices_end_to_end():
    X, weights = np.random.default_rng(1).normal(size=(20, 3)), np.arange(20.0)
    parts = column_moments([X[:7], X[7:]], weights)
    for found, expected in zip(parts, column_moments(X, weights), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
