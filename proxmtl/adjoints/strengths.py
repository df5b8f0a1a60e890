"""The penalties of a problem with their blocks, and derivatives in their strengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import Regularizer, UnsupportedError

__all__ = ["Acting", "acting_penalties", "gradient_slope", "value_slope"]


class Acting(NamedTuple):
    """A penalty, and the index of the block that it penalises."""

    term: Regularizer
    block: int


def acting_penalties(problem: Problem | LatentProblem) -> tuple[Acting, ...]:
    """Penalties of a problem, in the order in which adjoints take the strengths.

    That of ``problem.regularizers``; for the factored problem the group norm of S, the L1 norm and
    the ridge of L (the paper's mu, gamma, lambda), and the ridge of own parts if it has any.
    """
    if isinstance(problem, LatentProblem):
        of_factors = (
            Acting(problem.group_norm, 1),
            Acting(problem.l1, 0),
            Acting(problem.ridge, 0),
        )
        if problem.own is None:
            return of_factors
        return (*of_factors, Acting(problem.own, problem.block_names.index("own")))
    return tuple(Acting(term, 0) for term in problem.regularizers)


def value_slope(term: Regularizer, W: Tensor) -> float:
    """Derivative of ``R(W)`` in the strength."""
    return float(_slope(term, lambda r: r.value(W)))


def gradient_slope(term: Regularizer, W: Tensor) -> Tensor:
    """Derivative in the strength of the gradient of a penalty, on its active set; same shape."""
    return _slope(term, lambda r: r.active_gradient(W))


def _slope(term: Regularizer, of: Callable[[Regularizer], Tensor]) -> Tensor:
    """Derivative in the strength of a quantity that is affine in it, by an exact difference."""
    if term.is_indicator:  # its strength has no effect
        return torch.zeros_like(of(term))
    unit = term.strength or 1.0
    once, twice, thrice = (of(term.with_strength(k * unit)) for k in (1, 2, 3))
    step = twice - once
    rounding = 1e-12 * float(thrice.abs().max()) if thrice.numel() else 0.0
    if not torch.allclose(thrice - twice, step, rtol=1e-9, atol=rounding):
        raise UnsupportedError(
            f"strengths: {type(term).__name__} does not depend linearly on its strength; its "
            "derivative in it is not offered, choose it by cross_validate."
        )
    return step / unit
