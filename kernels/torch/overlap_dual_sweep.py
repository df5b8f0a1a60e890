"""Block coordinate ascent on the dual of the overlapping prox, all fibres at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ranges import norms_in_range

from .segments import wide

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupIndex
    from proxmtl.kernels.ops.overlap_dual_sweep import OverlapSweepArgs


class _Batch(NamedTuple):
    members: torch.Tensor
    items: torch.Tensor
    owner: torch.Tensor
    radii: torch.Tensor


supports = always


def run(args: OverlapSweepArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Sweep every fibre; its gaps and the penalty at the new points."""
    points = wide(args.X, args.axis).clone()
    duals = wide(args.dual, args.axis).clone()
    groups = args.groups
    weights = args.weights.to(torch.float64).expand(groups.n_groups)
    radii = args.step * weights
    batches = _batches(groups, radii, points.device)
    gaps, norms = _gap(points, duals, groups, radii)
    active = torch.ones_like(gaps, dtype=torch.bool)
    for _ in range(args.sweeps):
        before = points.clone(), duals.clone()
        for batch in batches:
            _project(points, duals, batch)
        # A fibre that has reached its tolerance keeps its point while the others go on.
        points = torch.where(active.unsqueeze(1), points, before[0])
        duals = torch.where(active.unsqueeze(1), duals, before[1])
        gaps, norms = _gap(points, duals, groups, radii)
        active &= ~(gaps <= args.tolerance)
        if not bool(active.any()):
            break
    value = (norms.double() * weights.unsqueeze(1)).sum()
    args.X.copy_(points.reshape(args.X.shape))
    args.dual.copy_(duals.reshape(args.dual.shape))
    shape = (*args.X.shape[: args.axis], *args.X.shape[args.axis + 1 :])
    return gaps.reshape(shape), value


def _batches(groups: GroupIndex, radii: torch.Tensor, device: torch.device) -> list[_Batch]:
    batches = []
    indices = groups.arrays[1]
    group_of_member = np.repeat(np.arange(groups.n_groups), groups.sizes)
    for level in groups.levels:
        rank = np.full(groups.n_groups, -1)
        rank[level] = np.arange(level.size)
        owner = rank[group_of_member]
        members = np.flatnonzero(owner >= 0)
        batches.append(
            _Batch(
                torch.from_numpy(members).to(device),
                torch.from_numpy(indices[members]).to(device),
                torch.from_numpy(owner[members]).to(device),
                radii[torch.from_numpy(level).to(device)].unsqueeze(1),
            )
        )
    return batches


def _project(points: torch.Tensor, duals: torch.Tensor, batch: _Batch) -> None:
    target = points[:, batch.items] + duals[:, batch.members]
    norms = _norms(target, batch.owner, batch.radii.shape[0])
    factors = torch.where(norms <= batch.radii, 1.0, batch.radii / norms).to(target.dtype)
    kept = target * factors[:, batch.owner]
    duals.index_copy_(1, batch.members, kept)
    points.index_copy_(1, batch.items, target - kept)


def _gap(
    points: torch.Tensor, duals: torch.Tensor, groups: GroupIndex, radii: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    _, indices, owner = groups.on(points.device)
    gathered = points[:, indices]
    norms = _norms(gathered, owner, groups.n_groups)
    reach = (norms.double() * radii.unsqueeze(1)).sum(1)
    return reach - (gathered.double() * duals.double()).sum(1), norms


def _norms(members: torch.Tensor, owner: torch.Tensor, n_groups: int) -> torch.Tensor:
    """Norms of groups, (outer, G, inner), of entries given a membership, (outer, E, inner)."""
    outer, _, inner = members.shape

    def plain(entries: torch.Tensor) -> torch.Tensor:
        sums = entries.new_zeros(outer, n_groups, inner)
        return sums.index_add_(1, owner, entries.square()).sqrt_()

    return norms_in_range(members, plain)
