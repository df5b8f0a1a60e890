"""The adjoint of some entries of a product on GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .launch import blocks
from .sampled_kernels import adjoint_kernel
from .sampled_product import sampled_config, supports

if TYPE_CHECKING:
    from proxmtl.kernels.ops.sampled_adjoint import SampledAdjointArgs

__all__ = ["run", "supports"]


def run(args: SampledAdjointArgs) -> None:
    """Sum of the weighted rows of every group, added to its task's."""
    n_groups, width = args.entries.tasks.numel(), args.X.shape[1]
    config = sampled_config(args.X.itemsize)
    tiles = blocks(width, config.features)
    if n_groups and tiles:
        adjoint_kernel[(n_groups, tiles)](
            args.X,
            args.values,
            *args.entries,
            args.out,
            width,
            E=config.places,
            D=config.features,
            num_warps=config.warps,
        )
