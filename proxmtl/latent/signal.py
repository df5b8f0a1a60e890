"""Default ridge from the labels of single tasks, by closed-form leave-one-out errors."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.latent.grams import by_task
from proxmtl.problem import Problem

__all__ = ["ridge_of_labels"]

RIDGES = tuple(10 ** (1 - k / 2) for k in range(6))
"""Candidate ridges from 10 to 0.03, half a decade apart."""
TASKS = 32
"""Maximum number of tasks that are used, evenly spaced."""
ROWS, ROWS_OF_ALL = 200, 500
"""Maximum number of rows per task: if tasks label different rows, and if all label the same."""
ALIKE = 1e-12
"""Rows whose squared distance, over the largest squared norm, is at most this count as equal."""


def ridge_of_labels(problem: Problem, copies: Tensor, norms: float) -> float:
    r"""Ridge with the smallest leave-one-out squared error over all tasks, each fitted alone.

    The model is ``1/2 sum_i c_i (y_i - x_i' v - b)^2 + r n ||v||^2``, with n the mean squared norm
    of the features: r estimates one over twice the signal-to-noise ratio, independently of the
    number of labels. Leave-one-out errors follow from the leverages, by one eigendecomposition of
    the rows' Gram matrix. Equal rows are left out together, so that a label of weight 2 counts as
    two. At most 500 evenly spaced rows are used, or 200 per task if tasks label different rows (a
    weight and a repetition are then only approximately equivalent). Errors are summed over tasks,
    so tasks with few labels of a class have little influence.

    Parameters
    ----------
    problem : Problem
        Provides samples and labels.
    copies : Tensor
        Sample weight of each label, 0 if it is missing; in the shape of the labels, float64.
    norms : float
        n.

    Returns
    -------
    float
        r, between 0.03 and 10: the minimum of a parabola through the best candidate and its
        neighbours. 1 if no task has informative labels. Reads some rows; not counted as a pass.
    """
    targets = problem.targets
    counts = by_task(problem, copies)
    labels = by_task(problem, problem.data.at(torch.float64).labels)
    errors = torch.zeros(len(RIDGES), dtype=torch.float64)
    rows: _Rows | None = None
    ranks = targets.ranks
    alike = targets.task_of is None and bool((copies == copies[:, :1]).all())
    alike = not ranks.largest(not alike)
    if alike and targets.tasks is not None:
        columns = ranks.gathered(hashlib.sha256(copies[:, 0].cpu().numpy().tobytes()).digest())
        alike = len(set(columns)) == 1
    most = ROWS_OF_ALL if alike else ROWS
    own_tasks = range(targets.n_tasks) if targets.tasks is None else targets.tasks.tolist()
    places = {task: place for place, task in enumerate(own_tasks)}
    none = counts[0][:0]
    for m in _spaced(targets.n_tasks, TASKS).tolist():
        here = m in places  # or its labels are those of another rank
        of_task = counts[places[m]] if here else none
        seen = torch.nonzero(of_task).flatten()
        first, total = ranks.place(len(seen))
        if total < 2:
            continue
        own = _spaced(total, most) - first
        seen = seen[own[(own >= 0) & (own < len(seen))].to(seen.device)]
        weights = ranks.concatenated(of_task[seen].cpu())
        if rows is None or not alike:
            inner = problem.design.inner_products(m, seen).cpu()
            rows = _Rows.of(weights, inner, norms, intercept=problem.design.intercept)
        known = labels[places[m]][seen] if here else none
        errors += rows.errors(ranks.concatenated(known.cpu()))
    return _lowest(errors) if bool(errors.any()) else 1.0


class _Rows(NamedTuple):
    """Rows of a task with equal ones merged, and their leverages, for any labels."""

    given: Tensor  # weights of the rows
    merged: Tensor  # index of the merged row of each row
    weights: Tensor  # weights of the merged rows
    constant: Tensor  # unit vector of the intercept on the merged rows; 0 without intercept
    vectors: Tensor  # eigenvectors of the Gram matrix
    kept: Tensor  # share of a label along each eigenvector that each candidate ridge keeps
    left: Tensor  # one minus the leverage of each merged row at each candidate ridge

    @classmethod
    def of(cls, given: Tensor, inner: Tensor, norms: float, *, intercept: bool) -> _Rows:
        squares = inner.diagonal()
        apart = squares[:, None] + squares - 2 * inner
        first = (apart <= ALIKE * squares.max()).to(torch.int8).argmax(1)
        kept, merged = torch.unique(first, return_inverse=True)
        weights = given.new_zeros(len(kept)).index_add_(0, merged, given)
        root = weights.sqrt()
        inner = root[:, None] * inner[kept][:, kept] * root
        constant = root / root.norm() if intercept else torch.zeros_like(root)
        inner = _without(constant, _without(constant, inner).T)
        values, vectors = torch.linalg.eigh(inner)
        along = values.clamp_min(0.0)[:, None]
        kept = along / (along + 2 * norms * torch.tensor(RIDGES, dtype=values.dtype))
        left = (1 - constant.square())[:, None] - vectors.square() @ kept
        left.clamp_min_(torch.finfo(left.dtype).eps)
        return cls(given, merged, weights, constant, vectors, kept, left)

    def errors(self, labels: Tensor) -> Tensor:
        """Leave-one-out mean squared errors at each of the candidate ridges."""
        total = self.weights.sum()
        sums = torch.zeros_like(self.weights).index_add_(0, self.merged, self.given * labels)
        mean = sums / self.weights
        within = (self.given * (labels - mean[self.merged]).square()).sum() / total
        y = _without(self.constant, self.weights.sqrt() * mean)
        variance = y.square().sum() / total + within
        if not (variance > 0 and len(self.weights) > 1 and bool(self.kept.any())):
            return torch.zeros(len(RIDGES), dtype=torch.float64)
        along = self.vectors.T @ y
        rest = (y[:, None] - self.vectors @ (self.kept * along[:, None])) / self.left
        return rest.square().sum(0) / total + within


def _without(direction: Tensor, values: Tensor) -> Tensor:
    """Remove the component along a unit vector (for the zero vector: nothing)."""
    along = direction @ values
    return values - (torch.outer(direction, along) if values.ndim == 2 else direction * along)


def _spaced(n: int, most: int) -> Tensor:
    """At most ``most`` evenly spaced indices below n."""
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
