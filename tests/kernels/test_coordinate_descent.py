"""Coordinate descent on quadratic models: the backends agree, and the models are minimised."""

import math

import numpy as np
import pytest
import torch
from scipy.sparse import csc_matrix

from proxmtl import kernels

BACKENDS = ("torch", "numba")
ALL = ("naive", *BACKENDS)
N, D = 30, 12
CHOSEN = ([0, 3, 4, 7, 10], [], [1, 2, 3, 4, 5, 8, 9, 11])
"""Columns of three tasks."""


def csc(X):
    X = csc_matrix(X)
    return kernels.Csc(*map(torch.from_numpy, (X.indptr, X.indices, X.data)))


def call(seed=0, *, origin=False, dtype=np.float64, size=1.0, **options):
    """Features with an empty column and two that are the same; some samples do not count."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((N, D)) * (rng.random((N, D)) < 0.3) * size
    X[:, 3], X[:, 5] = 0.0, X[:, 4]
    n = sum(map(len, CHOSEN))
    counted = torch.from_numpy(rng.random((3, N)) < 0.7)
    given = {
        "bounds": torch.tensor([0, 5, 5, 13]),
        "columns": torch.tensor([j for columns in CHOSEN for j in columns]),
        "weights": torch.from_numpy(rng.standard_normal(n) * (rng.random(n) < 0.5)) / size,
        "penalty": torch.full((n,), 0.3 * size, dtype=torch.float64),
        "ridge": 0.1 * size**2,
        "reduction": 1e-3,
        "origin": torch.from_numpy(rng.standard_normal(n)) * size if origin else None,
    }
    slopes = torch.from_numpy(rng.standard_normal((3, N))) * counted
    curvatures = torch.from_numpy(rng.random((3, N))) * counted
    return (csc(X.astype(dtype)), slopes, curvatures), given | options


def model(arguments, given, w, b):
    """Value of the models at weights (n,) and intercept steps (3,), all tasks together."""
    (features, slopes, curvatures), n = arguments, len(w)
    dense = csc_matrix(
        (features.values.double(), features.rows, features.starts), shape=(N, D)
    ).toarray()
    origin = torch.zeros(n) if given["origin"] is None else given["origin"]
    X = torch.from_numpy(dense)[:, given["columns"]] - origin
    move, total = w - given["weights"], 0.0
    for m in range(3):
        own = slice(given["bounds"][m], given["bounds"][m + 1])
        u = X[:, own] @ move[own] + given.get("unit", 0.0) * b[m]
        total = total + slopes[m] @ u + 0.5 * curvatures[m] @ u.square()
    return total + given["penalty"] @ w.abs() + given["ridge"] * w.square().sum()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("origin", [False, True])
@pytest.mark.parametrize("unit", [0.0, 2.0])
@pytest.mark.parametrize("sweeps", [0, 1, 40])
def test_backends_agree(backend, dtype, origin, unit, sweeps):
    for seed in range(5):
        arguments, given = call(seed, origin=origin, dtype=dtype, unit=unit, sweeps=sweeps)
        before = given["weights"].clone()
        seen = kernels.coordinate_descent(*arguments, **given, backend=backend)
        wanted = kernels.coordinate_descent(*arguments, **given, backend="naive")
        assert torch.equal(given["weights"], before)
        # the sweeps end alike, so only rounding differs: of sums of N, through the sweeps
        for a, b in zip(seen[:3], wanted[:3], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
        if sweeps < 2:  # in later ones a move that is mere rounding is a read
            assert torch.equal(seen.read, wanted.read)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("origin", [False, True])
@pytest.mark.parametrize("unit", [0.0, 2.0])
def test_finds_the_minimum_of_the_model(backend, origin, unit):
    arguments, given = call(origin=origin, unit=unit, reduction=1e-12, sweeps=5000)
    found = kernels.coordinate_descent(*arguments, **given, backend=backend)
    w, move = found.weights, found.weights - given["weights"]
    at = torch.zeros_like(move) if given["origin"] is None else given["origin"] * move
    owner = torch.tensor([0] * 5 + [2] * 8)
    b = (found.shift + at.new_zeros(3).index_add_(0, owner, at)) / unit if unit else at.new_zeros(3)
    least = float(model(arguments, given, w, b))
    generator = torch.Generator().manual_seed(1)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            near = w + size * torch.randn(w.shape, generator=generator, dtype=w.dtype)
            other = b + size * torch.randn(3, generator=generator, dtype=w.dtype)
            # the rounding of sums of some hundred terms of the order of 1
            assert model(arguments, given, near, other) >= least - 1e-13
    assert least < model(arguments, given, given["weights"], torch.zeros(3)) - 0.1
    assert origin or w[1] == 0.0  # empty


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("origin", [False, True])
def test_along_is_what_the_step_adds_to_the_scores(backend, origin):
    arguments, given = call(origin=origin, unit=1.0)
    found = kernels.coordinate_descent(*arguments, **given, backend=backend)
    X = csc_matrix((arguments[0].values, arguments[0].rows, arguments[0].starts), shape=(N, D))
    for m, columns in enumerate(CHOSEN):
        own = slice(given["bounds"][m], given["bounds"][m + 1])
        move = (found.weights - given["weights"])[own].numpy()
        wanted = X.toarray()[:, columns] @ move + float(found.shift[m])
        np.testing.assert_allclose(found.along[m].numpy(), wanted, atol=1e-13)


@pytest.mark.parametrize("backend", ALL)
def test_a_constant_column_beside_an_intercept_has_no_weight(backend):
    arguments, given = call(unit=1.0)
    X = np.zeros((N, D))
    X[:, 0], X[: N // 2, 4] = 0.1, 1.0
    found = kernels.coordinate_descent(csc(X), *arguments[1:], **given, backend=backend)
    assert found.weights[0] == 0.0
    assert bool(found.along.isfinite().all())


@pytest.mark.parametrize("backend", ALL)
def test_without_penalty_and_curvature_a_weight_stays(backend):
    arguments, given = call(ridge=0.0)
    given["penalty"] = torch.zeros_like(given["penalty"])
    given["weights"] = torch.ones_like(given["weights"])
    flat = arguments[0], torch.zeros_like(arguments[1]), torch.zeros_like(arguments[2])
    found = kernels.coordinate_descent(*flat, **given, backend=backend)
    assert torch.equal(found.weights, given["weights"])
    held = kernels.coordinate_descent(
        *flat, **given | {"penalty": torch.ones(13, dtype=torch.float64)}, backend=backend
    )
    assert not held.weights.any()


@pytest.mark.parametrize("backend", ALL)
def test_a_sample_without_curvature_pulls_by_its_slope(backend):
    """One sample has a slope only, the other a curvature only: the minimum is at (3 - 1) / 2."""
    features = csc([[1.0], [1.0]])
    slopes = torch.tensor([[-3.0, 0.0]], dtype=torch.float64)
    curvatures = torch.tensor([[0.0, 2.0]], dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    found = kernels.coordinate_descent(
        features,
        slopes,
        curvatures,
        bounds=torch.tensor([0, 1]),
        columns=torch.tensor([0]),
        weights=torch.zeros_like(one),
        penalty=one,
        backend=backend,
    )
    assert found.weights.tolist() == [1.0]


@pytest.mark.parametrize("backend", ALL)
def test_reads_stay_within_the_limit(backend):
    arguments, given = call(sweeps=100, reduction=1e-9)
    starts = arguments[0].starts.long()
    sizes = torch.tensor([int(starts.diff()[columns].sum()) for columns in CHOSEN])
    for limit in (0, 50, 100, 300):
        found = kernels.coordinate_descent(*arguments, **given, limit=limit, backend=backend)
        assert bool((found.read.sum(1) - sizes <= limit).all())
    assert found.read.sum() > 300  # that of one task at least
    none = kernels.coordinate_descent(*arguments, **given, limit=0, backend=backend)
    assert torch.equal(none.weights, given["weights"])
    assert torch.equal(none.read, torch.stack([sizes, torch.zeros_like(sizes)], 1))


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_scales_of_the_features_do_not_matter(backend, size):
    """Of powers of two, to the bit but for what is below the tiniest number."""
    size = 2.0 ** round(math.log2(size))
    arguments, given = call(sweeps=20)
    wanted = kernels.coordinate_descent(*arguments, **given, backend=backend)
    arguments, given = call(size=size, sweeps=20)
    found = kernels.coordinate_descent(*arguments, **given, backend=backend)
    torch.testing.assert_close(found.weights * size, wanted.weights, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.along, wanted.along, rtol=1e-9, atol=1e-12)


def test_threads_do_not_change_a_bit():
    arguments, given = call(sweeps=20)
    threads, ends = torch.get_num_threads(), []
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            ends.append(kernels.coordinate_descent(*arguments, **given, backend="numba"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"weights": torch.ones(3, dtype=torch.float64)}, ValueError, "weights has shape"),
        ({"columns": torch.full((13,), D)}, ValueError, "columns: an index is out of range"),
        ({"bounds": torch.tensor([0, 5, 4, 13])}, ValueError, "bounds must ascend"),
        ({"bounds": torch.tensor([0.0, 5.0, 5.0, 13.0])}, TypeError, "bounds is torch.float32"),
        ({"penalty": torch.ones(13)}, TypeError, "penalty is torch.float32"),
        ({"ridge": -1.0}, ValueError, "ridge is -1"),
        ({"sweeps": -1}, ValueError, "sweeps is -1"),
    ],
)
def test_bad_arguments_raise(change, error, message):
    arguments, given = call()
    with pytest.raises(error, match=message):
        kernels.coordinate_descent(*arguments, **given | change)


def test_slopes_of_another_shape_raise():
    (features, slopes, curvatures), given = call()
    with pytest.raises(ValueError, match="slopes and curvatures have shapes"):
        kernels.coordinate_descent(features, slopes[:2], curvatures, **given)
    whole = features._replace(values=features.values.long())
    with pytest.raises(TypeError, match=r"features hold torch\.int64"):
        kernels.coordinate_descent(whole, slopes, curvatures, **given)
