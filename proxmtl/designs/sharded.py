"""A design whose samples, or tasks, are divided among processes."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design, ResidualsOf
from proxmtl.designs.task import TaskDesign
from proxmtl.numerics import Moments
from proxmtl.ranks import ALONE, Ranks
from proxmtl.targets import Targets

__all__ = ["ShardedDesign", "joint_moments"]


class ShardedDesign(Design):
    """Scores of the labels of this process, and gradients over the labels of all processes.

    Each process ("rank") has the features and labels of some of the samples; or, with ``tasks``,
    the labels of some of the tasks, with all of their samples. All have the same parameter.
    Gradients, losses and certificates are of all ranks together, so that every solver that needs no
    more of the features takes the same steps on all ranks as one process would, up to the order of
    the sums. All ranks must solve the same problem with the same options.

    Parameters
    ----------
    own : Design
        Design of the samples of this rank, a :class:`SharedDesign`, a :class:`StreamedDesign`, or a
        :class:`TaskDesign`. With ``tasks``: the same shared features on all ranks, or a
        :class:`TaskDesign` of the features of these tasks.
    ranks : Ranks
        The processes, from :meth:`ProcessRanks.join`.
    tasks : sequence of int, optional
        Tasks of this rank: each of 0, ..., M - 1 is on one rank, and each rank has at least one.

    Raises
    ------
    ValueError
        On all ranks, if they differ in the number of features, the precision or the intercept (or,
        with ``tasks``, in the number of shared samples), or if ``tasks`` are not divided.

    Notes
    -----
    A gradient exchanges the parameter once. With P ranks and samples divided, which is a sum, each
    sends and receives about ``2 (P - 1) / P`` times its bytes; with tasks divided, where each rank
    has columns of its own, half of that. Targets must be made with the same ``ranks`` and
    ``tasks``; :meth:`Problem.of` does that. Solvers that need features themselves
    (``NewtonCholesky``, ``ProxSVRG``, working sets) do not take it, or do without.

    Examples
    --------
    >>> ranks = ProcessRanks.join()  # started by: torchrun --nproc-per-node 2 solve.py
    >>> design = ShardedDesign(SharedDesign(X_own, intercept=True), ranks)
    >>> result = minimize(Problem.of(design, Y_own, L1(0.01)))
    """

    def __init__(self, own: Design, ranks: Ranks, *, tasks: Iterable[int] | None = None) -> None:
        self.own, self.ranks = own, ranks
        self.intercept, self.unit, self.share = own.intercept, own.unit, own.share
        self.dtype, self.device = own.dtype, own.device
        width = getattr(own, "n_features", None)
        kind = (type(own).__name__, width, str(own.dtype), own.intercept)
        ranks.check_equal("X: kind, features, precision and intercept", kind)
        self._places: list[Tensor] | None = None
        if tasks is not None:
            if not isinstance(own, TaskDesign):
                ranks.check_equal("X: samples, which all tasks share", self.n_samples)
            parts = ranks.partition("tasks", tasks)
            self._places = [torch.tensor(part, device=self.device) for part in parts]
            self.tasks = self._places[ranks.rank]
        self._alike: dict[object, bool] = {}

    def _agreed(self, question: object, answer: bool) -> bool:
        """Whether all ranks say yes: they must take the same path through a solver."""
        if question not in self._alike:
            self._alike[question] = not self.ranks.largest(not answer)
        return self._alike[question]

    def _on(self, own: Design) -> ShardedDesign:
        """Return the design of other features of the same samples."""
        other = self._copy()
        other.own, other.unit, other.share = own, own.unit, own.share
        other.curvature_passes, other._alike = 0.0, {}  # noqa: SLF001 - of the same class
        return other

    def with_unit(self, unit: float) -> Design:
        return self._on(self.own.with_unit(unit))

    def narrowed(self, features: Tensor) -> Design:
        return self._on(self.own.narrowed(features))

    def times(self, L: Tensor) -> Design:
        return self._on(self.own.times(L))

    @property
    def affine(self) -> bool:
        return self.own.affine

    # ------------------------------------------------------------------ products

    def _columns(self, W: Tensor) -> Tensor:
        """Columns of this rank's tasks, or entries of a vector of all tasks."""
        return W if self.tasks is None else W.index_select(-1, self.tasks)

    def _whole(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Losses (0-d) and gradients of all ranks, from those of each, in one exchange.

        Gradients are in what :meth:`_columns` gives.
        """
        if self._places is None or self.tasks is None:
            return self.ranks.sum(*parts)
        width = len(self.tasks)
        dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))
        rows = [
            torch.nn.functional.pad(part.view(1, 1), (0, width - 1))  # a sum over the tasks
            if part.ndim == 0
            else part.reshape(-1, width)
            for part in parts
        ]
        found = self.ranks.columns(torch.cat([each.to(dtype) for each in rows]), self._places)
        wholes = torch.split(found, [*map(len, rows)])
        return tuple(
            whole.sum(dtype=torch.float64).to(part)
            if part.ndim == 0
            else whole.to(part).view(*part.shape[:-1], -1)
            for whole, part in zip(wholes, parts, strict=True)
        )

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.own.parameter_shape(targets)

    def scores(self, W: Tensor) -> Tensor:
        return self.own.scores(self._columns(W))

    def linear(self, W: Tensor) -> Tensor:
        return self.own.linear(self._columns(W))

    def adjoint(self, residuals: Tensor) -> Tensor:
        return self._whole(self.own.adjoint(residuals))[0]

    def sweeps(self, dtype: torch.dtype) -> bool:
        return self._agreed(("sweeps", dtype), self.own.sweeps(dtype))

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        scores, adjoints = self.own.sweep(self._columns(W), residuals_of)
        return scores, self._whole(*adjoints)

    def normal_product(self, V: Tensor, weights: Tensor) -> Tensor:
        return self._whole(self.own.normal_product(self._columns(V), weights))[0]

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:
        question = "reads once", type(data.loss), columns, dtype
        own = columns if self.tasks is None else len(self.tasks)
        return self._agreed(question, self.own.reads_once(data.own, own, dtype))

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, value, grad = self.own.evaluate(data.own, self._columns(W))
        value, grad = self._whole(value, grad)
        return scores, value, grad

    def loss_and_grad_at(self, data: DataTerm, scores: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self._whole(*self.own.loss_and_grad_at(data.own, scores))
        return value, grad

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self._whole(*self.own.loss_and_grad(data.own, self._columns(W)))
        return value, grad

    def factors_pay(self, n_latents: int, n_tasks: int) -> bool:
        question = "factors", n_latents, n_tasks
        own = n_tasks if self.tasks is None else len(self.tasks)
        return self._agreed(question, self.own.factors_pay(n_latents, own))

    def factored_scores(self, L: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else self._columns(bias)
        return self.own.factored_scores(L, self._columns(S), bias)

    def factored_loss_and_grads(
        self, data: DataTerm, L: Tensor, S: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        bias = None if bias is None else self._columns(bias)
        found = self.own.factored_loss_and_grads(data.own, L, self._columns(S), bias)
        value, of_L, *of_tasks = (part for part in found if part is not None)
        if self.tasks is None:
            value, of_L, *of_tasks = self.ranks.sum(value, of_L, *of_tasks)
        else:  # L is of all tasks
            value, of_L = self.ranks.sum(value, of_L)
            of_tasks = [*self._whole(*of_tasks)]
        return value, of_L, of_tasks[0], None if bias is None else of_tasks[1]

    # ------------------------------------------------------------------ what is known of X

    def check_targets(self, targets: Targets) -> None:
        with self.ranks.together():
            self.own.check_targets(targets.own)
            same = targets.tasks is None if self.tasks is None else _equal(targets, self.tasks)
            if targets.ranks is not self.ranks or not same:
                raise ValueError(
                    "labels: are not divided among the ranks of the features; pose the problem by "
                    "Problem.of, or give Targets.from_labels the same ranks (and tasks)."
                )

    def inner_products(self, task: int, entries: Tensor) -> Tensor:
        """Inner products of the samples that the ranks ask for, one rank's after another's.

        With tasks divided, only the rank that has the task asks.
        """
        if self.tasks is not None:
            own = torch.nonzero(self.tasks == task).flatten().tolist()
            task = own[0] if own else 0
        X = self.ranks.concatenated(self.own.samples(task, entries))
        return X @ X.T

    def samples(self, task: int, entries: Tensor) -> Tensor:
        """Features of samples of this rank."""
        return self.own.samples(task, entries)

    @property
    def has_samples(self) -> bool:
        return self.tasks is None and self._agreed("samples", self.own.has_samples)

    def figure(self) -> float | None:
        return self.own.known_figure

    @property
    def n_samples(self) -> int:
        """Number of samples of this rank."""
        return int(self.own.n_samples)  # type: ignore[attr-defined]

    def magnitude(self) -> float:
        found = self.ranks.gathered((self.n_samples, self.own.known_magnitude))
        largest = max(size for _, size in found)
        if not 0 < largest < math.inf:
            return largest
        square = sum(n * (size / largest) ** 2 for n, size in found) / sum(n for n, _ in found)
        return largest * math.sqrt(square)

    def moments(self, weights: Tensor | None = None) -> Moments:
        total = float(self.n_samples) if weights is None else float(weights.sum())
        if self.tasks is not None and not isinstance(self.own, TaskDesign):
            total *= len(self.tasks)  # weights may be means over the tasks of a rank
        own = self.own.moments(weights) if total else None
        joined = joint_moments(self.ranks, total, own)
        return Moments(*(each.to(self.device) for each in joined))

    def curvature_by_task(self, targets: Targets) -> Tensor:
        # the largest eigenvalue of a sum is at most the sum of the largest ones
        before = self.own.curvature_passes
        self.own.curvature_left = self.curvature_left
        found = self.own.curvature_by_task(targets.own)
        self.own.curvature_left = math.inf
        self.curvature_passes += self.ranks.largest(self.own.curvature_passes - before)
        return self.ranks.total(targets.placed(found))


def _equal(targets: Targets, tasks: Tensor) -> bool:
    return targets.tasks is not None and torch.equal(targets.tasks, tasks)


def joint_moments(ranks: Ranks, total: float, own: Moments | None) -> Moments:
    """Moments of the features of all ranks, on the CPU.

    Parameters
    ----------
    ranks : Ranks
    total : float
        Weight of the samples of this rank.
    own : Moments or None
        Their moments; None if the weight is zero.

    Raises
    ------
    ValueError
        If no rank has a sample of positive weight.
    """
    if ranks is ALONE and own is not None:
        return own
    found = ranks.gathered((total, own))
    parts = [(total, part) for total, part in found if part is not None]
    if not parts:
        raise ValueError("X: no sample of positive weight; there is no mean to compute.")
    share = torch.tensor([total for total, _ in parts], dtype=torch.float64)
    share = (share / share.sum())[:, None]
    means, stds, reaches = (torch.stack([part[i].cpu() for _, part in parts]) for i in range(3))
    # deviations from the first rank's means: those of a constant feature are exactly zero
    apart = means - means[0]
    shift = (share * apart).sum(0)
    std = (share * (stds.square() + (apart - shift).square())).sum(0).sqrt()
    reach = reaches.amax(0) + apart.abs().amax(0)
    return Moments(means[0] + shift, std, reach)
