"""Weighted Gram matrices of each task's samples, and the quadratic model of the loss from them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.designs.base import BLOCK_ELEMENTS
from proxmtl.latent.problem import LatentProblem
from proxmtl.problem import Problem

__all__ = ["Reduced", "full_grams", "gram_passes", "moved_grams", "reduced", "sides"]

CHANGED = 0.15
"""A sample's weight in a Gram matrix is updated if its relative change is at least this."""


def sides(problem: LatentProblem) -> tuple[int, int, int]:
    """Number of tasks M, of features D, and side of a Gram matrix: D, or D + 1 with intercept."""
    side = problem.design.parameter_shape(problem.targets)[0]
    return problem.data.n_tasks, side - int(problem.design.intercept), side


def by_task(problem: LatentProblem | Problem, values: Tensor) -> list[Tensor]:
    """Split score-shaped values into a vector for each task of this process, samples in order."""
    targets = problem.targets.own
    if targets.task_of is None:
        return list(values.unbind(1))
    sizes = torch.bincount(targets.task_of, minlength=targets.n_tasks)
    order = targets.task_of.argsort(stable=True)  # labels of pairs are row by row
    return list(torch.split(values[order], sizes.tolist()))


def _score_shaped(problem: LatentProblem, columns: list[Tensor]) -> Tensor:
    """Inverse of :func:`by_task`."""
    task_of = problem.targets.task_of
    if task_of is None:
        return torch.stack(columns, 1)
    values = torch.cat(columns)
    return torch.empty_like(values).index_copy_(0, task_of.argsort(stable=True), values)


def gram_passes(problem: LatentProblem, rows: float) -> float:
    """Operations of Gram matrices of ``rows`` rows in total, in passes over the data."""
    _, D, side = sides(problem)
    return rows * side**2 / (2 * D * problem.data.n_scores)


def full_grams(problem: LatentProblem) -> tuple[Tensor, Tensor]:
    """Gram matrices of all samples at the largest curvature of the loss, which majorise it.

    Returns
    -------
    grams : Tensor, shape (M, D + 1, D + 1) or (1, D + 1, D + 1), float64
        A single one if features are shared and the tasks' weights are multiples of each other;
        D in place of D + 1 without an intercept.
    scales : Tensor, shape (M,)
        Factors by which the tasks' Gram matrices are multiples of ``grams``.
    """
    bound = problem.loss.curvature_bound * problem.data.at(torch.float64).weights
    columns = by_task(problem, bound)
    scales = torch.ones(len(columns), dtype=torch.float64, device=bound.device)
    ranks = problem.data.ranks
    if problem.targets.task_of is None:
        sums = ranks.total(bound.sum(0))
        heaviest = int(sums.argmax())
        relative = sums / sums[heaviest].clamp_min(torch.finfo(sums.dtype).tiny)
        apart = (bound - columns[heaviest][:, None] * relative).abs().max()
        apart, most = ranks.maximum(torch.stack([apart, columns[heaviest].max()])).tolist()
        if apart <= 4 * torch.finfo(sums.dtype).eps * most:
            columns, scales = [columns[heaviest]], relative
            return _grams(problem, columns, [heaviest]), scales
    return _grams(problem, columns, list(range(len(columns)))), scales


