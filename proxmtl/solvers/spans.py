"""Representations of the weights (spans) in which the products of a descent are cheapest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs import SharedDesign, TaskDesign
from proxmtl.designs.base import BLOCK_ELEMENTS
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE
from proxmtl.regularizers import UnsupportedError

__all__ = [
    "InFeatures",
    "InLabels",
    "InRows",
    "Point",
    "Span",
    "Spectral",
    "has_few_labels",
    "labelled",
    "span_of",
]

PRODUCTS = 80
"""Cost model: expected iterations of all descents on one span."""
GATHERED = 16
"""Cost model: time of an operation on gathered rows, relative to one in a product with all rows."""
MOST_BYTES = 1 << 30
"""Maximum memory of a Gram matrix of rows."""


class Spectral(Protocol):
    """A penalty of the singular values: its prox multiplies W by a function of ``W'W``."""

    @property
    def is_symmetric(self) -> bool:
        """Whether the penalty has the same value at W and at its transpose."""

    def factor(self, gram: Tensor, step: float) -> tuple[Tensor, float]:
        """Return P (M, M) with ``prox_{step R}(W) = W P``, and R there, from W'W in float64."""


class Point(NamedTuple):
    """A parameter in coordinates of a span; linear combinations act on all fields."""

    weights: Tensor
    """Coefficients in the basis of the span."""
    paired: Tensor
    """Gram matrix of the basis times ``weights``: ``<V, W> = sum(V.weights * W.paired)``."""
    bias: Tensor
    """Intercepts in the design's unit, (M,)."""
    seen: Tensor
    """Scores of the observed labels, (n,)."""

    def towards(self, other: Point, beta: float) -> Point:
        """``self + beta (other - self)``."""
        weights = torch.lerp(self.weights, other.weights, beta)
        both = self.paired is self.weights
        return Point(
            weights,
            weights if both else torch.lerp(self.paired, other.paired, beta),
            torch.lerp(self.bias, other.bias, beta),
            torch.lerp(self.seen, other.seen, beta),
        )

    @property
    def squared(self) -> float:
        """Squared Euclidean norm of weights and intercepts."""
        return float(torch.sum(self.weights * self.paired) + self.bias.square().sum())

    def along(self, V: Point, W: Point) -> float:
        """Inner product of ``V - self`` and ``W - self``."""
        weights = torch.sum((V.weights - self.weights) * (W.paired - self.paired))
        return float(weights + torch.dot(V.bias - self.bias, W.bias - self.bias))


