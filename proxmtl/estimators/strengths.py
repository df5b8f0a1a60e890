"""What strengths of 1 mean: units that serve data of any size and scale."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.groups import Groups
from proxmtl.problem import Problem
from proxmtl.regularizers import SharedPlusOwn

__all__ = ["StrengthUnits", "strength_units"]

SQUARES = (1e-290, 1e290)
"""Squared norms in this range have a reciprocal, and room for strengths beside them."""


class StrengthUnits(NamedTuple):
    """What strengths of 1 mean in a problem, in units of its loss."""

    shared: float
    """The trace norm's critical strength where attributes have no parts of their own."""
    own: float
    """Mean squared norm of the features over the number of labels."""


def strength_units(
    problem: Problem, groups: Groups, sample_weight: NDArray[np.float64] | None
) -> StrengthUnits:
    """Find the units of both strengths from one pass over the data of an unpenalised problem.

    Parameters
    ----------
    problem : Problem
        On shared features, or on those of each task.
    groups : Groups
        Of the attributes; disjoint.
    sample_weight : ndarray, optional
        As they were given for the problem's targets: a label of weight 2 counts as two. Of shape
        (N,) or (N, M), or of the labels' shape where tasks have features of their own.

    Raises
    ------
    ValueError
        If the squares of the features leave the range of float64.
    """
    _, grad = problem.smooth_value_and_grad(problem.null_point())
    weights = problem.targets.weights.to(torch.float64)
    observed = (weights > 0).to(torch.float64)
    rows = None
    if sample_weight is not None:
        given = torch.from_numpy(sample_weight)
        rows = given if given.ndim == 1 else given.mean(dim=1)
        observed = observed * (given if given.ndim == observed.ndim else given[:, None])
    unit = float(weights.sum() / observed.sum())  # 1 over the number of labels, for a mean
    moments = problem.design.moments(rows)
    norms = float(moments.std.square().sum())
    if not SQUARES[0] <= norms <= SQUARES[1] and bool(moments.std.any()):
        raise ValueError(
            f"X: the mean squared norm of the centred features is {norms:.3g}, which float64 has "
            "no room to compute with; set standardize=True, or rescale the features."
        )
    slopes = problem.design.split(grad)[0]
    if problem.design.intercept:
        # a constant feature has the slope of the intercept there, zero but for rounding
        slopes = torch.where(moments.constant[:, None], 0.0, slopes)
    limit = SharedPlusOwn(1.0, 1.0, groups).conjugate_limit(slopes)
    # features that say nothing have no unit: W = 0 at any strength
    return StrengthUnits(shared=1 / limit if limit < math.inf else 1.0, own=unit * norms or 1.0)
