"""Whether what a search has chosen lies at an edge of what it tried: then better may lie beyond."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal, NamedTuple

__all__ = ["Edge", "EdgeWarning", "edges_of"]

INVARIANTS = ("mu_gamma", "mu2_lambda")
"""Where a candidate has these, they are what its three strengths amount to."""
STRENGTHS = ("group_strength", "l1_strength", "frobenius_strength")


class EdgeWarning(UserWarning):
    """What was chosen lies at an edge of what was tried, or was all that was tried."""


class Edge(NamedTuple):
    """A hyperparameter whose chosen value has no neighbour on one side, or on none."""

    name: str
    value: float
    side: Literal["lowest", "highest", "only"]
    tried: int
    """Number of its values."""
    gain: float = float("nan")
    """Of the score, by the last step to the chosen value, where that is known."""

    def __str__(self) -> str:
        if self.side == "only":
            return f"{self.name} {self.value:.4g} is the only value tried: nothing was compared."
        return (
            f"{self.name} {self.value:.4g} is the {self.side} of {self.tried} values tried: a "
            f"{'smaller' if self.side == 'lowest' else 'larger'} one may be better."
        )


def edges_of(candidates: Sequence[Mapping[str, Any]], chosen: int) -> list[Edge]:
    """Edges of the range of each hyperparameter at which the chosen candidate lies.

    One that has the same value in all candidates was not searched, and has no edges: unless there
    is but one candidate, whose hyperparameters were the only ones tried. Zero is no edge: nothing
    is below it.

    Parameters
    ----------
    candidates : sequence of mapping
        Numbers by name; other values are not looked at.
    chosen : int
        Number of the chosen one.
    """
    if not candidates:
        return []
    mine = candidates[chosen]
    ignored = STRENGTHS if all(name in mine for name in INVARIANTS) else ()
    found = []
    for name, value in mine.items():
        if name in ignored or isinstance(value, bool) or not isinstance(value, Real):
            continue
        own = _rounded(value)
        values = sorted({_rounded(o[name]) for o in candidates if _number(o.get(name))})
        side: Literal["lowest", "highest", "only"]
        if len(candidates) == 1:
            side = "only"
        elif len(values) < 2:
            continue
        elif own == values[-1]:
            side = "highest"
        elif own == values[0] and own != 0:
            side = "lowest"
        else:
            continue
        found.append(Edge(name, float(value), side, len(values)))
    return found


def _rounded(value: Any) -> float:
    """Nine digits: what a step of a grid computes twice counts once."""
    return float(f"{float(value):.9g}")


def _number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