class Span(ABC):
    """Base: the loss of the observed labels as a function of weights in some representation.

    Parameters
    ----------
    problem : Problem
        Its penalties are ignored.
    entries : Tensor, shape (n,)
        Flat indices of the observed labels in a matrix of scores (rows, m), ascending, of the m
        tasks that this process has labels of: all M unless ranks divide them.
    order : Tensor, shape (n,)
        Flat indices of the same labels in the targets.
    rows : int
        Number of rows of that matrix.
    """

    def __init__(self, problem: Problem, entries: Tensor, order: Tensor, rows: int) -> None:
        targets, m = problem.targets, problem.targets.own.n_tasks
        self.problem, self.shape, self.n_tasks = problem, (rows, m), targets.n_tasks
        self.whole = len(entries) == rows * m
        self.entries, own = entries, entries % m
        self.tasks = own if targets.tasks is None else targets.tasks[own]
        self.data = problem.data.rearranged(lambda each: each.reshape(-1)[order])
        self.unit = problem.design.unit if problem.design.intercept else 0.0

    @abstractmethod
    def at(self, x: Tensor) -> Point:
        """Represent a parameter of the problem."""

    @abstractmethod
    def parameter(self, point: Point) -> Tensor:
        """Return the parameter of the problem at a point."""

    @abstractmethod
    def pulled(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        """``weights`` and ``paired`` of the gradient, from residuals (rows, m)."""

    @abstractmethod
    def scores(self, weights: Tensor, paired: Tensor) -> Tensor:
        """Scores (rows, m) of weights, without intercepts."""

    def moved(self, z: Point, r: Tensor, step: float) -> Point:
        """``z - step grad``, from residuals ``r`` of the observed labels; keeps the old scores.

        The gradient in the intercepts is scaled by the design's unit.
        """
        residuals, of_bias = self.laid_out(r)
        weights, paired = self.pulled(residuals)
        moved = torch.sub(z.weights, weights, alpha=step)
        both = paired is weights
        return Point(
            moved,
            moved if both else torch.sub(z.paired, paired, alpha=step),
            torch.sub(z.bias, of_bias, alpha=step * self.unit),
            z.seen,
        )

    def laid_out(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals of the observed labels in the layout of the scores, and their sums by task."""
        if not self.whole:
            r = r.new_zeros(self.shape[0] * self.shape[1]).index_copy_(0, self.entries, r)
        residuals = r.view(self.shape)
        targets = self.problem.targets
        return residuals, targets.ranks.total(targets.placed(residuals.sum(0)))

    def seen(self, point: Point) -> Point:
        """Return the point with its scores recomputed."""
        flat = self.scores(point.weights, point.paired).reshape(-1)
        flat = flat if self.whole else flat[self.entries]
        if self.unit:
            flat = flat + self.unit * point.bias[self.tasks]
        return point._replace(seen=flat)

    def prox(self, penalty: Spectral, point: Point, step: float) -> tuple[Point, float]:
        """Prox of a spectral penalty, with scores, and the value of the penalty there."""
        V, own = point.weights, point.paired
        both = own is V
        wide = V.to(torch.float64)
        if both and len(V) < V.shape[1] and penalty.is_symmetric:
            P, value = penalty.factor(wide @ wide.T, step)
            W = paired = P.to(V) @ V
        else:
            P, value = penalty.factor(wide.T @ (wide if both else own.to(torch.float64)), step)
            P = P.to(V)
            W = V @ P
            paired = W if both else own @ P
        return self.seen(point._replace(weights=W, paired=paired)), value

    def loss(self, point: Point) -> float:
        """Loss at a point."""
        return float(self.data.value(point.seen))

    def slope(self, point: Point) -> Point:
        """Gradient of the loss in the parameter; its field ``seen`` is not meaningful."""
        zero, bias = torch.zeros_like(point.weights), torch.zeros_like(point.bias)
        nowhere = point._replace(weights=zero, paired=zero, bias=bias)
        return self.moved(nowhere, self.gradient(point), -1.0)

    def steepness(self, point: Point) -> float:
        """Spectral norm of the loss gradient in the weights."""
        slope = self.slope(point)
        gram = slope.weights.to(torch.float64).T @ slope.paired.to(torch.float64)
        return float(torch.linalg.eigvalsh(gram)[-1].clamp(min=0).sqrt())

    def gradient(self, point: Point) -> Tensor:
        """Gradient of the loss in the scores of the observed labels, (n,)."""
        return self.data.gradient(point.seen)


class OfWeights(Span):
    """Base of spans whose coefficients are the weights themselves, (D, M)."""

    def at(self, x: Tensor) -> Point:
        weights, bias = self.problem.design.split(x)
        if bias is None:
            bias = weights.new_zeros(self.n_tasks)
        return self.seen(Point(weights, weights, bias, bias))

    def parameter(self, point: Point) -> Tensor:
        return self.problem.design.join(point.weights, point.bias if self.unit else None)


class InFeatures(OfWeights):
    """The weights themselves, (D, M), with products of the design. Takes any design.

    Scores and residuals are in the layout of the design's, which may be that of the labels, (n,).
    """

    def __init__(self, problem: Problem) -> None:
        data = problem.data
        order, entries = _places(data)
        self.flat = data.task_of is not None
        super().__init__(problem, order if self.flat else entries, order, data.shape[0])
        if data.task_of is not None:
            own, tasks = data.task_of[order], data.targets.tasks
            self.tasks = own if tasks is None else tasks[own]
            self.whole = len(order) == data.shape[0]

    def laid_out(self, r: Tensor) -> tuple[Tensor, Tensor]:
        if not self.flat:
            return super().laid_out(r)
        data = self.problem.data
        r = r if self.whole else r.new_zeros(data.shape).index_copy_(0, self.entries, r)
        return r, data.per_task(r)

    def pulled(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        weights, _ = self.problem.design.split(self.problem.adjoint(residuals))
        return weights, weights

    def scores(self, weights: Tensor, paired: Tensor) -> Tensor:
        del paired
        bias = weights.new_zeros(self.n_tasks) if self.unit else None
        return self.problem.scores_along(self.problem.design.join(weights, bias))


class InLabels(OfWeights):
    """The weights themselves, (D, M), with products of each task's gathered labelled rows."""

    def __init__(self, problem: Problem) -> None:
        design, observed = problem.design, problem.data.observed()
        assert isinstance(design, SharedDesign)
        M, n = observed.shape[1], int(observed.sum(0).max())
        tasks, rows = torch.nonzero(observed.T, as_tuple=True)
        first = torch.searchsorted(tasks, torch.arange(M, device=tasks.device))
        places = torch.arange(len(tasks), device=tasks.device) - first[tasks]
        self.X = design.X.new_zeros(M, n, design.X.shape[1])
        self.X[tasks, places] = design.X[rows]
        self.share = design.share * n / len(observed)
        entries, order = (places * M + tasks).sort()
        super().__init__(problem, entries, (rows * M + tasks)[order], n)

    def pulled(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        self.problem.counts.charge(adjoint=self.share)
        weights = torch.bmm(residuals.T[:, None], self.X)[:, 0].T.contiguous()
        return weights, weights

    def scores(self, weights: Tensor, paired: Tensor) -> Tensor:
        del paired
        self.problem.counts.charge(forward=self.share)
        return torch.bmm(self.X, weights.T[:, :, None])[:, :, 0].T


class InRows(Span):
    """Weights as combinations of the rows and of a starting point: ``X' C + W_0 Q``.

    A gradient is a combination of rows, and the prox multiplies from the right, so the iterates
    stay in this span. An iteration takes one product with the Gram matrix of the rows, at a cost
    that does not depend on the number of features.
    """

    def __init__(self, problem: Problem, gram: Tensor | None = None) -> None:
        design = problem.design
        assert isinstance(design, SharedDesign | TaskDesign)
        self.X = design.X if isinstance(design, SharedDesign) else torch.cat(design.X)
        order, entries = _places(problem.data)
        super().__init__(problem, entries, order, len(self.X))
        N, D = self.X.shape
        self.share = design.share * N / (2 * D)
        problem.counts.charge(
            forward=design.share * N / (2 * self.shape[1]),
            adjoint=design.share * N / (2 * self.shape[1]),
        )
        self.gram = self.X @ self.X.T if gram is None else gram
        self.first: Tensor | None = None

    def at(self, x: Tensor) -> Point:
        """Represent a parameter, which becomes ``W_0``; earlier points are invalid after that."""
        weights, bias = self.problem.design.split(x)
        N, M = self.shape
        if bias is None:
            bias = weights.new_zeros(M)
        self.first = weights
        self.problem.counts.charge(forward=self.problem.design.share)
        across = self.X @ weights  # (N, M)
        self.columns = torch.cat([self.gram, across.T])  # (N + M, N)
        Q = torch.eye(M, dtype=x.dtype, device=x.device)
        C = torch.cat([Q.new_zeros(N, M), Q])
        wide = weights.to(torch.float64)
        paired = torch.cat([across, (wide.T @ wide).to(across)])
        return self.seen(Point(C, paired, bias, bias))

    def parameter(self, point: Point) -> Tensor:
        assert self.first is not None
        N = self.shape[0]
        self.problem.counts.charge(adjoint=self.problem.design.share)
        weights = self.X.T @ point.weights[:N] + self.first @ point.weights[N:]
        return self.problem.design.join(weights, point.bias if self.unit else None)

    def pulled(self, residuals: Tensor) -> tuple[Tensor, Tensor]:
        self.problem.counts.charge(forward=self.share, adjoint=self.share)
        rest = residuals.new_zeros(self.shape[1], self.shape[1])
        return torch.cat([residuals, rest]), self.columns @ residuals

    def scores(self, weights: Tensor, paired: Tensor) -> Tensor:
        del weights
        return paired[: self.shape[0]]


def span_of(problem: Problem) -> Span:
    """Return the cheapest span of a problem, with its intercept rescaled; cached.

    Raises
    ------
    UnsupportedError
        If the loss couples the scores of a row: spans treat each label separately.
    """
    if problem.loss.coupled:
        raise UnsupportedError(
            f"{type(problem.loss).__name__} couples the scores of a sample, and descents along a "
            "path take each label by itself; minimize each problem instead, such as by FISTA."
        )
    if "_span" not in problem.__dict__:
        problem.__dict__["_span"] = _cheapest(labelled(problem).in_units())
    span: Span = problem.__dict__["_span"]
    return span


def _places(data: DataTerm) -> tuple[Tensor, Tensor]:
    """Flat indices of the observed labels in the targets and in a matrix of scores (rows, m)."""
    order = torch.nonzero(data.observed().reshape(-1)).flatten()
    own = data.targets.own
    if own.task_of is None:
        return order, order
    # task designs: a row of scores for each label
    return order, order * own.n_tasks + own.task_of[order]


def labelled(problem: Problem) -> Problem:
    """The problem restricted to the rows that have at least one label; whole if ranks divide it."""
    data, design = problem.data, problem.design
    if data.ranks is not ALONE:
        return problem
    observed = data.observed()
    rows = torch.nonzero(observed if observed.ndim == 1 else observed.any(1)).flatten()
    if len(rows) == data.shape[0]:
        return problem
    part = design.take(rows)
    part.share = design.share * len(rows) / data.shape[0]
    return Problem(problem.loss, part, problem.targets.take(rows), counts=problem.counts)


def _cheapest(problem: Problem) -> Span:
    """The span in which an iteration takes the fewest operations."""
    design, data = problem.design, problem.data
    dense = isinstance(design, SharedDesign) and design.X.layout == torch.strided
    by_task = isinstance(design, TaskDesign)
    if not dense and not by_task:
        return InFeatures(problem)
    N, M, D = data.shape[0], data.n_tasks, design.split(problem.zeros())[0].shape[0]
    in_features = 4 * N * D * (1 if by_task else M) * PRODUCTS
    in_rows = 2 * N * N * (D + PRODUCTS * M)
    size = design.dtype.itemsize
    affordable = problem.counts.left / 2 >= N / (2 * M) and 2 * N * N * size <= MOST_BYTES
    if in_rows < in_features and affordable:
        return InRows(problem)
    return InLabels(problem) if has_few_labels(problem) else InFeatures(problem)


def has_few_labels(problem: Problem) -> bool:
    """Whether products with each task's gathered rows are cheaper than with all rows."""
    design, observed = problem.design, problem.data.observed()
    if not isinstance(design, SharedDesign) or design.X.layout != torch.strided:
        return False
    n = int(observed.sum(0).max())
    gathered = observed.shape[1] * n * design.X.shape[1]
    return GATHERED * n <= len(observed) and gathered <= BLOCK_ELEMENTS
