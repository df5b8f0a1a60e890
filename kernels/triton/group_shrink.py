"""Group prox on GPUs: one read, one write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from proxmtl.kernels.fibres import accumulation_dtype

from .launch import blocks, dense, gpu_floats, partial_sums
from .prox_config import across_config, longest_tile, tile_config
from .prox_kernels import shrink_across_kernel, shrink_kernel

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupIndex
    from proxmtl.kernels.ops.group_shrink import GroupShrinkArgs

    from .launch import Dense


def supports(args: GroupShrinkArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter."""
    return gpu_floats(args.V)


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    pair = dense(args.V, args.axis, args.out)
    if not args.V.numel():
        return pair.finish(), pair.x.new_zeros((), dtype=torch.float64)
    # Items in no group are taken along in groups of weight 0: nothing is read or written twice.
    groups = args.groups.filled(pair.n)
    size = groups.uniform_size if groups.tiles(pair.n) else 0
    longest = longest_tile(accumulation_dtype(args.V).itemsize, uniform=size > 0)
    walked = pair.inner > 1 or groups.max_size > longest
    launch = (_across if walked else _along)(args, pair, groups)
    partial = partial_sums(launch.programs, 1, pair.x)
    indptr, indices, _ = groups.on(args.device)
    launch.kernel[(launch.programs,)](
        pair.x,
        pair.out,
        indptr,
        indices,
        args.weights,
        partial,
        launch.first,
        groups.n_groups,
        args.groups.n_groups,
        pair.n,
        *launch.others,
        args.step,
        args.l1,
        SHARED=args.weights.numel() == 1,
        SPARSE=args.l1 > 0,
        TILED=groups.tiles(pair.n),
        **launch.constants,
    )
    return pair.finish(), partial.sum()


class _Launch(NamedTuple):
    """A kernel, its programs, its arguments before and after the sizes of groups, its constants."""

    kernel: Any
    programs: int
    first: int
    others: tuple[int, ...]
    constants: dict[str, Any]


def _along(args: GroupShrinkArgs, pair: Dense, groups: GroupIndex) -> _Launch:
    n_pairs = pair.outer * groups.n_groups
    config = tile_config(groups.max_size, accumulation_dtype(args.V).itemsize)
    size = groups.uniform_size if groups.tiles(pair.n) else 0
    constants = {"SIZE": size, "R": config.rows, "P": config.width, "num_warps": config.warps}
    return _Launch(shrink_kernel, blocks(n_pairs, config.rows), n_pairs, (), constants)


def _across(args: GroupShrinkArgs, pair: Dense, groups: GroupIndex) -> _Launch:
    config = across_config(pair.inner, accumulation_dtype(args.V).itemsize)
    fibre_blocks = blocks(pair.inner, config.width)
    programs = pair.outer * groups.n_groups * fibre_blocks
    once = groups.max_size <= config.rows
    shape = {"BLOCK_N": config.rows, "BLOCK_C": config.width, "num_warps": config.warps}
    constants = {"ONCE": once, **shape}
    return _Launch(shrink_across_kernel, programs, fibre_blocks, (pair.inner,), constants)
