"""Quadratic models of a loss on some features, with their Gram matrices kept between steps."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign
from proxmtl.problem import Problem

__all__ = ["RowModels", "gram_size", "row_models"]

FLAT = 4 * torch.finfo(torch.float64).eps
"""Rounding error of the curvature of a centred column, relative to that of the column, by entry."""


class RowModels(NamedTuple):
    """Curvature of the loss in the weights of k features, with intercepts that are always the best.

    There is one model for each task, or a single one for all tasks if their curvatures are the
    same at every sample. All is float64.
    """

    rows: Tensor
    """The features, (k,), ascending."""
    curvatures: Tensor
    """Of the loss at each sample, (N, T), with T = M or 1."""
    centred: bool
    """Whether there are intercepts."""
    columns: Tensor
    """Values of the features, (N, k)."""
    means: Tensor
    """Their means, weighted by the curvatures, (T, k); zero without an intercept."""
    flat: Tensor
    """Features that are constant where there is curvature, (T, k); they count as zero."""
    grams: Tensor
    """Inner products of the centred features, weighted by the curvatures, (T, k, k)."""

    def slopes(self, residuals: Tensor) -> Tensor:
        """Gradients of the tasks in the weights, (M, k), at the best intercept, from (N, M)."""
        found = residuals.t() @ self.columns - self.means * residuals.sum(0)[:, None]
        return found.masked_fill_(self.flat.expand_as(found), 0.0)

    def along(self, residuals: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
        """What moves of the weights (M, k) add to the scores, (N, M), and their constants (M,)."""
        if not self.centred:
            return self.columns @ moves.t(), moves.new_zeros(len(moves))
        total = self.curvatures.sum(0)
        own = torch.where(total > 0, residuals.sum(0) / torch.where(total > 0, total, 1.0), 0.0)
        constant = -own - (self.means * moves).sum(1)
        return self.columns @ moves.t() + constant, constant


def gram_size(problem: Problem, rows: Tensor, curvatures: Tensor) -> tuple[float, int]:
    """Passes that Gram matrices of :func:`row_models` are by operations; entries of its arrays."""
    D, M = problem.design.split(problem.zeros())[0].shape
    entries = _differing(curvatures).shape[1] * len(rows) ** 2
    # 2 N operations an entry, and a pass takes 4 N D M
    return entries / (2 * D * M), max(entries, len(curvatures) * len(rows))


def row_models(problem: Problem, rows: Tensor, curvatures: Tensor) -> RowModels:
    """Models on the features ``rows``, with curvatures (N, M); charged by their operations.

    The design keeps the last models: the same ones are not made twice, nor are the same columns
    copied. (They count as if they were, so that passes do not depend on what ran before; nor do
    the digits, which a larger matrix that is made of smaller ones would not keep.)
    """
    design, h = problem.design, _differing(curvatures)
    assert isinstance(design, SharedDesign)
    passes, _ = gram_size(problem, rows, curvatures)
    problem.counts.charge(forward=passes, adjoint=passes)
    last: RowModels | None = design.kept.get("rows")
    if last is None or not torch.equal(last.rows, rows):
        columns = design.X[:, rows].to(torch.float64)
    elif last.centred == design.intercept and torch.equal(last.curvatures, h):
        return last
    else:
        columns = last.columns
    models = design.kept["rows"] = _made(rows, h, columns, centred=design.intercept)
    return models


def _differing(curvatures: Tensor) -> Tensor:
    """Curvatures (N, T): a single column if all tasks have the same."""
    same = bool((curvatures == curvatures[:, :1]).all())
    return curvatures[:, :1].contiguous() if same else curvatures


def _made(rows: Tensor, h: Tensor, columns: Tensor, *, centred: bool) -> RowModels:
    k, tasks = len(rows), h.shape[1]
    means, flat = columns.new_zeros(tasks, k), torch.zeros(tasks, k, dtype=torch.bool)
    grams = columns.new_empty(tasks, k, k)
    for t in range(tasks):
        bent, wide = h[:, t], columns
        here = bent > 0
        if not bool(here.all()):
            bent, wide = bent[here], columns[here]
        total = float(bent.sum())
        if centred and total > 0:
            squares = bent @ wide.square()
            means[t] = bent @ wide / total
            wide = wide - means[t]
            flat[t] = ~(bent @ wide.square() > FLAT * (len(bent) + 2) * squares)
        wide = (wide * bent.sqrt()[:, None]).masked_fill_(flat[t], 0.0)
        torch.mm(wide.t(), wide, out=grams[t])
    return RowModels(rows, h, centred, columns, means, flat, grams)
