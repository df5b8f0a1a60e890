"""FISTA on many problems at once: every problem its own step, momentum and restart."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from proxmtl.certified import Gathered, Measured
from proxmtl.counts import ROUNDING
from proxmtl.data_term import SummedLoss
from proxmtl.designs import SharedDesign
from proxmtl.problem import Problem
from proxmtl.selection.batch_penalty import BatchPenalty
from proxmtl.solvers.fista import FISTA, FISTAState
from proxmtl.solvers.proximal import first_step, lipschitz_step, probe_length, probed_curvature
from proxmtl.solvers.steps import GradientRestart, StepRule
from proxmtl.stored_labels import DenseLabels

__all__ = ["BatchData", "BatchState", "Seen", "advance", "start"]


@dataclass
class BatchData:
    """What B problems on one design share, and what they differ in.

    Scores and weights have shape (N, B, M). The loss sees them as rows of M, (N B, M), so that a
    loss that couples the scores of a sample is meant the same way as in a single problem.
    """

    data: SummedLoss  # of labels (N B, M)
    design: SharedDesign
    penalty: BatchPenalty

    @classmethod
    def of(cls, problems: list[Problem]) -> BatchData:
        """Stack the targets of checked problems."""
        first = problems[0]
        design = first.design
        assert isinstance(design, SharedDesign)
        labels = torch.stack([p.targets.labels for p in problems], dim=1)
        weights = torch.stack([p.targets.weights for p in problems], dim=1)
        rows = labels.flatten(0, 1), weights.flatten(0, 1)
        return cls(SummedLoss(first.loss, DenseLabels(*rows)), design, BatchPenalty(problems))

    def select(self, keep: Tensor) -> BatchData:
        """Return the data of some of the problems."""
        on_device = keep.to(self.design.device)
        batch = self.data.shape[0] // self.design.X.shape[0]

        def kept(rows: Tensor) -> Tensor:
            return rows.view(-1, batch, rows.shape[1]).index_select(1, on_device).flatten(0, 1)

        return BatchData(self.data.rearranged(kept), self.design, self.penalty.select(keep))

    def scores(self, W: Tensor) -> Tensor:
        """Scores (N, B, M) of parameters (D, B, M): one product."""
        return self.design.scores(W.flatten(1)).reshape(-1, *W.shape[1:])

    def adjoint(self, residuals: Tensor) -> Tensor:
        """Parameter gradients (D, B, M) of score gradients (N, B, M): one product."""
        return self.design.adjoint(residuals.flatten(1)).reshape(-1, *residuals.shape[1:])

    def measured(self, W: Tensor, problems: list[Problem], *, balance: bool) -> list[Measured]:
        """Measure float64 points (D, B, M) of these problems in one read."""
        found = [Gathered(problem.data, balance=balance) for problem in problems]

        def residuals_of(rows: slice, scores: Tensor) -> tuple[Tensor, ...]:
            each = scores.reshape(len(scores), *W.shape[1:]).unbind(1)
            pairs = zip(found, each, strict=True)
            parts = [own.residuals_of(rows, z.contiguous()) for own, z in pairs]
            return tuple(torch.cat(kind, dim=1) for kind in zip(*parts, strict=True))

        scores, adjoints = self.design.sweep(W.flatten(1), residuals_of)
        apart = [each.reshape(-1, *W.shape[1:]).unbind(1) for each in (scores, *adjoints)]
        return [
            own.measured(problem.design, *(each.contiguous() for each in of))
            for own, problem, *of in zip(found, problems, *apart, strict=True)
        ]

    def values(self, scores: Tensor) -> Tensor:
        """Loss of each problem, shape (B,)."""
        return self.data.terms(scores.flatten(0, 1)).view_as(scores).sum((0, 2))

    def residuals(self, scores: Tensor) -> Tensor:
        """Loss gradients in the scores, (N, B, M), in the precision of the scores."""
        return self.data.gradient(scores.flatten(0, 1)).view_as(scores)

    def bregman(self, new: Tensor, old: Tensor) -> Tensor:
        """Bregman distance of the loss between two scores of each problem, shape (B,)."""
        terms = self.data.bregman_terms(new.flatten(0, 1), old.flatten(0, 1))
        return terms.view_as(new).sum((0, 2))


@dataclass
class BatchState:
    """FISTA's state with the problems along dimension 1; the small vectors live on the CPU."""

    x: Tensor  # (D, B, M)
    previous: Tensor
    scores: Tensor  # (N, B, M)
    previous_scores: Tensor
    momentum: Tensor  # (B,), float64, as are the others below
    step: Tensor
    room: Tensor  # bool
    restarts: Tensor
    objective: Tensor
    stalled: Tensor  # bool
    passes: Tensor

    def select(self, keep: Tensor) -> BatchState:
        """Return the state of some of the problems."""
        return BatchState(**{f.name: _pick(getattr(self, f.name), keep) for f in fields(self)})

    def put(self, places: Tensor, part: BatchState) -> None:
        """Write the state of some of the problems."""
        for f in fields(self):
            whole, new = getattr(self, f.name), getattr(part, f.name)
            whole.index_copy_(1 if whole.ndim == 3 else 0, places.to(whole.device), new)

    def single(self, b: int, iteration: int) -> FISTAState:
        """Return the state of one problem, as :class:`FISTA` would have it."""
        return FISTAState(
            iteration=iteration,
            objective=float(self.objective[b]),
            stalled=bool(self.stalled[b]),
            passes=float(self.passes[b]),
            x=self.x[:, b].clone(),
            previous=self.previous[:, b].clone(),
            scores=self.scores[:, b].clone(),
            previous_scores=self.previous_scores[:, b].clone(),
            momentum=float(self.momentum[b]),
            step=float(self.step[b]),
            room=bool(self.room[b]),
            restarts=int(self.restarts[b]),
        )


