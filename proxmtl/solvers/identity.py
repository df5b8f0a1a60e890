"""Whether a state goes on with the data that it was made with."""

from __future__ import annotations

import math
from typing import Any

from proxmtl.solvers.base import State

__all__ = ["check_data", "data_figures"]

SAME = 1e-4
"""Relative difference of two figures of the same data, made again in another precision say."""


def data_figures(problem: Any) -> dict[str, float]:
    """Numbers that tell the problem's features and labels from others; a look at each, no pass.

    Those of the features are kept with the design. Empty for what has no targets and design.
    """
    design, targets = getattr(problem, "design", None), getattr(problem, "targets", None)
    if design is None or targets is None:
        return {}
    figure = design.known_figure
    features = {} if figure is None else {"features": figure}
    return {**features, **targets.figures()}


def check_data(state: State, problem: Any) -> None:
    """Raise ``ValueError`` if the state was made with other features or labels."""
    if not state.data:
        return
    here = data_figures(problem)
    differing = [
        name
        for name, figure in state.data.items()
        if name in here and not math.isclose(here[name], figure, rel_tol=SAME)
    ]
    if differing:
        raise ValueError(
            f"state: made with other data ({', '.join(differing)} differ); resume on the data it "
            "was made with, or start a new run from the result's solution."
        )
