"""How strong a ridge serves the labels of single tasks, by the closed form of leaving rows out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.latent.grams import by_task
from proxmtl.problem import Problem

__all__ = ["ridge_of_labels"]

RIDGES = tuple(10 ** (1 - k / 2) for k in range(6))
"""From 10 to 0.03."""
TASKS = 32
"""Most tasks that are looked at, evenly spaced."""
ROWS, ROWS_OF_ALL = 200, 500
"""Most rows of each of them: where they differ, and where one decomposition serves all."""
ALIKE = 1e-12
"""Squared distance of rows, over the largest squared norm, up to which they are one row."""


def ridge_of_labels(problem: Problem, copies: Tensor, norms: float) -> float:
    r"""Ridge with the least squared error on labels that are left out, for each task alone.

    Of ``1/2 sum_i c_i (y_i - x_i' v - b)^2 + r n ||v||^2`` with n the mean squared norm of the
    features: one over twice the ratio of signal to noise, whatever the number of labels. Each row
    is left out by the leverages of one eigendecomposition of the rows' inner products; rows that
    are the same are left out together, so that a label of weight 2 counts as two. Of more than
    500 rows so many are looked at, evenly spaced, of 200 where tasks have labels of different rows:
    there a weight and a repetition are the same but nearly. Errors of all tasks are summed, so
    that those with few labels of a class count little.

    Parameters
    ----------
    problem : Problem
        Whose samples and labels are meant.
    copies : Tensor
        Sample weight of each label, 0 where it is missing; of the labels' shape, float64.
    norms : float
        n.

    Returns
    -------
    float
        Between 0.03 and 10; 1 where no task's labels say anything. The minimum of a parabola
        through the three best of half a decade apart. No pass: some rows are looked at.
    """
    targets = problem.targets
    counts = by_task(problem, copies)
    labels = by_task(problem, problem.data.at(torch.float64).labels)
    errors = torch.zeros(len(RIDGES), dtype=torch.float64)
    rows: _Rows | None = None
    alike = targets.task_of is None and bool((copies == copies[:, :1]).all())
    most = ROWS_OF_ALL if alike else ROWS
    for m in _spaced(len(counts), TASKS).tolist():
        seen = torch.nonzero(counts[m]).flatten()
        seen = seen[_spaced(len(seen), most).to(seen.device)]
        if len(seen) < 2:
            continue
        weights = counts[m][seen].cpu()
        if rows is None or not alike:
            inner = problem.design.inner_products(m, seen).cpu()
            rows = _Rows.of(weights, inner, intercept=problem.design.intercept)
        errors += rows.errors(labels[m][seen].cpu(), norms)
    return _lowest(errors) if bool(errors.any()) else 1.0


class _Rows(NamedTuple):
    """Rows of a task, the same ones merged, and the eigenvalues of their inner products."""

    given: Tensor  # weights of these
    merged: Tensor  # number of the merged row of each
    weights: Tensor  # of merged rows
    constant: Tensor  # unit vector of the intercept on them, 0 without
    values: Tensor
    vectors: Tensor

    @classmethod
    def of(cls, given: Tensor, inner: Tensor, *, intercept: bool) -> _Rows:
        norms = inner.diagonal()
        apart = norms[:, None] + norms - 2 * inner
        first = (apart <= ALIKE * norms.max()).to(torch.int8).argmax(1)
        kept, merged = torch.unique(first, return_inverse=True)
        weights = given.new_zeros(len(kept)).index_add_(0, merged, given)
        root = weights.sqrt()
        inner = root[:, None] * inner[kept][:, kept] * root
        constant = root / root.norm() if intercept else torch.zeros_like(root)
        inner = _without(constant, _without(constant, inner).T)
        values, vectors = torch.linalg.eigh(inner)
        return cls(given, merged, weights, constant, values.clamp_min(0.0), vectors)

    def errors(self, labels: Tensor, norms: float) -> Tensor:
        """Mean squared errors of labels left out, at each ridge."""
        total = self.weights.sum()
        sums = torch.zeros_like(self.weights).index_add_(0, self.merged, self.given * labels)
        mean = sums / self.weights
        within = (self.given * (labels - mean[self.merged]).square()).sum() / total
        y = _without(self.constant, self.weights.sqrt() * mean)
        variance = y.square().sum() / total + within
        found = torch.zeros(len(RIDGES), dtype=torch.float64)
        if not (variance > 0 and len(self.weights) > 1 and self.values[-1] > 0):
            return found
        along = self.vectors.T @ y
        for k, ridge in enumerate(RIDGES):
            kept = self.values / (self.values + 2 * ridge * norms)
            rest = y - self.vectors @ (kept * along)
            left = 1 - self.vectors.square() @ kept - self.constant.square()
            rest = rest / left.clamp_min(torch.finfo(rest.dtype).eps)
            found[k] = rest.square().sum() / total + within
        return found


def _without(direction: Tensor, values: Tensor) -> Tensor:
    """Values less their part along a unit vector, or less nothing for zero."""
    along = direction @ values
    return values - (torch.outer(direction, along) if values.ndim == 2 else direction * along)


def _spaced(n: int, most: int) -> Tensor:
    """Numbers of at most so many of n things."""
    if n <= most:
        return torch.arange(n)
    return torch.linspace(0, n - 1, most, dtype=torch.float64).round().long()


def _lowest(errors: Tensor) -> float:
    k = min(max(int(errors.argmin()), 1), len(errors) - 2)
    before, at, after = errors[k - 1 : k + 2].tolist()
    bend = before - 2 * at + after
    if not bend > 0:
        return RIDGES[int(errors.argmin())]
    step = min(max((before - after) / (2 * bend), -1.0), 1.0)
    return RIDGES[k] * math.pow(RIDGES[1] / RIDGES[0], step)
