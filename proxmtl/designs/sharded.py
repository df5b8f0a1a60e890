"""A design whose samples are divided among processes."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design, ResidualsOf
from proxmtl.numerics import Moments
from proxmtl.ranks import ALONE, Ranks
from proxmtl.targets import Targets

__all__ = ["ShardedDesign", "joint_moments"]


class ShardedDesign(Design):
    """Scores of the samples of this process, and gradients over the samples of all processes.

    Each process ("rank") has the features and labels of some of the samples, and all have the same
    parameter. Gradients, losses and certificates are sums over the ranks, so that every solver that
    needs no more of the features takes the same steps on all ranks as one process would on all
    samples, up to the order of the sums. All ranks must solve the same problem with the same
    options.

    Parameters
    ----------
    own : Design
        Design of the samples of this rank: a :class:`SharedDesign`, a :class:`StreamedDesign`, or a
        :class:`TaskDesign`.
    ranks : Ranks
        The processes, from :meth:`ProcessRanks.join`.

    Raises
    ------
    ValueError
        On all ranks, if they differ in the number of features, the precision or the intercept.

    Notes
    -----
    A gradient exchanges the parameter once: with P ranks, each sends and receives about
    ``2 (P - 1) / P`` times its bytes. Targets must be made with the same ``ranks``;
    :meth:`Problem.of` does that. Solvers that need features themselves (``NewtonCholesky``,
    ``ProxSVRG``, working sets) do not take it, or do without.

    Examples
    --------
    >>> ranks = ProcessRanks.join()  # started by: torchrun --nproc-per-node 2 solve.py
    >>> design = ShardedDesign(SharedDesign(X_own, intercept=True), ranks)
    >>> result = minimize(Problem.of(design, Y_own, L1(0.01)))
    """

    def __init__(self, own: Design, ranks: Ranks) -> None:
        self.own, self.ranks = own, ranks
        self.intercept, self.unit, self.share = own.intercept, own.unit, own.share
        self.dtype, self.device, self.sample_of = own.dtype, own.device, own.sample_of
        width = getattr(own, "n_features", None)
        ranks.check_equal(
            "X: kind, features, precision and intercept",
            (type(own).__name__, width, str(own.dtype), own.intercept),
        )
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
        other.sample_of = own.sample_of
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

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.own.parameter_shape(targets)

    def scores(self, W: Tensor) -> Tensor:
        return self.own.scores(W)

    def linear(self, W: Tensor) -> Tensor:
        return self.own.linear(W)

    def adjoint(self, residuals: Tensor) -> Tensor:
        return self.ranks.total(self.own.adjoint(residuals))

    def sweeps(self, dtype: torch.dtype) -> bool:
        return self._agreed(("sweeps", dtype), self.own.sweeps(dtype))

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        scores, adjoints = self.own.sweep(W, residuals_of)
        return scores, self.ranks.sum(*adjoints)

    def normal_product(self, V: Tensor, weights: Tensor) -> Tensor:
        return self.ranks.total(self.own.normal_product(V, weights))

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:
        question = "reads once", type(data.loss), columns, dtype
        return self._agreed(question, self.own.reads_once(data.own, columns, dtype))

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, value, grad = self.own.evaluate(data.own, W)
        value, grad = self.ranks.sum(value, grad)
        return scores, value, grad

    def loss_and_grad_at(self, data: DataTerm, scores: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.ranks.sum(*self.own.loss_and_grad_at(data.own, scores))
        return value, grad

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.ranks.sum(*self.own.loss_and_grad(data.own, W))
        return value, grad

    def factors_pay(self, n_latents: int, n_tasks: int) -> bool:
        question = "factors", n_latents, n_tasks
        return self._agreed(question, self.own.factors_pay(n_latents, n_tasks))

    def factored_scores(self, L: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        return self.own.factored_scores(L, S, bias)

    def factored_loss_and_grads(
        self, data: DataTerm, L: Tensor, S: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        *parts, slope = self.own.factored_loss_and_grads(data.own, L, S, bias)
        if slope is None:
            value, of_L, of_S = self.ranks.sum(*parts)
            return value, of_L, of_S, None
        value, of_L, of_S, slope = self.ranks.sum(*parts, slope)
        return value, of_L, of_S, slope

    def of_samples(self, targets: Targets) -> tuple[Design, Tensor, float]:
        own, weights, share = self.own.of_samples(targets)
        design = self if own is self.own else self._on(own)
        return design, weights, float(self.ranks.largest(share))

    # ------------------------------------------------------------------ what is known of X

    def check_targets(self, targets: Targets) -> None:
        with self.ranks.together():
            self.own.check_targets(replace(targets, ranks=ALONE))
            if targets.ranks is not self.ranks:
                raise ValueError(
                    "labels: are not divided among the ranks of the features; pose the problem by "
                    "Problem.of, or give Targets.from_labels the same ranks."
                )

    def inner_products(self, task: int, entries: Tensor) -> Tensor:
        """Inner products of the samples that the ranks ask for, one rank's after another's."""
        X = self.ranks.concatenated(self.own.samples(task, entries))
        return X @ X.T

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
        own = self.own.moments(weights) if total else None
        joined = joint_moments(self.ranks, total, own)
        return Moments(*(each.to(self.device) for each in joined))

    def curvature_by_task(self, targets: Targets) -> Tensor:
        # the largest eigenvalue of a sum is at most the sum of the largest ones
        before = self.own.curvature_passes
        self.own.curvature_left = self.curvature_left
        found = self.own.curvature_by_task(replace(targets, ranks=ALONE))
        self.own.curvature_left = math.inf
        self.curvature_passes += self.ranks.largest(self.own.curvature_passes - before)
        return self.ranks.total(found)


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