def _pick(tensor: Tensor, keep: Tensor) -> Tensor:
    return tensor.index_select(1 if tensor.ndim == 3 else 0, keep.to(tensor.device))


def start(data: BatchData, problems: list[Problem], rule: StepRule, x0: Tensor) -> BatchState:
    """State before the first iteration, at the points ``x0`` (D, B, M) of these problems."""
    scores = data.scores(x0)
    values = data.values(scores)
    objective = values + data.penalty.values(_penalised(data, x0))
    if rule.probes:
        found, cost = _probed(data, problems, x0, scores, values), 1.5
    else:
        found, cost = [first_step(problem, rule) for problem in problems], 0.0
    steps = torch.tensor(found, dtype=torch.float64)
    zeros = torch.zeros_like(steps)
    return BatchState(
        x=x0,
        previous=x0,
        scores=scores,
        previous_scores=scores,
        momentum=torch.ones_like(steps),
        step=steps,
        room=torch.zeros_like(steps, dtype=torch.bool),
        restarts=zeros.clone(),
        objective=objective.to("cpu", torch.float64),
        stalled=torch.zeros_like(steps, dtype=torch.bool),
        passes=zeros + 0.5 + cost,
    )


def _probed(
    data: BatchData, problems: list[Problem], x: Tensor, scores: Tensor, values: Tensor
) -> list[float]:
    """First steps, as :func:`proxmtl.solvers.proximal.probed_step` finds them one by one."""
    grad = data.adjoint(data.residuals(scores))
    sizes = _norms(grad)
    at = list(zip(problems, values.tolist(), sizes, strict=True))
    lengths = [probe_length(problem, value, size) for problem, value, size in at]
    reach = torch.tensor(lengths, dtype=torch.float64).to(x)[:, None]
    changes = _norms(data.adjoint(data.residuals(data.scores(x - reach * grad))) - grad)
    return [
        1 / probed_curvature(problem, length, size, change) if length else lipschitz_step(problem)
        for (problem, _, size), length, change in zip(at, lengths, changes, strict=True)
    ]


def _norms(V: Tensor) -> list[float]:
    """Norm of each problem's part of (D, B, M)."""
    found: list[float] = torch.linalg.vector_norm(V, dim=(0, 2), dtype=torch.float64).tolist()
    return found


@dataclass
class Seen:
    """The lowest point of each problem so far, (D, B, M), and its objective, (B,)."""

    x: Tensor
    objective: Tensor

    def select(self, keep: Tensor) -> Seen:
        """Return those of some of the problems."""
        return Seen(_pick(self.x, keep), _pick(self.objective, keep))

    def with_state(self, state: BatchState) -> Seen:
        """Return the lower of these and of a new state's points."""
        lower = ~(state.objective >= self.objective)
        if bool(lower.all()):
            return Seen(state.x, state.objective)
        return Seen(
            torch.where(lower.to(self.x.device)[:, None], state.x, self.x),
            torch.where(lower, state.objective, self.objective),
        )


