"""The proximal operations on a real GPU: against the loops, under CUDA graphs, at large offsets.

Fresh memory is NaN in all tests: see ``tests/conftest.py``.
"""

from functools import partial

import pytest
import torch
from prox_cases import TOLERANCE, close, from_lists, strided, tiles

from proxmtl import kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

BACKENDS = ["torch", "triton"]
DISJOINT = {
    "uniform, aligned": tiles([16] * 40),
    "uniform, of ten": tiles([10] * 64),
    "ragged": tiles([11, 6, 4, 2] * 25 + [0, 65]),
    "scattered, with gaps": from_lists([list(range(0, 640, 7)), list(range(1, 640, 7))], 640),
    "long": tiles([9000, 1, 39]),
    "longer than a program": tiles([16300, 9000]),
}
WINDOWS = from_lists([list(range(k, k + 10)) for k in range(0, 631, 5)], 640)
ROWS = 9


def draw(n_items, dtype, axis=1, layout="contiguous"):
    shape = (ROWS, n_items) if axis == 1 else (n_items, ROWS)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(n_items))
    values[values < -1.5] = 0
    return strided(values.to(dtype), layout)


def weights_of(groups):
    return torch.linspace(0, 2, groups.n_groups, dtype=torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced"])
def test_soft_threshold(backend, dtype, layout):
    V = draw(4001, dtype, layout=layout)
    for weights in (0.3, torch.rand(4001, dtype=torch.float64)):
        wanted, penalty = kernels.soft_threshold(V.double(), weights, step=0.5, backend="naive")
        there = weights.cuda() if isinstance(weights, torch.Tensor) else weights
        seen, value = kernels.soft_threshold(V.cuda(), there, step=0.5, backend=backend)
        assert seen.dtype == dtype
        close(seen.cpu(), wanted, dtype, 8.0)
        accumulation = torch.float64 if dtype == torch.float64 else torch.float32
        close(value.cpu(), penalty, accumulation, V.numel())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("l1", [0.0, 0.2])
@pytest.mark.parametrize("name", DISJOINT)
def test_group_shrink(backend, dtype, axis, l1, name):
    groups = DISJOINT[name]
    V, weights = draw(groups.n_items, dtype, axis), weights_of(groups)
    options = {"step": 0.7, "axis": axis, "l1": l1}
    wanted, penalty = kernels.group_shrink(
        V.double(), groups.index, weights, **options, backend="naive"
    )
    there = V.cuda()
    call = partial(kernels.group_shrink, there, groups.index, weights.cuda(), **options)
    seen, value = call(backend=backend)
    close(seen.cpu(), wanted, dtype, 16.0)
    accumulation = torch.float64 if dtype == torch.float64 else torch.float32
    close(value.cpu(), penalty, accumulation, 4 * V.numel())
    again, _ = call(backend=backend, out=there)
    assert again is there
    assert torch.equal(again, seen)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("axis", [0, 1])
def test_smoothed_group_grad(backend, dtype, axis):
    V, weights = draw(640, dtype, axis), weights_of(WINDOWS)
    wanted = kernels.smoothed_group_grad(
        V.double(), WINDOWS.index, weights, 0.5, axis=axis, backend="naive"
    )
    seen = kernels.smoothed_group_grad(
        V.cuda(), WINDOWS.index, weights.cuda(), 0.5, axis=axis, backend=backend
    )
    close(seen.grad.cpu(), wanted.grad, dtype, 16.0)
    accumulation = torch.float64 if dtype == torch.float64 else torch.float32
    for name in ("value", "penalty", "dual_sqnorm"):
        close(getattr(seen, name).cpu(), getattr(wanted, name), accumulation, 8 * V.numel())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("axis", [0, 1])
def test_overlap_dual_sweep(backend, dtype, axis):
    V, weights = draw(640, dtype, axis), weights_of(WINDOWS)
    shape = list(V.shape)
    shape[axis] = WINDOWS.n_members
    results = {}
    for name in ("naive", backend):
        move = (lambda t: t) if name == "naive" else torch.Tensor.cuda
        x, dual = move(V.clone()), move(torch.zeros(shape, dtype=dtype))
        gap, value = kernels.overlap_dual_sweep(
            x, dual, WINDOWS.index, move(weights), step=0.3, axis=axis, sweeps=3, backend=name
        )
        results[name] = [t.cpu() for t in (x, dual, gap, value)]
    for seen, wanted in zip(results[backend], results["naive"], strict=True):
        close(seen, wanted, dtype, 1000.0)


GRAPHED = {
    "soft_threshold": lambda V, out: kernels.soft_threshold(V, 0.3, out=out),
    "group_shrink": lambda V, out: kernels.group_shrink(
        V, DISJOINT["ragged"].index, 0.5, l1=0.1, out=out
    ),
    "smoothed_group_grad": lambda V, out: kernels.smoothed_group_grad(
        V, DISJOINT["ragged"].index, 0.5, 0.1, out=out
    )[1:3],
    "overlap_dual_sweep": lambda V, out: kernels.overlap_dual_sweep(
        out.copy_(V), torch.zeros_like(V), DISJOINT["ragged"].index, 0.5, sweeps=2
    ),
}


@pytest.mark.parametrize("name", GRAPHED)
def test_cuda_graph(name):
    call = GRAPHED[name]
    V = draw(DISJOINT["ragged"].n_items, torch.float32).cuda()
    out = torch.full_like(V, float("nan"))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call(V, out)  # compiles, and copies the tables of the groups
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call(V, out)
    V.copy_(torch.randn_like(V))
    out.fill_(float("nan"))
    graph.replay()
    seen = [t.clone() for t in result]
    for s, w in zip(seen, call(V, torch.empty_like(V)), strict=True):
        assert torch.equal(s, w)


@pytest.mark.parametrize("name", ["group_shrink", "smoothed_group_grad"])
def test_bits_repeat(name):
    V = draw(DISJOINT["ragged"].n_items, torch.float32).cuda()
    first, second = (GRAPHED[name](V, torch.empty_like(V)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("operation", ["soft", "shrink"])
def test_offsets_beyond_32_bits(operation):
    rows, n = 2**21 + 3, 1024
    if torch.cuda.mem_get_info()[0] < 8 * rows * n:
        pytest.skip("needs 17 GB of GPU memory")
    V = torch.zeros(rows, n, dtype=torch.float16, device="cuda")
    last = torch.randn(n).half()
    V[-1] = last
    groups = tiles([n // 2, n // 2])
    if operation == "soft":
        seen, value = kernels.soft_threshold(V, 0.5, out=V, backend="triton")
        wanted, penalty = kernels.soft_threshold(last.double(), 0.5, backend="naive")
    else:
        seen, value = kernels.group_shrink(V, groups.index, 2.0, out=V, backend="triton")
        wanted, penalty = kernels.group_shrink(last.double(), groups.index, 2.0, backend="naive")
    close(seen[-1].cpu(), wanted, torch.float16, 4.0)
    close(value.cpu(), penalty, torch.float32, 1000.0)
    assert not seen[: rows - 1].any()
