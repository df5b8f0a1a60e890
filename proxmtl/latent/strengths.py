"""Strengths relative to the size and scale of the data, and default strengths from the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.latent.path import critical_strength
from proxmtl.latent.signal import ridge_of_labels
from proxmtl.numerics import PIECE_ELEMENTS, Moments
from proxmtl.problem import Problem
from proxmtl.regularizers import SharedPlusOwn

__all__ = [
    "Relative",
    "RelativeStrengths",
    "StrengthUnits",
    "check_relative",
    "latent_units",
    "own_unit",
    "shared_strengths",
    "strength_units",
]

Relative = float | Literal["auto"]
"""A strength in its unit; "auto": the default from the data."""

Weights = NDArray[np.float64] | Tensor | None

SQUARES = (1e-290, 1e290)
"""Squared norms in this range can be inverted and multiplied by strengths without overflow."""
ITERATIONS = 3
"""Iterations of the power method for the noise: one digit is sufficient."""
SHARED = 0.5
"""Default strength of the shared part, over the squared noise share of the critical strength."""
LEAST = 0.03
"""Minimum default strength of the shared part."""
OWN, OWN_LATENT = 2.5, 1.2
"""Default ridges on own parts, over that of single tasks: part of the signal is shared."""


class StrengthUnits(NamedTuple):
    """Units of relative strengths: the absolute strengths that correspond to 1."""

    shared: float
    """Critical strength, from which on nothing is shared in a problem without own parts."""
    own: float
    """Mean squared norm of the features (centred, if there is an intercept) over the number of
    labels."""


def strength_units(problem: Problem, groups: Groups, sample_weight: Weights) -> StrengthUnits:
    """Compute the units of both strengths, in one pass over the data of an unpenalised problem.

    Parameters
    ----------
    problem : Problem
        On a shared or a task design.
    groups : Groups
        Disjoint groups of tasks.
    sample_weight : ndarray or Tensor, optional
        The weights given to the problem's targets: a label of weight 2 counts as two. Shape (N,) or
        (N, M), or that of the labels for a task design.

    Raises
    ------
    ValueError
        If the squares of the features leave the range of float64.
    """
    null = _Null.of(problem, sample_weight)
    return StrengthUnits(null.critical(groups), null.own)


def latent_units(problem: Problem, groups: Groups, sample_weight: Weights) -> StrengthUnits:
    """As :func:`strength_units`, for the factored problem, ``mu = lambda``; groups may overlap."""
    return StrengthUnits(critical_strength(problem, groups), own_unit(problem, sample_weight))


def own_unit(problem: Problem, sample_weight: Weights) -> float:
    """The unit of the ridge only, without a pass; arguments as for :func:`strength_units`."""
    return _Counted.of(problem, sample_weight).own


def shared_strengths(
    problem: Problem,
    groups: Groups,
    sample_weight: Weights,
    shared: Relative = "auto",
    own: Relative = "auto",
) -> tuple[StrengthUnits, StrengthUnits]:
    r"""Strengths of :class:`~proxmtl.SharedPlusOwn` and their units; ``"auto"``: from the data.

    *Own parts.* The optimal ridge is the noise variance over twice the variance of the weights. For
    single tasks, :func:`ridge_of_labels` estimates this ratio r. The default ridge is r times the
    curvature of the loss at constant scores, the information of a label (:math:`p (1 - p)` for the
    logistic loss, so that rare classes have weak ridges), times 2.5, since part of the signal is
    shared.

    *The shared part.* Likewise, the strength of :math:`\|A\|_*` is the noise variance over the size
    of the signal. In units of the critical strength, which contains signal and noise, the default
    is half the squared noise share :math:`\kappa`, and at least 0.03. :math:`\kappa` is the
    spectral norm that the gradient of the loss would have if labels were independent of features,
    approximately
    :math:`(\lambda_{max}(\sum_m C_m) + \mathrm{tr}(\Sigma) \lambda_{max}(R^\top R))^{1/2}`, over
    the actual one. :math:`C_m` are the covariances of its columns, :math:`\Sigma` is that of the
    features, and R are the residuals at constant scores.

    Parameters
    ----------
    problem, groups, sample_weight
        As for :func:`strength_units`.
    shared, own
        Strengths relative to their units, or ``"auto"``.

    Returns
    -------
    strengths, units : StrengthUnits
        Absolute strengths, and their units. Costs one pass, and four more if ``shared`` is "auto".
    """
    null = _Null.of(problem, sample_weight)
    units = StrengthUnits(null.critical(groups), null.own)
    if isinstance(shared, str):
        shared = float(max(SHARED * null.noise_share(groups) ** 2, LEAST))
    ridge = OWN * null.untuned_own() if isinstance(own, str) else own
    return StrengthUnits(shared * units.shared, ridge * units.own), units


@dataclass(frozen=True)
class RelativeStrengths:
    """Strengths of latent tasks and own parts relative to the data of a problem.

    Parameters
    ----------
    shared : float or "auto"
        ``mu = lambda``, without an L1 norm, as a fraction of the critical strength. ``"auto"``: the
        strength at which a latent task of pure noise no longer lowers the objective. This is the
        noise share of :func:`shared_strengths` to the power 4/3, since critical strengths grow so
        with gradients; at least 0.03. Smaller strengths would admit noise, since large latent tasks
        are hardly shrunk.
    own : float or "auto"
        Ridge on own parts, in the unit of :class:`StrengthUnits`; inf: no own parts.
    papers : mapping, optional
        The paper's strengths by their names in :class:`~proxmtl.LatentMTL`, absolute; they replace
        ``shared``, and ``own="auto"`` then means no own parts.

    Raises
    ------
    ValueError
        If a strength is neither a positive number nor "auto", or ``shared`` is infinite.
    """

    shared: Relative = "auto"
    own: Relative = "auto"
    papers: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_relative(self.shared, self.own)
        if self.shared == math.inf:
            raise ValueError(
                "shared_strength: got inf; give a finite number, or 'auto'. Without latent tasks "
                "this is a model of single tasks."
            )

    def absolute(
        self, problem: Problem, groups: Groups, sample_weight: Weights = None
    ) -> dict[str, Any]:
        """Absolute strengths by their names in :class:`~proxmtl.LatentMTL`.

        Parameters
        ----------
        problem, sample_weight
            As for :func:`strength_units`.
        groups : Groups
            Groups of tasks, possibly overlapping.
        """
        if self.papers:
            none = isinstance(self.own, str) or self.own == math.inf
            ridge = None if none else float(self.own) * own_unit(problem, sample_weight)
            return {**self.papers, "own_strength": ridge}
        strength, shared, own = critical_strength(problem, groups), self.shared, self.own
        if isinstance(shared, str) or isinstance(own, str):
            null = _Null.of(problem, sample_weight)
            if isinstance(shared, str):
                noise = null.noise_share(Groups.single(groups.n_items))
                shared = float(max(noise ** (4 / 3), LEAST))
            if isinstance(own, str):
                own = float(OWN_LATENT * null.untuned_own())
        strength *= shared
        ridge = None if own == math.inf else own * own_unit(problem, sample_weight)
        return {
            "group_strength": strength,
            "l1_strength": 0.0,
            "frobenius_strength": strength,
            "own_strength": ridge,
        }


def check_relative(shared: object, own: object) -> None:
    """Raise ``ValueError`` unless both are "auto" or positive numbers, not both infinite."""
    for name, value in (("shared_strength", shared), ("own_strength", own)):
        if isinstance(value, str) and value == "auto":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise ValueError(f"{name}: got {value!r}; give a positive number, or 'auto'.")
    if shared == own == math.inf:
        raise ValueError(
            "shared_strength, own_strength: both are inf, which leaves nothing to fit; give one of "
            "them a finite number."
        )


class _Counted(NamedTuple):
    """Labels of an unpenalised problem with their sample weights, and moments of the features."""

    copies: Tensor
    """Sample weight of each label, in the shape of the labels; 0 for a missing label."""
    unit: float
    """Weight in the loss of a label of sample weight 1: for a mean, 1 over the number of labels."""
    moments: Moments
    """Moments of the features."""
    norms: float
    """Mean squared norm of the features, centred if there is an intercept."""

    @classmethod
    def of(cls, problem: Problem, sample_weight: Weights) -> _Counted:
        weights = problem.data.at(torch.float64).weights
        copies = (weights > 0).to(torch.float64)
        rows = None
        if sample_weight is not None:
            given = torch.as_tensor(sample_weight).to(copies)
            rows = given if given.ndim == 1 else given.mean(dim=1)
            copies = copies * (given if given.ndim == copies.ndim else given[:, None])
        weighed, counted = problem.data.ranks.sum(weights.sum(), copies.sum())
        unit = float(weighed / counted)
        moments = problem.design.moments(rows)
        squares = moments.std.square()
        some = bool(moments.std.any())
        if not problem.design.intercept:
            squares, some = squares + moments.mean.square(), some or bool(moments.mean.any())
        norms = float(squares.sum())
        if not SQUARES[0] <= norms <= SQUARES[1] and some:
            raise ValueError(
                f"X: the mean squared norm of the centred features is {norms:.3g}, which float64 "
                "has no room to compute with; set standardize=True, or rescale the features."
            )
        return cls(copies, unit, moments, norms)

    @property
    def own(self) -> float:
        """Unit of ridges; 1 for constant features, with which W = 0 at any strength."""
        return self.unit * self.norms or 1.0


@dataclass(frozen=True)
class _Null:
    """An unpenalised problem at its null point (zero weights, best intercepts)."""

    problem: Problem
    labels: _Counted
    scores: Tensor
    residuals: Tensor
    slopes: Tensor  # gradient in the weights, (D, M)

    @classmethod
    def of(cls, problem: Problem, sample_weight: Weights) -> _Null:
        labels, design = _Counted.of(problem, sample_weight), problem.design
        point = problem.null_point()
        scores = design.scores(point)
        residuals = problem.data.gradient(scores)
        slopes = design.split(design.adjoint(residuals))[0]
        problem.counts.charge(forward=design.share, adjoint=design.share)
        if design.intercept:
            # the slope of a constant feature is proportional to the intercept's: zero to rounding
            slopes = torch.where(labels.moments.constant[:, None], 0.0, slopes)
        return cls(problem, labels, scores, residuals, slopes)

    @property
    def own(self) -> float:
        return self.labels.own

    def critical(self, groups: Groups) -> float:
        """Critical strength of the trace norms of disjoint groups."""
        limit = SharedPlusOwn(1.0, 1.0, groups).conjugate_limit(self.slopes)
        # constant features have no unit: W = 0 at any strength
        return 1 / limit if limit < math.inf else 1.0

    def untuned_own(self) -> float:
        """Default ridge on own parts, from the labels of single tasks and the loss."""
        data = self.problem.data
        weights = data.at(torch.float64).weights
        bend, total = data.ranks.sum(data.curvature(self.scores).sum(), weights.sum())
        told = float(bend / total)
        return told * ridge_of_labels(self.problem, self.labels.copies, self.labels.norms)

    def noise_share(self, groups: Groups) -> float:
        """Noise share kappa of the critical strength of the trace norms of disjoint groups."""
        groups, design = groups.covering(), self.problem.design
        counted, mean = self.labels, self.labels.moments.mean
        # a label of weight 2 counts as two labels, each with half of the residual
        copies = counted.copies.clamp_min(torch.finfo(torch.float64).tiny)
        variance = self.residuals.square() / copies
        alike = _products(self.problem, self.residuals / copies.sqrt())
        members = [groups.members(g) for g in range(len(groups))]
        group_of = torch.empty(groups.n_items, dtype=torch.long, device=variance.device)
        for g, tasks in enumerate(members):
            group_of[tasks] = g
        vectors = torch.stack([_leading(self.slopes[:, tasks]) for tasks in members], dim=1)
        largest = vectors.new_zeros(len(members))
        for _ in range(ITERATIONS):
            moved = vectors[:, group_of]
            bias = -(mean @ moved) if design.intercept else None
            along = design.scores(design.join(moved, bias))
            slopes, sums = design.split(design.adjoint(variance * along))
            self.problem.counts.charge(forward=design.share, adjoint=design.share)
            if sums is not None:
                slopes = slopes - torch.outer(mean, sums)
            summed = torch.zeros_like(vectors).index_add_(1, group_of, slopes)
            # entries scale with the squared features; scale them, lest their squares overflow
            size = summed.abs().amax(dim=0).clamp_min(torch.finfo(summed.dtype).tiny)
            lengths = (summed / size).norm(dim=0)
            largest, vectors = size * lengths, summed / size / lengths.clamp_min(1e-30)
        noise = [
            math.sqrt(float(largest[g]) + counted.norms * _largest(alike[tasks][:, tasks])) / weight
            for g, (tasks, weight) in enumerate(zip(members, groups.weights.tolist(), strict=True))
            if weight > 0
        ]
        return max(noise, default=0.0) / self.critical(groups)


def _products(problem: Problem, residuals: Tensor) -> Tensor:
    """Inner products of the tasks' residuals, (M, M)."""
    targets = problem.targets
    if targets.task_of is not None:
        return torch.diag(targets.per_task(residuals.square()))
    if targets.tasks is None:
        return targets.ranks.total(residuals.T @ residuals)
    found = residuals.new_zeros(targets.n_tasks, targets.n_tasks)
    for block in torch.split(residuals, max(1, PIECE_ELEMENTS // targets.n_tasks)):
        whole = targets.whole(block)
        found += whole.T @ whole
    return found


def _largest(matrix: Tensor) -> float:
    return float(torch.linalg.eigvalsh(matrix)[-1])


def _leading(slopes: Tensor) -> Tensor:
    """Leading left singular vector, (D,)."""
    found: Tensor = torch.linalg.svd(slopes, full_matrices=False)[0][:, 0]
    return found
