"""Exact Newton steps of ridge problems with fewer labels than features, in the span of the rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.designs import SharedDesign
from proxmtl.designs.base import BLOCK_ELEMENTS
from proxmtl.problem import Problem
from proxmtl.solvers.newton_steps import lengths, solved
from proxmtl.stored_labels import DenseLabels

__all__ = ["InRows", "sizes"]


def sizes(problem: Problem) -> tuple[int, int]:
    """Largest number of labels n of a task, and the number of distinct sets of labelled rows.

    The latter is 1 if no label is missing, since all tasks then have the same rows, else M.
    """
    counts = problem.data.observed().sum(0)
    most, n = int(counts.max()), problem.data.shape[0]
    return max(1, most), 1 if int(counts.min()) == n else len(counts)


class InRows(NamedTuple):
    """A point as linear combinations of each task's labelled rows.

    The weights of a task are ``rest + sum_i c_i x_i`` over its labelled rows; the scores of these
    are ``K c + level`` plus those of ``rest``, with the Gram matrix ``K`` of the centred rows. A
    Newton step needs ``K`` only and reads no features. Tasks with fewer than n labels are padded
    with rows of weight zero. All is float64.
    """

    numbers: Tensor
    """Indices of each task's labelled rows, (M, n); (1, N) if all tasks have the same."""
    labels: Tensor
    """Labels of these rows, (M, n)."""
    weights: Tensor
    """Weights of these labels, (M, n)."""
    gram: Tensor
    """``K``, inner products of a task's centred rows, (M, n, n) or (1, N, N)."""
    means: Tensor
    """Means of the rows of each task, (D, M) or (D, 1); zero without an intercept."""
    combination: Tensor
    """``c``, (M, n); sums to zero if there is an intercept."""
    combined: Tensor
    """``K c``, (M, n)."""
    level: Tensor
    """Mean score of the rows of each task, without that of ``rest``, (M,)."""
    rest: Tensor
    """Weights at the start, (D, M), which need not be a combination of rows; zero after a step."""
    rest_scores: Tensor
    """Scores of ``rest``, (M, n)."""

    @classmethod
    def at(cls, problem: Problem, x: Tensor, scores: Tensor) -> InRows:
        """Represent a point with known scores; computes the inner products."""
        numbers = _labelled(problem.data.observed(), *sizes(problem))
        gathered = problem.data.rearranged(lambda each: _gathered(each, numbers), torch.float64)
        labels, c = gathered.labels, gathered.weights
        gram, means = _gram(problem, numbers, c > 0)
        weight, bias = problem.design.split(x)
        rest = weight.to(torch.float64)
        level = rest.new_zeros(rest.shape[1])
        if bias is not None:
            level += problem.design.unit * bias
        z = _gathered(scores, numbers).to(torch.float64)
        apart = torch.where(c > 0, z - level[:, None], 0.0)
        zero = torch.zeros_like(c)
        return cls(numbers, labels, c, gram, means, zero, zero, level, rest, apart)

    @property
    def scores(self) -> Tensor:
        """Scores of the labelled rows, (M, n)."""
        return self.combined + self.rest_scores + self.level[:, None]

    def data(self, problem: Problem) -> SummedLoss:
        """The problem's loss on the labelled rows."""
        return SummedLoss(problem.loss, DenseLabels(self.labels, self.weights))

    def objective(self, problem: Problem) -> float:
        """Loss plus ridge at the point; takes no product."""
        loss = self.data(problem).value(self.scores)
        crossed = ((self.combined + 2 * self.rest_scores) * self.combination).sum()
        return float(loss + problem.ridge * (crossed + self.rest.square().sum()))

    def towards(self, other: InRows, beta: float) -> InRows:
        """``self + beta (other - self)``; both must have the same rows."""
        moved = {
            name: torch.lerp(getattr(self, name), getattr(other, name), beta)
            for name in ("combination", "combined", "level", "rest", "rest_scores")
        }
        return self._replace(**moved)

    def point(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the parameter and its scores (N, M), zero for missing labels: one product."""
        n, dtype = problem.data.shape[0], problem.design.dtype
        back = problem.adjoint(self._spread(self.combination, n).to(dtype))
        combined, _ = problem.design.split(back)
        # from the combination as rounded, so that the mean score of a task is unchanged
        level = self.level - (self.means * combined.to(torch.float64)).sum(0)
        unit = problem.design.unit if problem.design.intercept else 1.0
        x = problem.design.join(
            (self.rest + combined.to(torch.float64)).to(dtype),
            (level / unit).to(dtype) if problem.design.intercept else None,
        )
        scores = torch.where(self.weights > 0, self.scores, 0.0)
        return x, self._spread(scores, n).to(dtype)

    def step(self, problem: Problem) -> InRows:
        """Take one Newton step in each task, with a line search.

        With the residuals ``r``, ``g = c + r / (2 ridge)`` and ``s`` the root of the curvatures,
        the change of ``c`` is ``s y - g`` with ``(s K s + 2 ridge) y = s (K g + rest - db)``, where
        ``rest`` are its scores. The intercept's step ``db`` makes the new ``c`` sum to zero, which
        is its optimality condition.
        """
        data, ridge, K = self.data(problem), problem.ridge, self.gram
        z = self.scores
        r = data.gradient(z)
        s = data.curvature(z).sqrt()
        g = self.combination + r / (2 * ridge)
        right = torch.stack([s * (_times(K, g) + self.rest_scores), s], 2)
        y, along_level = self._system(s, 2 * ridge, right).unbind(2)
        db = torch.zeros_like(self.level)
        if problem.design.intercept:
            held = (s * along_level).sum(1)
            missing = (s * y).sum(1) - r.sum(1) / (2 * ridge)
            db = torch.where(held > 0, missing / torch.where(held > 0, held, 1.0), 0.0)
        change = s * (y - db[:, None] * along_level) - g
        known = change.isfinite().all(1) & db.isfinite()  # no step if numerically singular
        change, db = torch.where(known[:, None], change, 0.0), torch.where(known, db, 0.0)
        moved = _times(K, change)
        along = torch.where(known[:, None], moved - self.rest_scores + db[:, None], 0.0)
        left = self.rest.square().sum(0)
        drift = (
            (self.combined + self.rest_scores) * change - self.combination * self.rest_scores
        ).sum(1)
        squares = ((moved - 2 * self.rest_scores) * change).sum(1) + left
        slope = (r * along).sum(1) + 2 * ridge * (drift - left)
        tau = lengths(data, z, along, slope=slope, squares=ridge * squares)
        tau = torch.where(known, tau, 0.0)
        return self._replace(
            combination=self.combination + tau[:, None] * change,
            combined=self.combined + tau[:, None] * moved,
            level=self.level + tau * db,
            rest=(1 - tau) * self.rest,
            rest_scores=(1 - tau[:, None]) * self.rest_scores,
        )

    def _system(self, s: Tensor, diagonal: float, right: Tensor) -> Tensor:
        """Solutions of ``(s K s + diagonal) y = right``, (M, n, 2).

        Rows with ``s = 0``, such as those beyond the margin, are decoupled: their solution is
        ``right / diagonal``, and the system is solved in the others.
        """
        out, n, shared = right / diagonal, s.shape[1], len(self.gram) == 1
        counts, order = (s > 0).sum(1).sort(descending=True, stable=True)
        while len(order) > 0 and (most := int(counts[0])) > 0:
            # tasks with fewer rows are padded to the most, but to no more than twice their own
            size = min(max(1, BLOCK_ELEMENTS // most**2), int((2 * counts > most).sum()))
            tasks, order, counts = order[:size], order[size:], counts[size:]
            at: tuple[Tensor, ...] = (tasks,)
            if most == n:
                K = self.gram if shared else self.gram[tasks]
            else:
                some = s[tasks].topk(most, sorted=False).indices.sort(dim=1).values
                at = (tasks[:, None], some)
                own = 0 if shared else tasks[:, None, None]
                K = self.gram[own, some[:, :, None], some[:, None]]
            root = s[at]
            B = (K * root[:, :, None]).mul_(root[:, None])
            B.diagonal(dim1=1, dim2=2).add_(diagonal)
            out[at] = solved(B, right[at])
        return out

    def _spread(self, values: Tensor, n: int) -> Tensor:
        """Scatter values of the labelled rows to (N, M), with zeros for missing labels."""
        if len(self.numbers) == 1 and len(values) > 1:
            return values.T
        # padded rows have the value zero and distinct indices, so they overwrite no label
        return values.new_zeros(len(values), n).scatter_(1, self.numbers, values).T


def _labelled(observed: Tensor, n: int, tasks: int) -> Tensor:
    """Indices of each task's labelled rows, then of others as padding: (M, n), or (1, N)."""
    if tasks == 1 and n == len(observed):
        return torch.arange(n, device=observed.device)[None]
    first = observed.T.to(torch.int8)
    return first.sort(dim=1, descending=True, stable=True)[1][:, :n]


def _gathered(values: Tensor, numbers: Tensor) -> Tensor:
    """Entries of values (N, M) at the labelled rows of each task, (M, n)."""
    if len(numbers) == 1 and numbers.shape[1] == len(values):
        return values.T.contiguous()
    return values.T.gather(1, numbers)


def _gram(problem: Problem, numbers: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Inner products of the centred rows of each task, and the means of the rows."""
    assert isinstance(problem.design, SharedDesign)
    X, (tasks, n) = problem.design.X, numbers.shape
    share = tasks * n * n / (2 * len(X) * problem.data.n_tasks)  # of the operations of a pass
    problem.counts.charge(forward=share, adjoint=share)
    gram = torch.zeros(tasks, n, n, dtype=torch.float64, device=X.device)
    means = torch.zeros(X.shape[1], tasks, dtype=torch.float64, device=X.device)
    width = max(1, BLOCK_ELEMENTS // n)
    for m in range(tasks):
        rows = numbers[m, mask[m]]
        count = len(rows)
        for columns, mean in zip(
            torch.split(X, width, dim=1), torch.split(means, width), strict=True
        ):
            wide = (columns if count == len(X) else columns[rows]).to(torch.float64)
            if problem.design.intercept and count:
                mean[:, m] = wide.mean(0)
                wide = wide - mean[:, m]
            gram[m, :count, :count].addmm_(wide, wide.T)
    return gram, means


def _times(K: Tensor, values: Tensor) -> Tensor:
    """``K_m v_m`` of each task, (M, n)."""
    return values @ K[0] if len(K) == 1 else torch.bmm(K, values[:, :, None])[:, :, 0]
