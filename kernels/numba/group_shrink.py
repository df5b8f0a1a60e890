"""Group prox on CPUs: one read, one write, no temporary as large as the tensor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from .arrays import cpu_floats, group_weights, paired, scalar
from .order import ordered
from .parts import group_parts, parts_across
from .pool import cuts, run_pieces, shares
from .shrink_flow import shrink_flow
from .shrink_gather import shrink_gathered
from .shrink_long import shrink_each, shrink_each_sparse
from .shrink_strided import shrink_strided
from .shrink_tiles import shrink_staged
from .tables import VECTORS, tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from proxmtl.kernels.group_index import GroupIndex
    from proxmtl.kernels.prox_args import GroupShrinkArgs

    from .arrays import Pair

    Weights = tuple[NDArray[np.float64], int]

# From this mean size on, groups are taken one by one.
_LONG = 64
# Shapes whose plans an index keeps.
_MOST_PLANS = 64


class _Plan(NamedTuple):
    """Which loop shrinks tensors of one shape, and all of its arguments that don't change.

    The loop takes the tensor, the result, ``places``, ``before``, the weights and the step between
    them, the step of the prox and, where ``sparse``, the weight of the L1 norm, ``after``, and one
    of ``parts``.
    """

    loop: Callable[..., float]
    places: Callable[[Pair], tuple[Any, ...]]
    before: tuple[Any, ...]
    weights: Callable[[NDArray[np.float64], int], Weights]
    sparse: bool
    after: tuple[Any, ...]
    parts: Sequence[tuple[int, ...]]


def supports(args: GroupShrinkArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: GroupShrinkArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Soft-threshold every entry, then shrink every group; value of the penalty there."""
    pair = paired(args.V, args.out)
    if not pair.x.size:
        return pair.finish(), scalar(0.0)
    plan = _plan(args, pair)
    numbers = (args.step, args.l1) if plan.sparse else (args.step,)
    weights = plan.weights(*group_weights(args.weights))
    operands = pair.x, pair.out, *plan.places(pair), *plan.before, *weights, *numbers, *plan.after
    value = sum(run_pieces(plan.loop, [(*operands, *part) for part in plan.parts]))
    return pair.finish(), scalar(value)


def _plan(args: GroupShrinkArgs, pair: Pair) -> _Plan:
    """Plan for this shape, kept with the groups."""
    plans = args.groups.derived(_no_plans)
    axis = 1 - args.axis if pair.swapped else args.axis
    key = pair.target.shape, axis, pair.x.itemsize, args.l1 > 0
    plan = plans.get(key)
    if plan is None:
        shape, groups = pair.target.shape, args.groups
        outer, inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        if inner > 1:
            plan = _across(groups, outer, shape[axis], inner)
        else:
            plan = _along(groups, outer, shape[axis], *key[2:])
        if len(plans) >= _MOST_PLANS:
            plans.clear()
        plans[key] = plan
    return plan


def _no_plans(groups: GroupIndex) -> dict[Any, _Plan]:
    del groups
    return {}


def _along(groups: GroupIndex, outer: int, n: int, size: int, sparse: bool) -> _Plan:
    """Groups of contiguous fibres, of entries of so many bytes."""
    pieces, n_parts = ordered(groups, n), shares(outer * n)
    if pieces is None:
        parts = cuts(outer, min(outer, n_parts))
        return _Plan(shrink_gathered, _nowhere, (n, *groups.arrays), _given, True, (), parts)
    if n >= _LONG * pieces.n_groups:
        each, parts = (pieces.bounds,), group_parts(pieces.bounds, outer, n_parts)
        loop = shrink_each_sparse if sparse else shrink_each
        return _Plan(loop, _past_caches, each, pieces.weights, sparse, (), parts)
    table = tiles(groups, n, outer)
    before, after = (table.tables(size), table.most), (table.tag, VECTORS[size])
    parts = table.cuts(outer, n_parts)
    if sparse:
        return _Plan(shrink_staged, _past_caches, before, table.weights, True, after, parts)
    return _Plan(shrink_flow, _aligned, before, table.weights, False, after, parts)


def _across(groups: GroupIndex, outer: int, n: int, inner: int) -> _Plan:
    """Groups across memory; items in no group are taken along in further groups."""
    filled = groups.filled(n)
    before = inner, *filled.arrays, groups.n_groups
    parts = parts_across(filled.arrays[0], outer, inner, shares(outer * n * inner))
    return _Plan(shrink_strided, _past_caches, before, _given, True, (), parts)


def _given(weights: NDArray[np.float64], stride: int) -> Weights:
    return weights, stride


def _nowhere(pair: Pair) -> tuple[()]:
    del pair
    return ()


def _past_caches(pair: Pair) -> tuple[int]:
    return (pair.phase,)


def _aligned(pair: Pair) -> tuple[int, bool]:
    return pair.alignment, pair.phase >= 0
