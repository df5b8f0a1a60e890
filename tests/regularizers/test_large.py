"""Large arguments, which the fused kernels serve: the same prox as on small ones."""

import pytest
import torch

from proxmtl import L1
from proxmtl.regularizers.l1 import WORTH_FUSING, soft


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_l1_prox_of_a_large_matrix(dtype, layout):
    V = torch.randn(WORTH_FUSING // 100 + 1, 100, dtype=dtype)
    V[3, 4] = float("nan")
    V = V.T if layout == "transposed" else V
    out, value = L1(0.3).prox(V, 0.5)
    torch.testing.assert_close(out, soft(V, 0.15), equal_nan=True, rtol=0, atol=1e-6)
    assert (out == 0).sum() == (V.abs() <= 0.15).sum()
    assert value.isnan()
    assert (value.shape, value.dtype) == ((), dtype)
    finite = V.nan_to_num()
    out, value = L1(0.3).prox(finite, 0.5)
    torch.testing.assert_close(value, L1(0.3).value(out), rtol=1e-4, atol=0)
    out, value = L1(0.3).prox(finite, torch.tensor(0.5, dtype=dtype))
    torch.testing.assert_close(out, soft(finite, 0.15), rtol=0, atol=1e-6)


def test_l1_prox_of_a_large_matrix_is_recorded():
    V = torch.randn(WORTH_FUSING, requires_grad=True)
    out, _ = L1(0.3).prox(V, 0.5)
    out.sum().backward()
    assert torch.equal(V.grad != 0, out.detach() != 0)
