"""Sums of regularizers: an exact composition where there is one, else a prox by its dual."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proxmtl.numerics import FAR, unit_of
from proxmtl.regularizers.base import COMBINATIONS, Regularizer, UnsupportedError, norm_ratio
from proxmtl.regularizers.wrapper import Wrapper

__all__ = ["Sum", "add"]

FEW_SWEEPS = 100
"""Of a prox of which not the last digit matters."""


def add(terms: Sequence[Regularizer]) -> Regularizer | None:
    """Return one regularizer equal to the sum of all; None for none.

    Pairs with an exact composition are merged first (:func:`combination` registers them); what is
    left becomes a :class:`Sum`.

    Raises
    ------
    UnsupportedError
        If a term that is not convex is left beside another, or two constraints are.
    """
    penalties = _merged([r for r in terms if not r.is_constraint])
    constraints = _merged([r for r in terms if r.is_constraint])
    left = [*penalties, *constraints]
    if len(penalties) == 1:  # with several, bounds on one of them would help none
        left = _merged(left)
    if len(left) <= 1:
        return left[0] if left else None
    return Sum(tuple(left))


def _merged(terms: Sequence[Regularizer]) -> list[Regularizer]:
    """Replace pairs with an exact sum by that, for as long as there are any."""
    left = list(terms)
    while (found := next(_exact_pairs(left), None)) is not None:
        i, j, both = found
        left = [both, *(r for k, r in enumerate(left) if k not in (i, j))]
    return left


def _exact_pairs(terms: Sequence[Regularizer]) -> Iterator[tuple[int, int, Regularizer]]:
    """Pairs of positions whose sum has a prox in closed form, and that sum."""
    for (i, a), (j, b) in itertools.permutations(enumerate(terms), 2):
        for first, second, rule in COMBINATIONS:
            if isinstance(a, first) and isinstance(b, second):
                both = rule(a, b)
                if both is not None:
                    yield i, j, both


@dataclass(frozen=True)
class Sum(Wrapper):
    """``R(W) = strength * sum_j R_j(W)`` for convex terms whose sum has no prox in closed form.

    The prox is computed through its dual by block coordinate ascent (Dykstra's proximal algorithm):
    ``x = v - sum_j xi_j``, each ``xi_j`` replaced in turn by what ``prox_{R_j}`` leaves of
    ``x + xi_j``. It stops on its own duality gap, for which no conjugate is needed: ``xi_j`` is a
    subgradient of ``t R_j`` at the last prox point ``p_j``, so the gap is
    ``sum_j t (R_j(x) - R_j(p_j)) - <xi_j, x - p_j>``.

    Parameters
    ----------
    terms : tuple of Regularizer
        At least two, convex.
    strength : float
        Scales the sum, ``>= 0``.
    gap : float
        Relative accuracy of the prox: stop when the gap is below ``gap / 2 ||v||^2`` (or what the
        precision allows).
    max_sweeps : int
        Limit on the sweeps; the gap reached is reported by :meth:`prox_gap`.

    References
    ----------
    Bauschke and Combettes, "A Dykstra-like algorithm for two monotone operators", 2008.
    """

    terms: tuple[Regularizer, ...]
    strength: float = 1.0
    gap: float = 1e-13
    max_sweeps: int = 2000
    is_convex = True
    is_indicator = False
    has_conjugate = False
    exact_prox = False
    exact_kkt = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.terms) < 2:
            raise ValueError(f"terms: got {len(self.terms)}; a sum has at least two.")
        bent = [type(r).__name__ for r in self.terms if not r.is_convex]
        if bent:
            raise UnsupportedError(
                f"regularizers: {bent[0]} is not convex, and its prox does not combine with that "
                "of another term. Use it alone, or with SquaredFrobenius terms."
            )
        if not self.gap > 0 or self.max_sweeps < 1:
            raise ValueError(
                f"gap and max_sweeps: got {self.gap} and {self.max_sweeps}; use gap > 0 and at "
                "least one sweep."
            )
        bounded = [type(r).__name__ for r in self.terms if r.is_constraint]
        if len(bounded) > 1:
            raise UnsupportedError(
                f"regularizers: {' and '.join(bounded)} are infinite outside a set each, and the "
                "prox of their sum would end in one of them only. Give one Box for both."
            )
        # the constraint last: the point returned then lies in its set
        ordered = tuple(sorted(self.terms, key=lambda r: r.is_constraint))
        object.__setattr__(self, "terms", ordered)

    @property
    def members(self) -> tuple[Regularizer, ...]:
        """The terms."""
        return self.terms

    # from its own dual norm
    conjugate = Regularizer.conjugate
    conjugate_limit = Regularizer.conjugate_limit
    critical_strength = Regularizer.critical_strength
    with_strength = Regularizer.with_strength

    def is_coercive(self, W: Tensor) -> bool:
        return self.strength > 0 and any(r.is_coercive(W) for r in self.terms)

    def value(self, W: Tensor) -> Tensor:
        if self.strength == 0:  # infinite outside a set all the same
            outside = bool(torch.isinf(self.terms[-1].value(W))) and self.is_constraint
            return W.new_full((), math.inf if outside else 0.0)
        return self.strength * torch.stack([r.value(W) for r in self.terms]).sum()

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if float(step) * self.strength == 0:
            out = self.terms[-1].prox(W, 0.0)[0] if self.is_constraint else W.clone()
            return out, self.value(out)
        unit = unit_of(W) if self.is_norm else 1.0
        if unit != 1:  # norms are homogeneous
            start = None if warm_start is None else warm_start / unit
            scaled = min(float(step) / unit, FAR / self.strength)
            out, value = self.prox(W / unit, scaled, warm_start=start)
            return out * unit, value * unit
        out, _, _ = self._solve(W, float(step) * self.strength, warm_start=warm_start)
        out = out.to(W.dtype)
        return out, self.value(out)

    def prox_gap(self, W: Tensor, step: float) -> float:
        if step * self.strength == 0:
            return 0.0
        unit = unit_of(W) if self.is_norm else 1.0
        if unit != 1:
            return self.prox_gap(W / unit, min(step / unit, FAR / self.strength)) * unit * unit
        return self._solve(W, step * self.strength)[2]

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """Fixed-point residual ``W - prox(W - grad)``, not the least subgradient.

        An iterative prox ends exactly on the kinks of its last term only. Where another one's are
        missed by rounding the least subgradient jumps; this residual does not.
        """
        return W - self.prox(W - grad, 1.0)[0]

    def snap(self, W: Tensor, rounding: float) -> Tensor:
        for term in self.terms:
            W = term.snap(W, rounding)
        return W

    def dual_norm(self, U: Tensor, at: Tensor | None = None) -> float:
        """Upper bound from the prox's own dual, tight where ``U`` is a subgradient at ``at``."""
        if not self.is_norm:
            return Regularizer.dual_norm(self, U, at)
        if math.isnan(float(U.sum())):
            return math.nan
        U = U.to(torch.float64)
        if at is None or self.strength == 0:
            unit = unit_of(U)
            return norm_ratio(unit * self._smallest_ratio(U / unit), self.strength)
        _, parts, _ = self._solve(at.to(torch.float64) + U, self.strength)
        return norm_ratio(self._largest_part(U, parts), self.strength)

    def active(self, W: Tensor) -> Tensor:
        if self.strength == 0:
            return torch.full_like(W, fill_value=True, dtype=torch.bool)
        return torch.stack([r.active(W) for r in self.terms]).all(0)

    def active_gradient(self, W: Tensor) -> Tensor:
        total = sum((r.active_gradient(W) for r in self.terms), torch.zeros_like(W))
        return torch.where(self.active(W), self.strength * total, 0.0)

    def curvature_product(self, W: Tensor, V: Tensor) -> Tensor:
        product = sum((r.curvature_product(W, V) for r in self.terms), torch.zeros_like(V))
        return torch.where(self.active(W), self.strength * product, 0.0)

    # ------------------------------------------------------------------ the dual

    def _solve(
        self,
        W: Tensor,
        step: float,
        most: int | None = None,
        warm_start: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor], float]:
        """Prox point, a dual tensor of each term, and the gap; in float64."""
        x = W.to(torch.float64)
        accuracy = max(self.gap / 2, 4 * torch.finfo(x.dtype).eps)
        target = accuracy * float(x.square().sum())
        duals = [torch.zeros_like(x) for _ in self.terms]
        points, values = list(duals), [0.0] * len(self.terms)
        gap = math.inf
        for _ in range(self.max_sweeps if most is None else min(most, self.max_sweeps)):
            for j, term in enumerate(self.terms):
                pushed = x + duals[j]
                points[j], value = term.prox(pushed, step, warm_start=warm_start)
                values[j] = float(value)
                duals[j] = pushed - points[j]
                x = points[j]
            gap = sum(
                step * (float(term.value(x)) - value) - float((dual * (x - point)).sum())
                for term, dual, point, value in zip(self.terms, duals, points, values, strict=True)
            )
            if not gap > target:
                break
        return x, duals, max(gap, 0.0)

    def _largest_part(self, U: Tensor, parts: list[Tensor]) -> float:
        """Largest dual norm in a decomposition of ``U``, the strength of the sum left out.

        What the parts miss goes to one term, what that leaves free to the next: the cheapest first.
        """
        lowest = math.inf
        for first in range(len(self.terms)):
            missing, largest = U - torch.stack(parts).sum(0), 0.0
            for j in range(first, first + len(self.terms)):
                term, part = self.terms[j % len(parts)], parts[j % len(parts)] + missing
                missing, _ = term.prox(part, 1e30)  # what this norm does not see
                largest = max(largest, term.dual_norm(part - missing))
            if not bool(missing.any()):
                lowest = min(lowest, largest)
        return lowest

    def _smallest_ratio(self, U: Tensor) -> float:
        """Dinkelbach's iteration from below, certified by a decomposition from above.

        Any point gives a bound from below, so a few sweeps do until they lead no further; only the
        decomposition needs the slow ones at the edge of the dual ball.
        """
        upper = min(r.dual_norm(U) for r in self.terms)
        x, low, sweeps = U, 0.0, FEW_SWEEPS
        for _ in range(100):
            norm = float(torch.stack([r.value(x) for r in self.terms]).sum())
            ratio = float((U * x).sum()) / norm if norm > 0 else 0.0
            if not ratio > low * (1 + 1e-9):
                if sweeps >= self.max_sweeps:
                    break
                sweeps = self.max_sweeps
            low = max(low, ratio)
            x, parts, _ = self._solve(U, low * (1 + 1e-7), sweeps)
            upper = min(upper, self._largest_part(U, parts))
            if upper - low <= 2e-7 * upper:
                break
        return upper
