"""Check that a run is resumed on the data of its first part."""

from __future__ import annotations

import math
from typing import Any

from proxmtl.state import State

__all__ = ["check_data", "check_figures", "data_figures"]

SAME = 1e-4
"""Relative difference up to which two checksums count as equal, e.g. in another precision."""


def data_figures(problem: Any, view: Any = None) -> dict[str, float]:
    """Checksums of a problem's features and labels, by name; they cost no pass.

    The checksum of the features is cached in the design. Empty if the problem lacks a design or
    targets.

    Parameters
    ----------
    problem
        The user's problem.
    view
        The problem that the solver sees; checksums of its coordinates, in the attribute ``frame``
        (if it has one), are added.
    """
    design, targets = getattr(problem, "design", None), getattr(problem, "targets", None)
    if design is None or targets is None:
        return {}
    figure = design.known_figure
    features = {} if figure is None else {"features": figure}
    return {**features, **targets.figures(), **getattr(view, "frame", {})}


def check_data(state: State, problem: Any, view: Any = None) -> None:
    """Raise ``ValueError`` if a state was made with other features, labels or coordinates."""
    if not state.data:
        return
    frame = getattr(view, "frame", {})
    check_figures(state.data, data_figures(problem))
    if _differing(state.data, frame) or not frame.keys() <= state.data.keys():
        raise ValueError(
            f"state: its points are in other coordinates ({', '.join(frame)}), as those that an "
            "earlier version saved; start a new run from the result's solution."
        )


def check_figures(known: dict[str, float], here: dict[str, float]) -> None:
    """Raise ``ValueError`` if checksums that were saved are those of other data."""
    if others := _differing(known, here):
        raise ValueError(
            f"state: made with other data ({', '.join(others)} differ); resume on the data it "
            "was made with, or start a new run from the result's solution."
        )


def _differing(known: dict[str, float], figures: dict[str, float]) -> list[str]:
    return [
        name
        for name, figure in figures.items()
        if name in known and not math.isclose(known[name], figure, rel_tol=SAME)
    ]
