"""Features that are read on the host and computed with on a GPU."""

import pytest
import torch

import proxmtl as pm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

N, D, M = 20_000, 40, 3


def designs(dtype):
    g = torch.Generator().manual_seed(0)
    X = torch.randn(N, D, generator=g, dtype=torch.float64).to(dtype)
    held = pm.SharedDesign(X.cuda(), intercept=True)
    # some hundreds of blocks, far fewer of which are in memory at a time
    streamed = pm.StreamedDesign(X.numpy(), intercept=True, memory=1 << 16, device="cuda")
    assert N // streamed.blocks.rows > 100
    return streamed, held, g


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_products_are_those_of_features_on_the_device(dtype):
    streamed, held, g = designs(dtype)
    wide = streamed.dtype
    W = torch.randn(D + 1, M, generator=g, dtype=torch.float64).to("cuda", wide)
    R = torch.randn(N, M, generator=g, dtype=torch.float64).to("cuda", wide)
    torch.testing.assert_close(streamed.scores(W), held.scores(W))
    scale = R.norm() * held.magnitude() * (N * D) ** 0.5
    rounding = 100 * torch.finfo(wide).eps
    assert (streamed.adjoint(R) - held.adjoint(R)).norm() <= rounding * scale
    scores, (grad,) = streamed.sweep(W, lambda rows, z: (z * R[rows],))
    torch.testing.assert_close(scores, held.scores(W))
    expected = held.adjoint(scores * R)
    assert (grad - expected).norm() <= rounding * scale * float(scores.abs().max())


@pytest.mark.parametrize("solver", [None, pm.FISTA(), pm.ProxSVRG(batch=64)])
def test_a_solution_is_that_of_features_on_the_device(solver):
    streamed, held, g = designs(torch.float64)
    Y = torch.sign(torch.randn(N, M, generator=g, dtype=torch.float64)).cuda()
    found, expected = (
        pm.minimize(pm.Problem.of(design, Y, pm.L1(0.01), loss=pm.Logistic()), solver, tol=1e-7)
        for design in (streamed, held)
    )
    assert found.status.ok
    assert found.solution.device.type == "cuda"
    torch.testing.assert_close(found.objective, expected.objective, rtol=1e-6, atol=0)
