"""Offsets beyond 2³¹: in the interpreter, on memory of which only a few pages are ever touched."""

import pytest
import torch
from prox_cases import INTERPRETED

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="run by test_triton_interpreter")


def test_triton_reaches_the_last_fibre_of_a_large_tensor():
    from proxmtl.kernels.triton.prox_kernels import shrink_kernel

    n = 2**30 + 32
    X = torch.empty(2 * n, dtype=torch.float16)
    members = torch.tensor([1, n - 3])
    places = torch.cat([members, n + members])
    assert places[-1] > 2**31
    X[places] = torch.tensor([3.0, 4.0, 6.0, 8.0], dtype=torch.float16)
    partial = torch.empty(1, 1, dtype=torch.float64)
    shrink_kernel[(1,)](
        X,
        X,
        torch.tensor([0, 2]),
        members,
        torch.ones(1, dtype=torch.float64),
        partial,
        2,
        1,
        1,
        n,
        2.5,
        0.0,
        SHARED=True,
        SPARSE=False,
        SIZE=0,
        TILED=False,
        R=2,
        P=2,
    )
    torch.testing.assert_close(X[places], torch.tensor([1.5, 2.0, 4.5, 6.0], dtype=torch.float16))
    assert partial.item() == pytest.approx(2.5 + 7.5)
