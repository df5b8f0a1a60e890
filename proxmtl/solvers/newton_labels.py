"""Exact Newton steps of ridge problems in which each task labels few of many rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.data_term import SummedLoss
from proxmtl.problem import Problem
from proxmtl.solvers.newton_steps import lengths, solved
from proxmtl.solvers.spans import InLabels

__all__ = ["OnLabels"]


class OnLabels(NamedTuple):
    """A point, with the labelled rows of each task gathered and their scores; all float64."""

    X: Tensor
    """Features of each task's labelled rows, (M, n, D), padded with zeros."""
    data: SummedLoss
    """Loss of the labels (M, n); padded entries have weight zero."""
    coef: Tensor
    """Weights, (M, D)."""
    bias: Tensor
    """Intercepts, (M,)."""
    scores: Tensor
    """Scores of the gathered rows, (M, n)."""

    @classmethod
    def at_zero(cls, problem: Problem) -> OnLabels:
        """Gather the labelled rows, at zero weights and intercepts."""
        span = InLabels(problem)
        X = span.X.to(torch.float64)

        def placed(values: Tensor) -> Tensor:
            flat = X.new_zeros(span.shape[0] * span.shape[1]).index_copy_(0, span.entries, values)
            return flat.view(span.shape).T.contiguous()

        data, scores = span.data.rearranged(placed, X.dtype), X.new_zeros(X.shape[:2])
        return cls(X, data, X.new_zeros(len(X), X.shape[2]), X.new_zeros(len(X)), scores)

    def objective(self, problem: Problem) -> float:
        """Loss plus ridge at the point; takes no product."""
        return float(self.data.value(self.scores) + problem.ridge * self.coef.square().sum())

    def towards(self, other: OnLabels, beta: float) -> OnLabels:
        """``self + beta (other - self)``."""
        return self._replace(
            coef=torch.lerp(self.coef, other.coef, beta),
            bias=torch.lerp(self.bias, other.bias, beta),
            scores=torch.lerp(self.scores, other.scores, beta),
        )

    def point(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Return the parameter and its scores (M, n)."""
        design = problem.design
        bias = (self.bias / design.unit).to(design.dtype) if design.intercept else None
        return design.join(self.coef.T.to(design.dtype), bias), self.scores

    def step(self, problem: Problem) -> OnLabels:
        """Take one Newton step in each task, with a line search.

        The intercepts are eliminated by a Schur complement, which centres the features.
        """
        ridge, X, z = problem.ridge, self.X, self.scores
        share = (2 + X.shape[2] / 2) * X.shape[1] / problem.data.shape[0]
        problem.counts.charge(forward=share, adjoint=share)
        r, h = self.data.gradient(z), self.data.curvature(z)
        total = h.sum(1)
        held = (total > 0) & problem.design.intercept
        safe = torch.where(held, total, 1.0)
        slopes = torch.where(held, r.sum(1) / safe, 0.0)
        total = torch.where(held, total, 0.0)
        mu = torch.where(held[:, None], _back(X, h) / safe[:, None], 0.0)
        G = _back(X, r) + 2 * ridge * self.coef
        half = X * h.sqrt()[:, :, None]
        H = torch.bmm(half.mT, half) - (total[:, None] * mu)[:, :, None] * mu[:, None]
        H.diagonal(dim1=1, dim2=2).add_(2 * ridge)
        d = -solved(H, (G - mu * (slopes * total)[:, None])[:, :, None])[:, :, 0]
        db = -slopes - (mu * d).sum(1)
        known = d.isfinite().all(1) & db.isfinite()  # no step if a Hessian is numerically singular
        d, db = torch.where(known[:, None], d, 0.0), torch.where(known, db, 0.0)
        along = torch.bmm(X, d[:, :, None])[:, :, 0] + db[:, None]
        slope = (r * along).sum(1) + 2 * ridge * (self.coef * d).sum(1)
        squares = ridge * d.square().sum(1)
        tau = lengths(self.data, z, along, slope=slope, squares=squares)
        return self._replace(
            coef=self.coef + tau[:, None] * d,
            bias=self.bias + tau * db,
            scores=z + tau[:, None] * along,
        )


def _back(X: Tensor, values: Tensor) -> Tensor:
    """``X_m' v_m`` of each task, (M, D)."""
    return torch.bmm(values[:, None], X)[:, 0]
