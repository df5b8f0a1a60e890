"""Typed loads: every float16 and bfloat16 is widened exactly, with or without an instruction."""

import pytest
import torch
from numba import njit

from proxmtl.kernels.numba import memory


@pytest.mark.parametrize(
    ("dtype", "load"),
    [
        (torch.float16, memory.load),
        (torch.float16, njit(memory.load_float16_by_bits)),
        (torch.bfloat16, memory.load),
    ],
)
def test_every_pattern_of_16_bits_is_widened(dtype, load):
    tag = memory.TAGS[dtype]
    stored = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    seen = torch.empty(2**16, dtype=torch.float32)

    @njit
    def widen(address, target):
        for i in range(target.shape[0]):
            target[i] = load(address, i, tag)

    widen(stored.data_ptr(), seen.numpy())
    torch.testing.assert_close(seen, stored.float(), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(seen.signbit(), stored.float().signbit())
