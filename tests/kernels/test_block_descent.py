"""Block descent on quadratic models: the backends agree, and the models are minimised."""

import itertools

import pytest
import torch

from proxmtl import kernels
from proxmtl.kernels.ops.coordinate_descent import shuffle

BACKENDS = ("torch", "numba")
ALL = ("naive", *BACKENDS)
M, K = 5, 8
GROUPS = {
    "entries": torch.arange(M),
    "rows": torch.zeros(M, dtype=torch.int64),
    "groups": torch.tensor([2, 0, 2, 1, 0]),
}


def call(seed=0, *, groups="groups", own=True, size=1.0, **options):
    """Models of M tasks on K rows, of which one has no curvature and two are the same."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(M if own else 1, 30, K, generator=generator, dtype=torch.float64) * size
    X[..., 3], X[..., 5] = 0.0, X[..., 4]
    slopes = (X.mT @ torch.randn(M, 30, 1, generator=generator, dtype=torch.float64))[..., 0]
    weights = torch.randn(M, K, generator=generator, dtype=torch.float64) / size
    weights *= torch.rand(M, K, generator=generator) < 0.5
    number = int(GROUPS[groups].max()) + 1
    given = {
        "penalty": 6 * size * torch.rand(number, K, generator=generator, dtype=torch.float64),
        "groups": GROUPS[groups],
        "ridge": 0.1 * size**2,
        "reduction": 1e-3,
    }
    return (X.mT @ X, slopes, weights), given | options


def model(arguments, given, W):
    """Value of the models at weights (M, K)."""
    gram, slopes, before = arguments
    move = W - before
    value = (slopes * move).sum() + 0.5 * (move[:, None] @ gram @ move[..., None]).sum()
    squares = W.new_zeros(given["penalty"].shape).index_add_(0, given["groups"], W.square())
    return value + (given["penalty"] * squares.sqrt()).sum() + given["ridge"] * W.square().sum()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("sweeps", [0, 1, 40])
def test_backends_agree(backend, groups, own, sweeps):
    for seed in range(5):
        arguments, given = call(seed, groups=groups, own=own, sweeps=sweeps)
        before = [each.clone() for each in arguments]
        seen = kernels.block_descent(*arguments, **given, backend=backend)
        wanted = kernels.block_descent(*arguments, **given, backend="naive")
        assert all(torch.equal(a, b) for a, b in zip(arguments, before, strict=True))
        # the sweeps end alike, so only rounding differs: of sums of K, through the sweeps
        torch.testing.assert_close(seen, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("own", [False, True])
def test_finds_the_minimum_of_the_model(backend, groups, own):
    arguments, given = call(groups=groups, own=own, reduction=1e-12, sweeps=300)
    found = kernels.block_descent(*arguments, **given, backend=backend)
    least = float(model(arguments, given, found))
    generator = torch.Generator().manual_seed(1)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(20):
            near = found + size * torch.randn(M, K, generator=generator, dtype=torch.float64)
            # the rounding of sums of some hundred terms of the order of 100
            assert model(arguments, given, near) >= least - 1e-11
    assert least < model(arguments, given, arguments[2]) - 0.1


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("own", [False, True])
def test_the_value_never_increases(backend, own):
    """Also where tasks of a group differ in curvature, and a step minimises an upper bound."""
    arguments, given = call(groups="rows", own=own, reduction=0.0)
    values = [float(model(arguments, given, arguments[2]))]
    for sweeps in range(1, 8):
        found = kernels.block_descent(*arguments, **given, sweeps=sweeps, backend=backend)
        values.append(float(model(arguments, given, found)))
    assert all(b <= a + 1e-11 for a, b in itertools.pairwise(values))
    assert values[-1] < values[0]


@pytest.mark.parametrize("backend", ALL)
def test_without_penalty_and_curvature_weights_stay(backend):
    arguments, given = call(ridge=0.0)
    flat = torch.zeros_like(arguments[0]), torch.zeros_like(arguments[1]), arguments[2]
    free = given | {"penalty": torch.zeros_like(given["penalty"])}
    assert torch.equal(kernels.block_descent(*flat, **free, backend=backend), arguments[2])
    held = given | {"penalty": torch.ones_like(given["penalty"])}
    assert not kernels.block_descent(*flat, **held, backend=backend).any()


@pytest.mark.parametrize("backend", ALL)
def test_a_group_without_tasks_and_no_rows_change_nothing(backend):
    arguments, given = call()
    wanted = kernels.block_descent(*arguments, **given, backend=backend)
    more = torch.cat([given["penalty"], torch.ones(1, K, dtype=torch.float64)])
    found = kernels.block_descent(*arguments, **given | {"penalty": more}, backend=backend)
    assert torch.equal(found, wanted)
    none = arguments[0][:, :0, :0], arguments[1][:, :0], arguments[2][:, :0]
    given["penalty"] = given["penalty"][:, :0]
    assert kernels.block_descent(*none, **given, backend=backend).shape == (M, 0)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("size", [2.0**-200, 2.0**200])
def test_scales_of_the_features_do_not_matter(backend, size):
    arguments, given = call(sweeps=20)
    wanted = kernels.block_descent(*arguments, **given, backend=backend)
    arguments, given = call(size=size, sweeps=20)
    found = kernels.block_descent(*arguments, **given, backend=backend)
    torch.testing.assert_close(found * size, wanted, rtol=1e-12, atol=0)


def test_shuffles_are_permutations():
    order, state = list(range(50)), 1
    for _ in range(3):
        before = list(order)
        state = shuffle(order, state)
        assert sorted(order) == list(range(50))
        assert order != before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"gram": torch.ones(2, K, K, dtype=torch.float64)}, ValueError, "gram has shape"),
        ({"weights": torch.ones(M, 3, dtype=torch.float64)}, ValueError, "slopes and weights"),
        ({"slopes": torch.ones(M, K)}, TypeError, "slopes is torch.float32"),
        ({"penalty": torch.ones(3, 2, dtype=torch.float64)}, ValueError, "penalty has shape"),
        ({"groups": torch.zeros(2, dtype=torch.int64)}, ValueError, "groups has shape"),
        ({"groups": torch.full((M,), 3)}, ValueError, "groups: a number is out of range"),
        ({"groups": torch.zeros(M)}, TypeError, "groups is torch.float32"),
        ({"ridge": -1.0}, ValueError, "ridge is -1"),
        ({"sweeps": -1}, ValueError, "sweeps is -1"),
    ],
)
def test_bad_arguments_raise(change, error, message):
    (gram, slopes, weights), given = call()
    given |= {"gram": gram, "slopes": slopes, "weights": weights} | change
    with pytest.raises(error, match=message):
        kernels.block_descent(**given)
