"""Names of the blocks of the factored problem, and checks of its strengths."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

__all__ = ["Parts", "check_strengths"]


class Parts(NamedTuple):
    """Blocks by name; None if the problem has no such block."""

    L: Tensor
    S: Tensor
    intercept: Tensor | None
    own: Tensor | None


def check_strengths(
    group_strength: float,
    l1_strength: float,
    frobenius_strength: float,
    own_strength: float | None = None,
) -> None:
    """Raise ``ValueError`` if rescaling the factors could make a penalty arbitrarily small."""
    if not group_strength > 0:
        raise ValueError(
            f"group_strength: got {group_strength}; it must be > 0. Without it S could grow "
            "while L shrinks, at no cost: the penalty on L would mean nothing."
        )
    if not (l1_strength > 0 or frobenius_strength > 0):
        raise ValueError(
            f"l1_strength, frobenius_strength: got {l1_strength} and {frobenius_strength}; one "
            "must be > 0, or L could grow while S shrinks, at no cost."
        )
    if own_strength is not None and not 0 < own_strength < math.inf:
        raise ValueError(
            f"own_strength: got {own_strength}; it must be > 0 and finite, or None for no own "
            "parts. Without a penalty on them nothing would be shared."
        )
