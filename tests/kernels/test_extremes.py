"""Every backend at the ends of the range, against the naive loops: nothing over- or underflows."""

import math

import pytest
import torch
from prox_cases import BACKENDS

from proxmtl import kernels

SCALES = {
    torch.float64: [5e-320, 1e-300, 1e-160, 1e-30, 1e30, 1e160, 1e300],
    torch.float32: [1e-40, 1e-30, 1e-22, 1e22, 1e30, 1e36],
}
CASES = [(dtype, scale) for dtype, scales in SCALES.items() for scale in scales]
EPS = {torch.float64: 2.0**-52, torch.float32: 2.0**-23}
SMALLEST = {torch.float64: 5e-324, torch.float32: 2.0**-149}

SHORT, LONG = 10, 300
GROUPS = {
    "tiles": [[0, 1], [2, 3, 4], [5, 6, 7, 8], [9]],
    "scattered": [[0, 3, 7], [1, 9], [4, 5, 8]],
    "long": [list(range(LONG))],
}


def csr(name):
    lists = GROUPS[name]
    starts = torch.tensor([0, *map(len, lists)]).cumsum(0)
    return kernels.GroupIndex(starts, torch.tensor([i for group in lists for i in group]))


def parameter(name, axis, dtype, scale, seed=0):
    n = LONG if name == "long" else SHORT
    shape = (3, n) if axis == 1 else (n, 3)
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def close(seen, wanted, dtype, size):
    """To some roundings of each entry and of the largest operand, and of denormal numbers."""
    atol = 64 * EPS[dtype] * size + 4 * SMALLEST[dtype]
    torch.testing.assert_close(seen.double(), wanted.double(), rtol=64 * EPS[dtype], atol=atol)


def same_number(seen, wanted, dtype, n):
    # a sum of n rounded terms, each wrong by a denormal number at most
    slack = n * SMALLEST[dtype]
    assert float(seen) == pytest.approx(float(wanted), rel=n * EPS[dtype], abs=slack)


@pytest.mark.parametrize(("dtype", "scale"), CASES, ids=str)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_group_shrink(backend, name, axis, dtype, scale):
    V = parameter(name, axis, dtype, scale)
    for step, l1 in ((0.0, 0.0), (1e-3, 0.0), (0.5, 0.0), (0.2, 0.3), (1e6, 0.0)):
        options = {"step": step * scale, "axis": axis, "l1": l1}
        wanted, wanted_value = kernels.group_shrink(V, csr(name), 1.0, **options, backend="naive")
        for out in (None, V.clone()):
            source = V if out is None else out
            seen, value = kernels.group_shrink(
                source, csr(name), 1.0, **options, out=out, backend=backend
            )
            close(seen, wanted, dtype, step * scale)
            same_number(value, wanted_value, dtype, 4 * V.numel())
    assert not bool(wanted.movedim(axis, -1)[..., csr(name).indices].any())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", SCALES)
@pytest.mark.parametrize("axis", [0, 1])
def test_groups_of_one_call_have_scales_of_their_own(backend, axis, dtype):
    small, large = (1e-200, 1e200) if dtype == torch.float64 else (1e-30, 1e30)
    sizes = torch.tensor([1, 1, small, small, small, large, large, large, large, 0], dtype=dtype)
    V = parameter("tiles", 1, dtype, 1.0) * sizes
    V = V if axis == 1 else V.T.contiguous()
    weights = torch.tensor([0.1, 0.1 * small, 0.1 * large, small], dtype=torch.float64)
    options = {"axis": axis}
    wanted, _ = kernels.group_shrink(V, csr("tiles"), weights, **options, backend="naive")
    seen, _ = kernels.group_shrink(V, csr("tiles"), weights, **options, backend=backend)
    torch.testing.assert_close(seen, wanted, rtol=64 * EPS[dtype], atol=0)
    assert bool((seen != 0).sum() > V.numel() / 2)


