"""Soft threshold on GPUs: one read, one write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .launch import blocks, dense, gpu_floats, partial_sums
from .prox_config import ENTRY_BLOCK, ENTRY_WARPS
from .prox_kernels import soft_kernel

if TYPE_CHECKING:
    import torch

    from proxmtl.kernels.ops.soft_threshold import SoftThresholdArgs


def supports(args: SoftThresholdArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter."""
    return gpu_floats(args.V)


def run(args: SoftThresholdArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft threshold of every entry, and the weighted sum of magnitudes."""
    pair = dense(args.V, 0, args.out)
    count = pair.x.numel()
    programs = blocks(count, ENTRY_BLOCK)
    partial = partial_sums(programs, 1, pair.x)
    each = args.weights.numel() > 1
    if programs:
        soft_kernel[(programs,)](
            pair.x,
            pair.out,
            pair.aligned(args.weights) if each else args.weights,
            partial,
            count,
            args.step,
            EACH=each,
            BLOCK=ENTRY_BLOCK,
            num_warps=ENTRY_WARPS,
        )
    return pair.finish(), partial.sum()