def moved_grams(
    problem: LatentProblem, grams: Tensor, held: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """Update Gram matrices from the sample weights ``held`` to ``wanted``; return both.

    A sample whose weight changes by less than 15 % keeps its old one. The matrix of a task is
    recomputed if more of its samples change than have a positive weight. Modifies no argument.

    Parameters
    ----------
    grams : Tensor, shape (M, D + 1, D + 1)
    held, wanted : Tensor
        Of the shape of the labels, float64.
    """
    change = (wanted - held).abs() > CHANGED * torch.maximum(wanted, held)
    counts = [
        torch.stack([each.sum() for each in by_task(problem, mask)])
        for mask in (change, wanted > 0)
    ]
    changes, positive = problem.data.ranks.total(torch.stack(counts)).tolist()
    anew = [some > all_of for some, all_of in zip(changes, positive, strict=True)]
    columns, signed = [], []
    for was, now, moves, whole in zip(
        *(by_task(problem, each) for each in (held, wanted, change)), anew, strict=True
    ):
        signed.append(now if whole else torch.where(moves, now - was, 0.0))
        columns.append(now if whole else torch.where(moves, now, was))
    moved = [m for m, some in enumerate(changes) if some]
    if not moved:
        return grams, held
    change_of_grams = _grams(problem, [signed[m] for m in moved], moved)
    out = grams.clone()
    for m, change_of_gram in zip(moved, change_of_grams, strict=True):
        out[m] = change_of_gram if anew[m] else out[m] + change_of_gram
    return out, _score_shaped(problem, columns)


def _grams(problem: LatentProblem, columns: list[Tensor], tasks: list[int]) -> Tensor:
    """``X_m' diag(w) X_m``, the intercept's column last, for weights of any sign."""
    side, design = sides(problem)[2], problem.design
    entries = [torch.nonzero(column).flatten() for column in columns]
    ranks, rows_of_all = problem.data.ranks, sum(len(each) for each in entries)
    share = gram_passes(problem, float(ranks.total(torch.tensor(rows_of_all))))
    problem.counts.charge(forward=share, adjoint=share)
    out = torch.zeros(len(columns), side, side, dtype=torch.float64, device=design.device)
    for gram, column, index, task in zip(out, columns, entries, tasks, strict=True):
        for part in torch.split(index, max(1, BLOCK_ELEMENTS // side)):
            rows = design.samples(task, part)
            if design.intercept:
                rows = torch.cat([rows, rows.new_full((len(rows), 1), design.unit)], dim=1)
            gram.addmm_(rows.T, rows * column[part, None])
    return ranks.total(out)


class Reduced(NamedTuple):
    """A quadratic model of the loss in ``L S`` alone, minimised over intercepts and own parts.

    The model of a change dW of the shared weights, with columns ``d_m``, is
    ``sum_m d_m' H_m d_m / 2 + g_m' d_m - gain``; ``gain`` is the decrease from intercepts and own
    parts at ``dW = 0``.
    """

    hessians: Tensor
    """``H_m``, (M, D, D), positive semidefinite."""
    slopes: Tensor
    """``g_m``, (D, M)."""
    gain: float
    coupling: Tensor | None
    """Decrease of a task's optimal intercept per unit change of its weights, (M, D)."""
    bias: Tensor | None
    """Optimal change of the intercepts at ``dW = 0``, (M,)."""
    ridge: float
    """Strength nu of the ridge on own parts."""
    own: Tensor | None
    """Optimal change of own parts at ``dW = 0``, (D, M)."""

    def others(self, change: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Optimal changes of intercepts (M,) and own parts (D, M), given that of ``L S``.

        None for a block that the problem lacks.
        """
        own = None
        if self.own is not None:
            own = self.own - times(self.hessians, change) / (2 * self.ridge)
            change = change + own
        if self.bias is None or self.coupling is None:
            return None, own
        return self.bias - (self.coupling.T * change).sum(0), own


def times(matrices: Tensor, columns: Tensor) -> Tensor:
    """Product of each task's symmetric matrix (M, D, D) with its column, (D, M)."""
    # multiplying from the left is three times as fast as from the right
    return torch.bmm(columns.T[:, None, :], matrices)[:, 0].T


def reduced(problem: LatentProblem, hessians: Tensor, slope: Tensor, own: Tensor | None) -> Reduced:
    """Eliminate intercepts and own parts from a quadratic model of the loss (Schur complements).

    With an intercept of curvature ``c`` and coupling ``h``, the Hessian becomes ``H - h h'/c``: the
    features are centred, weighted by the curvature. Minimising over own parts V with their ridge nu
    (an infimal convolution) then gives the Hessian ``2 nu (H + 2 nu)^-1 H``.

    Parameters
    ----------
    hessians : Tensor, shape (M, D + 1, D + 1)
        The intercept last; D in place of D + 1 without one.
    slope : Tensor, shape (D + 1, M)
        Gradient of the loss in the design's parameter.
    own : Tensor or None, shape (D, M)
        V at the point of the model.
    """
    g, g_bias = problem.design.split(slope)
    coupling = bias = own_change = None
    gain, nu = 0.0, 0.0
    H = hessians
    if g_bias is not None:
        h, c = H[:, :-1, -1], H[:, -1, -1]
        # a task without curvature has no samples within the margin, so no slope either
        seen = c > 0
        safe = torch.where(seen, c, 1.0)
        coupling = torch.where(seen[:, None], h / safe[:, None], 0.0)
        bias = -torch.where(seen, g_bias / safe, 0.0)
        H = H[:, :-1, :-1] - coupling[:, :, None] * h[:, None, :]
        g = g + h.T * bias
        gain -= float(bias @ g_bias) / 2
    if problem.own is not None and own is not None:
        nu = problem.own.strength
        pull = g + 2 * nu * own
        ridged = H.clone()
        ridged.diagonal(dim1=1, dim2=2).add_(2 * nu)
        factor = torch.linalg.cholesky(ridged)
        own_change = -torch.cholesky_solve(pull.T[:, :, None], factor)[:, :, 0].T
        H = torch.cholesky_solve(H, factor)
        gain -= float((own_change * pull).sum()) / 2
        g = -2 * nu * (own + own_change)
        H = nu * (H + H.transpose(1, 2))
    return Reduced(H, g, gain, coupling, bias, nu, own_change)