def advance(data: BatchData, solver: FISTA, state: BatchState, limits: Tensor) -> BatchState:
    """One iteration of every problem; a problem whose step is refused tries again with the others
    of its kind only, as long as its passes, ``limits`` (B,), allow.
    """  # noqa: D205
    growth = solver.step_rule.growth
    trial = torch.where(state.room, state.step * growth, state.step)
    new, refused, grad = _attempt(data, solver, state, trial)
    todo = torch.nonzero(refused).flatten()
    if len(todo) == 0:
        return new
    shortened = trial
    while len(todo):
        shortened = shortened * solver.step_rule.shrink
        spent = new.passes[todo] + 1 > limits[todo] + ROUNDING
        if bool(spent.any()):  # these stay where they were
            ended = todo[spent]
            passes = new.passes[ended]
            new.put(ended, state.select(ended))
            new.passes[ended] = passes
            todo = todo[~spent]
            if len(todo) == 0:
                break
        places = todo.to(grad.device)
        part, refused, again = _attempt(
            data.select(todo),
            solver,
            state.select(todo),
            shortened[todo],
            (grad[:, places], new.passes[todo]),
        )
        grad[:, places] = again
        done = torch.nonzero(~refused).flatten()
        new.passes[todo] = part.passes
        if len(done):
            new.put(todo[done], part.select(done))
        todo = todo[refused]
    return new


def _attempt(
    data: BatchData,
    solver: FISTA,
    state: BatchState,
    step: Tensor,
    refused_at: tuple[Tensor, Tensor] | None = None,
) -> tuple[BatchState, Tensor, Tensor]:
    """Take the given steps; also say which ones the line search refuses, and the gradients.

    ``refused_at``: gradients and passes of the attempt that was refused. Without momentum the next
    one starts from the same point, and its gradient is known.
    """
    # the momentum follows the ratio of the steps, so a refused step has another z
    theta = (1 + torch.sqrt(1 + 4 * state.momentum**2 * state.step / step)) / 2
    beta = (state.momentum - 1) / theta
    ahead = (1 + beta).to(state.x)[:, None]
    z = torch.lerp(state.previous, state.x, ahead)
    z_scores = torch.lerp(state.previous_scores, state.scores, ahead)
    moves = torch.ones_like(beta, dtype=torch.bool) if refused_at is None else beta != 0
    if bool(moves.all()):
        grad = data.adjoint(data.residuals(z_scores))
    else:
        assert refused_at is not None
        grad, places = refused_at[0].clone(), torch.nonzero(moves).flatten()
        if len(places):
            part, device = data.select(places), places.to(grad.device)
            grad[:, device] = part.adjoint(part.residuals(z_scores[:, device]))
    target = torch.addcmul(z, grad, step.to(z)[:, None], value=-1)
    penalised = data.penalty.prox(_penalised(data, target), step)
    x = torch.cat([penalised, target[-1:]]) if data.design.intercept else penalised
    scores = data.scores(x)
    move = x - z
    uphill = -(move * (x - state.x)).sum((0, 2))
    moved = move.square().sum((0, 2))
    still = ((x == state.x) & (z == state.x)).all(0).all(-1)
    objective = data.values(scores) + data.penalty.values(penalised)
    figures: list[Any] = [uphill, moved, still, objective]
    if solver.step_rule.verifies:
        figures.append(data.bregman(scores, z_scores))
    # one transfer from the device for all decisions
    table = torch.stack([f.to(torch.float64) for f in figures]).cpu()
    uphill, moved, stalled, objective = table[:4]
    refused = torch.zeros_like(stalled, dtype=torch.bool)
    room = torch.ones_like(refused)
    if solver.step_rule.verifies:
        bregman, bound = table[4], moved / step / 2
        refused = bregman > bound
        for b in torch.nonzero(refused).flatten().tolist():
            refused[b] = bregman[b] > bound[b] + _allowance(data, z_scores, b)
        room = bregman <= bound / solver.step_rule.growth
    if isinstance(solver.restart, GradientRestart):
        restart = uphill > 0
    else:
        ends = zip(objective.tolist(), state.objective.tolist(), strict=True)
        restart = torch.tensor(
            [
                solver.restart(z[:, b], x[:, b], state.x[:, b], *values)
                for b, values in enumerate(ends)
            ]
        )
    keep_old = ~restart.to(x.device)[:, None]
    before = state.passes if refused_at is None else refused_at[1]
    return (
        BatchState(
            x=x,
            previous=torch.where(keep_old, state.x, x),
            scores=scores,
            previous_scores=torch.where(keep_old, state.scores, scores),
            momentum=torch.where(restart, 1.0, theta),
            step=step,
            room=room,
            restarts=state.restarts + restart,
            objective=objective,
            stalled=stalled.bool(),
            passes=before + 0.5 + 0.5 * moves,
        ),
        refused,
        grad,
    )


def _allowance(data: BatchData, scores: Tensor, b: int) -> float:
    batch = scores.shape[1]
    own = data.data.rearranged(lambda rows: rows.view(-1, batch, rows.shape[1])[:, b])
    return own.bregman_error(scores[:, b], float(own.value(scores[:, b])))


def _penalised(data: BatchData, W: Tensor) -> Tensor:
    return W[:-1] if data.design.intercept else W
