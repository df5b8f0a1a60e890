"""Offsets beyond 2³¹: in the interpreter, on memory of which only a few pages are ever touched.

Kernels whose programs stand at consecutive entries would need a million of them to get there: of
those, the compile gate shows that no offset is made by a 32-bit product.
"""

import pytest
import torch
from prox_cases import INTERPRETED, tiles

from proxmtl import kernels

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="run by test_triton_interpreter")

N = 2**30 + 32
PAIR = {"indptr": torch.tensor([0, 2]), "indices": torch.tensor([1, N - 3])}
ONE = torch.ones(1, dtype=torch.float64)
VALUES = torch.tensor([[3.0, 4.0], [6.0, 8.0], [0.3, 0.4], [0.0, 5.0]], dtype=torch.float16)


def fibres(count):
    """Fibres of length N with two entries each that matter, and the places of these."""
    places = torch.arange(count)[:, None] * N + PAIR["indices"]
    assert places[-1, -1] > 2**31
    memory = torch.empty(count * N, dtype=torch.float16)
    memory[places] = VALUES[:count]
    return memory, places


def test_triton_shrinks_the_last_fibre_of_a_large_tensor():
    from proxmtl.kernels.triton.prox_kernels import shrink_kernel

    X, places = fibres(2)
    partial = torch.empty(1, 1, dtype=torch.float64)
    numbers = (2, 1, 1, N, 2.5, 0.0)  # pairs, groups, groups with weights, n, step, l1
    options = {"SHARED": True, "SPARSE": False, "SIZE": 0, "TILED": False, "R": 2, "P": 2}
    shrink_kernel[(1,)](X, X, *PAIR.values(), ONE, partial, *numbers, **options)
    wanted = torch.tensor([[1.5, 2.0], [4.5, 6.0]], dtype=torch.float16)
    torch.testing.assert_close(X[places], wanted)
    assert partial.item() == pytest.approx(2.5 + 7.5)


@pytest.mark.parametrize("once", [True, False])
def test_triton_shrinks_the_last_row_of_a_large_tensor(once):
    from proxmtl.kernels.triton.prox_kernels import shrink_across_kernel

    inner = 2**30
    X = torch.empty(3 * inner, dtype=torch.float16)
    places = torch.tensor([[0, 2 * inner], [1, 2 * inner + 1]])
    X[places] = VALUES[:2]
    partial = torch.empty(1, dtype=torch.float64)
    numbers = (inner // 2, 1, 1, 3, inner, 2.5, 0.0)  # blocks of fibres, groups, ...
    options = {"SHARED": True, "SPARSE": False, "TILED": False, "ONCE": once, "BLOCK_C": 2}
    groups = (torch.tensor([0, 2]), torch.tensor([0, 2]))
    rows = 2 if once else 1
    shrink_across_kernel[(1,)](X, X, *groups, ONE, partial, *numbers, **options, BLOCK_N=rows)
    wanted = torch.tensor([[1.5, 2.0], [4.5, 6.0]], dtype=torch.float16)
    torch.testing.assert_close(X[places], wanted)
    assert partial.item() == pytest.approx(2.5 + 7.5)


def test_triton_sweeps_the_last_fibre_of_a_large_tensor():
    from proxmtl.kernels.triton.overlap_kernels import sweep_kernel

    X, places = fibres(4)
    x, wanted_dual = VALUES.float(), torch.zeros(4, 2)
    wanted_gap, _ = kernels.overlap_dual_sweep(
        x, wanted_dual, tiles([2]).index, 1.0, step=0.5, sweeps=1, backend="naive"
    )
    dual = torch.zeros(4, 2)
    gap, penalty = torch.empty(2, 4, dtype=torch.float64)
    numbers = (4, 1, N, 2, 1, 0.5, 0.0)  # fibres, groups, n, members, sweeps, step, tolerance
    options = {"SHARED": True, "R": 4, "P": 2}
    sweep_kernel[(1,)](X, dual, gap, penalty, *PAIR.values(), ONE, *numbers, **options)
    torch.testing.assert_close(X[places].float(), x, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(dual, wanted_dual, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(gap, wanted_gap, rtol=1e-2, atol=1e-2)
