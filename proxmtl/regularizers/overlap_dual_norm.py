"""Dual norm of overlapping groups, by a concave maximisation over weights of the groups."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.regularizers.group_layout import GroupLayout, zero_where_zero

__all__ = ["largest_dual_norm", "ratios_of"]

CLOSE = 2e-7
"""Relative width of the bracket at which a norm is known well enough."""
ROUNDS = 10_000
"""Most iterations. Where groups tie the width falls with the square of their number: some 2,300."""
FAINT = 1e-150
"""Least weight of a group relative to the largest: groups whose weights go to zero, of which there
may be most, keep finite ratios among themselves."""


def largest_dual_norm(layout: GroupLayout, rows: Tensor, radius: Tensor) -> float:
    """Largest dual norm of some slices, from above: ``max_k min max_g ||xi^g|| / radius_g``.

    The minimum is over decompositions ``sum_g xi^g = u`` of a slice. By the variational form of the
    norm its square is the maximum of

        f(eta) = sum_i u_i^2 / (sum_{g with i} radius_g / eta_g)   over   sum_g radius_g eta_g = 1,

    a concave function, homogeneous of degree 1. Any ``eta > 0`` gives both ends of a bracket: ``f``
    from below, and from above the decomposition ``xi_i^g ~ u_i radius_g / eta_g``. The iteration
    ``eta_g <- eta_g ||xi^g|| / radius_g`` maximises a minorant of ``f`` at ``eta``, so that ``f``
    never falls, and takes some operations a membership. Slices whose upper end is below another's
    lower one are left.

    Parameters
    ----------
    layout : GroupLayout
    rows : Tensor, shape (slices, items)
        Float64, of moderate size; zero where an item is in no group of positive radius.
    radius : Tensor, shape (slices, groups)
        ``>= 0``, float64.

    Returns
    -------
    float
        Upper end of a bracket of relative width 2e-7, or what :data:`ROUNDS` iterations give.
    """
    if not len(rows) or not len(layout.groups):
        return 0.0
    members, group_of = layout.indices(rows.device)
    n_items = rows.shape[1]
    eta = (radius > 0).to(rows)
    upper = torch.full_like(rows[:, 0], torch.inf)
    low = found = 0.0  # lower end of the largest norm; upper ends of slices that are done
    for _ in range(ROUNDS):
        pull = zero_where_zero(radius, eta)
        total = layout.scatter(pull[:, group_of], n_items)
        part = zero_where_zero(rows, total)
        value = (rows * part).sum(1) / (radius * eta).sum(1)
        ratios = ratios_of(layout, rows, part[:, members] * pull[:, group_of], radius)
        upper = torch.minimum(upper, ratios.amax(1))
        if not bool(upper.isfinite().all()):  # of radii that are all zero, and of NaN
            return float(upper.amax())
        low = max(low, float(value.amax().sqrt()))
        open_ = upper > low * (1 + CLOSE)
        if not bool(open_.all()):
            found = max(found, float(upper[~open_].amax()))
            if not bool(open_.any()):
                return found
            rows, radius, eta = rows[open_], radius[open_], eta[open_]
            ratios, upper = ratios[open_], upper[open_]
        eta = eta * ratios
        eta = eta / eta.amax(1, keepdim=True)
        eta = torch.where(radius > 0, eta.clamp_min(FAINT), 0.0)
    return max(found, float(upper.amax()))


def ratios_of(layout: GroupLayout, rows: Tensor, dual: Tensor, radius: Tensor) -> Tensor:
    """``||xi^g|| / radius_g`` of a decomposition of each slice, (slices, groups).

    What the vectors ``dual``, (slices, memberships), lack of the slices is dealt out evenly.
    """
    alpha = dual + layout.dealt(rows - layout.scatter(dual, rows.shape[1]))
    norms = layout.member_norms(alpha)
    return torch.where(norms == 0, 0.0, norms / radius)
