"""Prox-SVRG: variance-reduced proximal steps on mini-batches, also for features on disk."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs import Design, StreamedDesign
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers.base import Solver
from proxmtl.solvers.proximal import check_scores
from proxmtl.solvers.requirements import check_curvature, check_problem
from proxmtl.state import State

__all__ = ["ProxSVRG", "ProxSVRGState"]


@dataclass
class ProxSVRGState(State):
    """Anchor with its residuals and gradient, step, and state of the generator of the batches."""

    x: Tensor
    residuals: Tensor
    grad: Tensor
    step: float
    random: Tensor  # state of the generator
    halved: int


@dataclass(frozen=True)
class ProxSVRG(Solver[Problem, ProxSVRGState, Tensor]):
    """Stochastic proximal gradient with variance reduction, for convex problems.

    An iteration is an epoch: ``v <- prox_{t R}(v - t (n/|B| X_B'(r_B(v) - r_B(x)) + grad f(x)))``
    for each batch B of the samples, starting from the anchor ``x``; then the full gradient at the
    new anchor. The residuals at the anchor are stored, so an epoch costs 2 passes. An epoch that
    raises the objective is undone and the step halved; until the first such epoch, the step grows
    by ``growth`` in each. The point returned is an anchor, with the objective reported.

    Only the current batch is converted or copied, so features may be memory-mapped and of reduced
    precision. With ``order="blocks"`` a batch consists of consecutive samples, which reads the disk
    sequentially and copies nothing in memory; samples should then be stored in random order. A
    :class:`StreamedDesign` is read in windows of its ``memory``, in random order, and batches are
    drawn within a window; an epoch reads it twice.

    Parameters
    ----------
    batch : int
        Number of samples in a batch; for a task design, over all tasks together.
    order : "samples" or "blocks"
        Batches of random samples; or of consecutive samples (of each task in proportion), with the
        batches in random order.
    growth : float
        Factor of the step from epoch to epoch, ``>= 1``.
    seed : int
        Seed of the random order.

    References
    ----------
    Xiao and Zhang, "A proximal stochastic gradient method with progressive variance reduction",
    2014; Sebbouh et al., "Towards closing the gap between the theory and practice of SVRG", 2019
    (the step for batches).
    """

    batch: int = 64
    order: Literal["samples", "blocks"] = "samples"
    growth: float = 1.1
    seed: int = 0
    state_type = ProxSVRGState
    needs_curvature = False

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.growth >= 1:
            raise ValueError(
                f"batch and growth: got {self.batch} and {self.growth}; use at least 1 for both."
            )
        if self.order not in ("samples", "blocks"):
            raise ValueError(f"order: got {self.order!r}; use 'samples' or 'blocks'.")

    def check(self, problem: Problem) -> None:
        check_problem("ProxSVRG", problem)
        if problem.smooth_terms:
            raise UnsupportedError("ProxSVRG: smoothed penalties go with FISTA (SPGD).")
        if isinstance(problem.design, StreamedDesign):  # its windows can be taken from
            return
        try:
            problem.design.take(torch.arange(1, device=problem.design.device))
        except NotImplementedError as error:
            raise UnsupportedError(f"ProxSVRG: {error}") from error

    def init(self, problem: Problem, x0: Tensor) -> ProxSVRGState:
        problem.check_point(x0)
        x = x0.clone()
        value, residuals, grad = _anchor(problem, x)
        generator = torch.Generator().manual_seed(self.seed)
        return ProxSVRGState(
            iteration=0,
            objective=value + float(problem.regularizer_value(x)),
            stalled=False,
            passes=0.0,
            x=x,
            residuals=residuals,
            grad=grad,
            step=self._first_step(problem),
            random=generator.get_state(),
            halved=0,
        )

    def step(self, problem: Problem, state: ProxSVRGState) -> ProxSVRGState:
        generator = torch.Generator()
        generator.set_state(state.random)
        x, total = state.x, problem.data.shape[0]
        with closing(problem.design.windows(generator)) as windows:
            for place, design in windows:
                part = _Window(design, problem.data.take(place), state.residuals[place])
                for chosen in self._batches(part.data, generator):
                    share = len(chosen) / total
                    problem.counts.charge(forward=share, adjoint=share)
                    slope = torch.add(state.grad, part.change(x, chosen), alpha=1 / share)
                    x, _ = problem.prox(x - state.step * slope, state.step, warm_start=x)
        value, residuals, grad = _anchor(problem, x)
        objective = value + float(problem.regularizer_value(x))
        slack = 4 * torch.finfo(x.dtype).eps * abs(state.objective)
        new = replace(state, iteration=state.iteration + 1, random=generator.get_state())
        if not objective <= state.objective + slack:  # also for NaN
            return replace(new, step=state.step / 2, halved=state.halved + 1)
        return replace(
            new,
            objective=objective,
            stalled=torch.equal(x, state.x),
            x=x,
            residuals=residuals,
            grad=grad,
            # after a first failure, growing the step would only lead to the next one
            step=state.step * (1.0 if state.halved else self.growth),
        )

    def check_resume(self, problem: Problem, state: ProxSVRGState) -> None:
        super().check_resume(problem, state)
        check_scores(problem, state.residuals)

    def solution(self, problem: Problem, state: ProxSVRGState) -> Tensor:  # noqa: ARG002
        return state.x

    def _batches(self, data: DataTerm, generator: torch.Generator) -> list[Tensor]:
        """Indices of the samples of each batch, in random order; sizes differ by at most one."""
        total = data.shape[0]
        count = max(1, round(total / self.batch))
        if self.order == "samples":
            parts = torch.tensor_split(torch.randperm(total, generator=generator), count)
            return [part.sort().values for part in parts]
        task_of = data.targets.task_of
        sizes = [total] if task_of is None else torch.bincount(task_of).tolist()
        of_task = [
            torch.tensor_split(run, count) for run in torch.split(torch.arange(total), sizes)
        ]
        order = torch.randperm(count, generator=generator).tolist()
        return [torch.cat([runs[b] for runs in of_task]) for b in order]

    def _first_step(self, problem: Problem) -> float:
        """Half of one over the curvature of a batch, scaled up to all samples."""
        generator = torch.Generator().manual_seed(self.seed)
        total = problem.data.shape[0]
        with closing(problem.design.windows(generator)) as windows:
            place, within = next(windows)
            data = problem.data.take(place)
            chosen = self._batches(data, generator)[0].to(within.device)
            design = within.take(chosen)
            curvature = problem.loss.curvature_bound * design.lipschitz(data.take(chosen).targets)
        share = design.curvature_passes * len(chosen) / total
        problem.counts.charge(forward=share, adjoint=share)
        return 0.5 / (check_curvature(problem, curvature * total / len(chosen)) or 0.5)


class _Window(NamedTuple):
    """Samples from which batches are taken, with their residuals at the anchor."""

    design: Design
    data: DataTerm
    residuals: Tensor

    def change(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Gradient over a batch minus that at the anchor."""
        chosen = chosen.to(self.residuals.device)
        design = self.design.take(chosen)
        new = self.data.take(chosen).gradient(design.scores(x))
        return design.adjoint(new - self.residuals[chosen])


def _anchor(problem: Problem, x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Loss, residuals and gradient over all samples; costs one pass."""
    if not problem.design.sweeps(x.dtype):
        value, residuals = problem.data.value_and_gradient(problem.scores(x))
        return float(value), residuals, problem.adjoint(residuals)
    scores, value, grad = problem.evaluate(x)
    return float(value), problem.data.gradient(scores), grad