OVERLAPPING = kernels.GroupIndex(
    torch.tensor([0, 4, 8, 10]), torch.tensor([0, 1, 2, 3, 3, 4, 5, 6, 6, 7])
)


@pytest.mark.parametrize(("dtype", "scale"), CASES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_overlap_dual_sweep(backend, dtype, scale):
    X = parameter("tiles", 1, dtype, scale)
    pairs = []  # one sweep: whether another follows is told by a gap, a square of these scales
    for chosen in ("naive", backend):
        x, dual = X.clone(), torch.zeros(len(X), 10, dtype=dtype)
        kernels.overlap_dual_sweep(
            x, dual, OVERLAPPING, 1.0, step=0.7 * scale, sweeps=1, backend=chosen
        )
        pairs.append((x, dual))
    for wanted, seen in zip(*pairs, strict=True):
        close(seen, wanted, dtype, scale)
    assert bool((pairs[1][0] != X).any())


@pytest.mark.parametrize(("dtype", "scale"), CASES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_smoothed_group_grad(backend, dtype, scale):
    V = parameter("tiles", 1, dtype, scale)
    for smoothness in (1e-3 * scale, scale, 1e3 * scale):
        if not smoothness * torch.finfo(dtype).max > 10:
            continue  # the slopes themselves are beyond the range
        arguments = V, OVERLAPPING, 1.0, smoothness
        wanted = kernels.smoothed_group_grad(*arguments, backend="naive")
        seen = kernels.smoothed_group_grad(*arguments, backend=backend)
        # slopes of denormal inputs have few digits
        close(seen.grad, wanted.grad, dtype, 1.0 if scale > 1e-300 else 1e10)
        same_number(seen.value, wanted.value, dtype, 400)
        same_number(seen.penalty, wanted.penalty, dtype, 400)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
def test_large_weights_at_step_zero(backend, dtype):
    if not kernels.supports("soft_threshold", torch.ones(2, dtype=dtype), 1.0)[backend][0]:
        pytest.skip(f"{backend} does not serve {dtype}")
    V, weights = torch.ones(3, SHORT, dtype=dtype), torch.full((SHORT,), 1e8)
    zero = torch.zeros_like(V)
    for given in (V, zero):
        x, value = kernels.soft_threshold(given, weights, step=0.0, backend=backend)
        assert torch.equal(x, given)
        assert float(value) == pytest.approx(1e8 * float(given.double().sum()), rel=1e-6)
        x, value = kernels.group_shrink(
            given, csr("tiles"), torch.full((4,), 1e8), step=0.0, backend=backend
        )
        assert torch.equal(x, given)
        assert not math.isnan(float(value))


@pytest.mark.parametrize("backend", ["naive", *BACKENDS])
@pytest.mark.parametrize(("shape", "axis"), [((0, SHORT), 1), ((SHORT, 0), 0), ((0, SHORT, 2), 1)])
@pytest.mark.parametrize("dtype", SCALES)
def test_no_fibres(backend, shape, axis, dtype):
    V, groups = torch.zeros(shape, dtype=dtype), csr("tiles")
    x, value = kernels.group_shrink(V, groups, 1.0, axis=axis, l1=0.1, backend=backend)
    assert x.shape == shape
    assert float(value) == 0
    x, value = kernels.soft_threshold(V, 1.0, backend=backend)
    assert x.shape == shape
    assert float(value) == 0
    smoothed = kernels.smoothed_group_grad(V, groups, 1.0, 0.1, axis=axis, backend=backend)
    assert smoothed.grad.shape == shape
    assert float(smoothed.value) == 0
    dual = V.new_zeros([10 if k == axis else size for k, size in enumerate(shape)])
    gaps, value = kernels.overlap_dual_sweep(V, dual, groups, 1.0, axis=axis, backend=backend)
    assert gaps.numel() == 0
    assert float(value) == 0
    x, value = kernels.chain_prox(V, 1.0, axis=axis, backend="torch")
    assert x.shape == shape
    assert float(value) == 0
