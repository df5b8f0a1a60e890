"""hinge_value_and_grad on a real GPU: against the loops, under CUDA graphs, at a large size."""

import pytest
import torch
from hinge_cases import KINDS, LOSSES, random_call

from proxmtl import kernels

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpu(value):
    if isinstance(value, torch.Tensor):
        return value.cuda()
    return [on_gpu(v) for v in value] if isinstance(value, list) else value


def close(seen, wanted, tolerance):
    for s, w in zip(seen, wanted, strict=True):
        if isinstance(w, (list, tuple)):
            close(s, w, tolerance)
        else:
            size = max(1.0, w.abs().max().item())
            torch.testing.assert_close(s.cpu(), w, rtol=0, atol=tolerance * size)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("n_features", [1, 33, 512, 4096, 9000])
def test_agrees_with_the_loops(backend, kind, loss, dtype, n_features):
    call = random_call(kind, [37, 37, 37], n_features, dtype=dtype, loss=loss)
    wanted = kernels.hinge_value_and_grad(**call, return_scores=True, backend="naive")
    call = {name: on_gpu(value) for name, value in call.items()}
    for deterministic in (True, False):
        seen = kernels.hinge_value_and_grad(
            **call, return_scores=True, deterministic=deterministic, backend=backend
        )
        close(seen, wanted, 1e-12 if dtype == torch.float64 else 2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bits_repeat(kind):
    call = random_call(kind, [3000, 3000], 1024)
    call = {name: on_gpu(value) for name, value in call.items()}
    first, second = (kernels.hinge_value_and_grad(**call, backend="triton") for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], second[:3], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_cuda_graph(kind):
    call = random_call(kind, [300, 300], 512)
    call = {name: on_gpu(value) for name, value in call.items()}
    kernels.hinge_value_and_grad(**call, backend="triton")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = kernels.hinge_value_and_grad(**call, backend="triton")
    call["W"].mul_(2)
    graph.replay()
    wanted = kernels.hinge_value_and_grad(**call, backend="triton")
    assert all(torch.equal(a, b) for a, b in zip(result[:3], wanted[:3], strict=True))
