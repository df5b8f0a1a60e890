"""Some entries of a product on GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from .launch import blocks, gpu_floats
from .sampled_kernels import product_kernel

if TYPE_CHECKING:
    from proxmtl.kernels.ops.sampled_product import SampledProductArgs


class SampledConfig(NamedTuple):
    """Places and features of a tile, and warps of a program."""

    places: int
    features: int
    warps: int


# Programs for a group at most: few groups of many places would leave most of a GPU idle.
MOST_SPLITS = 64


def sampled_config(itemsize: int) -> SampledConfig:
    """Tiles of 16 KiB, of which each thread holds 32 registers."""
    return SampledConfig(16, 1024 // itemsize, 4)


def supports(args: Any) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter."""
    return gpu_floats(args.X)


def run(args: SampledProductArgs) -> torch.Tensor:
    """Inner products of every place."""
    out = args.X.new_empty(args.entries.n_places)
    n_groups = args.entries.tasks.numel()
    config = sampled_config(args.X.itemsize)
    if n_groups:
        mean = blocks(args.entries.n_places, n_groups)
        splits = min(MOST_SPLITS, max(1, mean // (4 * config.places)))
        product_kernel[(n_groups, splits)](
            args.X,
            args.W,
            *args.entries,
            out,
            args.X.shape[1],
            E=config.places,
            D=config.features,
            num_warps=config.warps,
        )
    return out
