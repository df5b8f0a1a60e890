"""Overlapping group norm: exact prox through its dual, with its own gap."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer, check_step, check_strength, norm_ratio
from proxmtl.regularizers.group_layout import GroupLayout, zero_where_zero
from proxmtl.regularizers.smoothed import SmoothedGroupNorm

__all__ = ["DualProx", "OverlappingGroupL2"]


@dataclass(frozen=True)
class DualProx:
    """Prox of an overlapping group norm with its dual certificate.

    Attributes
    ----------
    primal : Tensor, shape (slices, items)
    dual : Tensor, shape (slices, memberships)
        ``xi``: one vector a group, inside its ball; ``primal = v - scatter(xi)``.
    gap : float
        Sum over slices of primal minus dual objective: ``||primal - exact||^2 <= 2 gap``.
    sweeps : int
    """

    primal: Tensor
    dual: Tensor
    gap: float
    sweeps: int


@dataclass(frozen=True)
class OverlappingGroupL2(Regularizer):
    """``R(S) = strength * sum_k sum_g w_g ||S[k, g]||_2`` for groups that may share items.

    No copy of the parameter is made for the overlap: the prox is computed through its dual,
    ``x = v - sum_g xi^g`` with ``||xi^g|| <= step strength w_g``, by block coordinate ascent.
    Groups of one colour share no item and are updated together, so a sweep is exact block
    coordinate ascent in colour order; on a tree the colours run from leaves to root and one sweep
    is the exact prox. Blocks with ``||v_g||`` inside their ball are zero in the solution and are
    set so first (screening). The run stops on its own duality gap.

    Parameters
    ----------
    groups : Groups
        Any; items in no group are not penalised.
    strength : float
        ``>= 0``.
    axis : int
        The grouped axis.
    gap : float
        Relative accuracy of the prox: stop when its gap is below ``gap * max(1, 1/2 ||v||^2)``.
    max_sweeps : int
        Limit on the sweeps; the gap reached is reported by :meth:`prox_gap`.

    References
    ----------
    Jenatton, Mairal, Obozinski, Bach, "Proximal methods for hierarchical sparse coding", JMLR 2011;
    Yuan, Liu, Ye, "Efficient methods for overlapping group lasso", NeurIPS 2011.
    """

    groups: Groups
    strength: float
    axis: int = -1
    gap: float = 1e-14
    max_sweeps: int = 10_000
    layout: GroupLayout = field(init=False, repr=False, compare=False)
    is_norm = True
    exact_prox = False

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not self.gap > 0 or self.max_sweeps < 1:
            raise ValueError(
                f"gap and max_sweeps: got {self.gap} and {self.max_sweeps}; use gap > 0 and at "
                "least one sweep."
            )
        object.__setattr__(self, "layout", GroupLayout(self.groups, self.axis))

    def value(self, W: Tensor) -> Tensor:
        rows, _ = self.layout.rows(W)
        return self.strength * (self.layout.norms(rows) @ self.layout.weights(W)).sum()

    def prox(self, W: Tensor, step: float | Tensor) -> tuple[Tensor, Tensor]:
        check_step(step)
        rows, restore = self.layout.rows(W)
        radius = (step * self.strength * self.layout.weights(W)).expand(len(rows), -1)
        out = restore(self.solve_dual(rows, radius).primal)
        return out, self.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        rows, _ = self.layout.rows(W)
        radius = (step * self.strength * self.layout.weights(W)).expand(len(rows), -1)
        return self.solve_dual(rows, radius).gap

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Exact: prox of the zero groups alone, at the gradient plus the active groups' pull."""
        rows, restore = self.layout.rows(W)
        grads, _ = self.layout.rows(grad)
        members, group_of = self.layout.indices(W.device)
        bound = (self.strength * self.layout.weights(W)).expand(len(rows), -1)
        norms = self.layout.norms(rows)
        pull = rows[:, members] * zero_where_zero(bound, norms)[:, group_of]
        pulled = grads + self.layout.scatter(pull, self.groups.n_items)
        return restore(self.solve_dual(pulled, torch.where(norms == 0, bound, 0.0)).primal)

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Upper bound from the prox's own dual, tight where ``U`` is a subgradient at ``at``.

        Without ``at`` it is the upper end of a bracket around the dual norm, closed to a relative
        1e-9 where the prox's accuracy allows.
        """
        rows, _ = self.layout.rows(U)
        free = self.groups.uncovered
        if free and bool((rows[:, free] != 0).any()):
            return float("inf")
        if at is None:
            return self._dual_norm(rows)
        start, _ = self.layout.rows(at)
        radius = (self.strength * self.layout.weights(U)).expand(len(rows), -1)
        return self._decomposition_norm(
            rows, self.solve_dual(start + rows, radius, polish=True).dual
        )

    def with_strength(self, strength: float) -> OverlappingGroupL2:
        return replace(self, strength=strength)

    def smoothed(self, smoothness: float) -> SmoothedGroupNorm:
        return SmoothedGroupNorm(self.groups, self.strength, smoothness, self.axis)

    # ------------------------------------------------------------------ the dual

    def solve_dual(
        self,
        rows: Tensor,
        radius: Tensor,
        *,
        warm: Tensor | None = None,
        polish: bool = False,
    ) -> DualProx:
        """Prox of (slices, items) with one ball radius per slice and group.

        ``polish`` goes on, past the gap, until the dual itself no longer moves: a gap of machine
        precision leaves an error of its square root in the dual vectors.
        """
        members, group_of = self.layout.indices(rows.device)
        # screening: a block inside its ball is zero in the solution; zeroing it is safe, repeat
        rows = self._screen(rows, radius)
        dual = rows.new_zeros(len(rows), len(members)) if warm is None else warm.clone()
        primal = rows - self.layout.scatter(dual, self.groups.n_items)
        target = self.gap * max(1.0, 0.5 * float(rows.square().sum()))
        eps = torch.finfo(rows.dtype).eps
        target = max(target, 4 * eps * float(rows.square().sum()))
        gap, sweep = float("inf"), 0
        still = 4 * eps * float(radius.max()) if radius.numel() else 0.0
        while sweep < self.max_sweeps:
            sweep += 1
            before = dual.clone() if polish else dual
            for colour in self._colours(rows.device):
                items, of_group, where = members[colour], group_of[colour], colour
                block = primal[:, items] + dual[:, where]
                squares = block.new_zeros(len(block), len(self.groups))
                norms = squares.index_add_(1, of_group, block.square()).sqrt_()
                factor = zero_where_zero(radius, norms).clamp_max_(1.0)
                projected = block * factor[:, of_group]
                primal[:, items] = block - projected
                dual[:, where] = projected
            gap = self._gap(primal, dual, radius)
            moving = polish and float((dual - before).abs().max()) > still
            if not gap > target and not moving:  # also leaves on NaN
                break
        return DualProx(primal, dual, gap, sweep)

    def _gap(self, primal: Tensor, dual: Tensor, radius: Tensor) -> float:
        members, _ = self.layout.indices(primal.device)
        penalty = (radius * self.layout.norms(primal)).sum()
        return max(float(penalty - (primal[:, members] * dual).sum()), 0.0)

    def _screen(self, rows: Tensor, radius: Tensor) -> Tensor:
        _, group_of = self.layout.indices(rows.device)
        while True:
            norms = self.layout.norms(rows)
            inside = ((norms <= radius) & (norms > 0))[:, group_of]
            if not bool(inside.any()):
                return rows
            hit = self.layout.scatter(inside.to(rows.dtype), self.groups.n_items) > 0
            rows = rows.masked_fill(hit, 0.0)

    def _colours(self, device: torch.device) -> list[Tensor]:
        """Memberships of each colour; groups of a colour share no item. Small groups first."""
        return _colour_memberships(self.groups, device)

    def _decomposition_norm(self, rows: Tensor, dual: Tensor) -> float:
        members, _ = self.layout.indices(rows.device)
        missing = rows - self.layout.scatter(dual, self.groups.n_items)
        coverage = self.groups.coverage.to(rows).clamp_min(1)
        alpha = dual + (missing / coverage)[:, members]
        largest = self.layout.member_norms(alpha).amax(0).tolist()
        pairs = zip(largest, self.groups.weights.tolist(), strict=True)
        return max(norm_ratio(norm, self.strength * weight) for norm, weight in pairs)

    def _dual_norm(self, rows: Tensor) -> float:
        """Dinkelbach's iteration from below, certified by the decomposition from above.

        With ``x`` the prox of ``u`` at radius ``rho``, ``<u, x> / Omega(x)``, which is
        ``rho + ||x||^2 / Omega(x)``, is a larger lower bound, and the prox's dual an upper one.
        """
        weights = (self.strength * self.layout.weights(rows)).expand(len(rows), -1)
        members, _ = self.layout.indices(rows.device)
        upper = self._decomposition_norm(rows, rows.new_zeros(len(rows), len(members)))
        x, low = rows, 0.0
        for _ in range(100):
            norm = float((weights * self.layout.norms(x)).sum())
            ratio = float((rows * x).sum()) / norm if norm > 0 else 0.0
            if ratio <= low * (1 + 1e-15):
                break
            low = ratio
            solved = self.solve_dual(rows, low * weights)
            upper = min(upper, self._decomposition_norm(rows, solved.dual))
            if upper - low <= 1e-9 * upper:
                break
            x = solved.primal
        return upper


def _colour_memberships(groups: Groups, device: torch.device) -> list[Tensor]:
    cache: dict[torch.device, list[Tensor]] = groups.__dict__.setdefault("_colours", {})
    if device not in cache:
        used: list[set[int]] = [set() for _ in range(groups.n_items)]  # colours at each item
        colour_of = torch.zeros(len(groups), dtype=torch.int64)
        for g in torch.argsort(groups.sizes, stable=True).tolist():
            members = groups.members(g)
            # above all colours met so far, so that on a tree children come before parents
            taken = set().union(*(used[i] for i in members))
            colour = max(taken) + 1 if groups.is_tree and taken else _first_free(taken)
            colour_of[g] = colour
            for i in members:
                used[i].add(colour)
        per_membership = colour_of[groups.group_of]
        cache[device] = [
            torch.nonzero(per_membership == c).flatten().to(device)
            for c in range(int(colour_of.max()) + 1)
        ]
    return cache[device]


def _first_free(taken: set[int]) -> int:
    colour = 0
    while colour in taken:
        colour += 1
    return colour
