"""Smoothing proximal gradient: FISTA on a Nesterov-smoothed group norm."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Certificate
from proxmtl.solvers.base import Solver, with_smoothing
from proxmtl.solvers.fista import FISTA, FISTAState
from proxmtl.solvers.proximal import first_step
from proxmtl.solvers.requirements import check_problem
from proxmtl.state import Saved, State

__all__ = ["SPGD", "SPGDState"]


@dataclass
class SPGDState(State):
    """State of SPGD: state of the inner FISTA, and the current smoothing parameter."""

    inner: FISTAState
    smoothness: float
    sought: float  # continuation: duality gap at which this stage ends
    stage: int  # number of times the smoothing was lowered
    nested: ClassVar[dict[str, type[Saved]]] = {"inner": FISTAState}


@dataclass(frozen=True)
class SPGD(Solver[Problem, SPGDState, Tensor]):
    """Minimise ``loss + smoothed group norm (+ ridge)`` by FISTA, the paper's solver for S.

    The smoothed norm is below the true one by at most ``smoothness * blocks / 2``; the certificate
    measures the true objective. Because of the smoothing, iterates have no exact zeros in general.
    FISTA with the exact prox is faster wherever there is one; this solver reproduces the paper.

    Parameters
    ----------
    smoothness : "continuation", "accuracy" or float
        Smoothing parameter µ. A number is fixed. ``"continuation"`` lowers µ as the certified gap
        falls, so that the smoothing error stays below the next target gap (CONESTA).
        ``"accuracy"`` fixes µ at ``accuracy / blocks``, a smoothing error of at most
        ``accuracy / 2``.
    accuracy : float or None
        For ``smoothness="accuracy"`` only.
    reduction : float
        Continuation: the next target gap is this fraction of the current gap, in (0, 1).
    every : int
        Continuation: iterations between measurements of the gap; these count as passes.

    References
    ----------
    Chen, Lin, Kim, Carbonell, Xing, Annals of Applied Statistics 2012; Hadj-Selem et al.,
    "Continuation of Nesterov's smoothing for regression with structured sparsity", 2018.
    """

    smoothness: float | Literal["continuation", "accuracy"] = "continuation"
    accuracy: float | None = None
    reduction: float = 0.5
    every: int = 20
    inner: FISTA = field(default_factory=FISTA)
    state_type = SPGDState

    def __post_init__(self) -> None:
        if isinstance(self.smoothness, str):
            if self.smoothness not in ("continuation", "accuracy"):
                raise ValueError(
                    f"smoothness: got {self.smoothness!r}; use a number, 'continuation' or "
                    "'accuracy'."
                )
        elif not (math.isfinite(self.smoothness) and self.smoothness > 0):
            raise ValueError(f"smoothness: got {self.smoothness}; it must be finite and > 0.")
        if (self.smoothness == "accuracy") != (self.accuracy is not None):
            raise ValueError(
                f"accuracy: got {self.accuracy} with smoothness={self.smoothness!r}; it goes with "
                "smoothness='accuracy', and only with it."
            )
        if self.accuracy is not None and not self.accuracy > 0:
            raise ValueError(f"accuracy: got {self.accuracy}; it must be > 0.")
        if not 0 < self.reduction < 1 or self.every < 1:
            raise ValueError(
                f"reduction and every: got {self.reduction} and {self.every}; use a fraction in "
                "(0, 1) and at least 1."
            )

    def check(self, problem: Problem) -> None:
        check_problem("SPGD", problem)
        if not any(term.is_smoothable for term in problem.terms):
            raise UnsupportedError(
                "SPGD smooths a group norm, and the problem has none: use FISTA."
            )

    def init(self, problem: Problem, x0: Tensor) -> SPGDState:
        problem.check_point(x0)
        smoothness, sought = self._first_smoothness(problem, x0)
        inner = self.inner.init(problem.smoothed(smoothness), x0)
        return SPGDState(0, inner.objective, False, 0.0, inner, smoothness, sought, 0)

    def step(self, problem: Problem, state: SPGDState) -> SPGDState:
        inner = self.inner.step(problem.smoothed(state.smoothness), state.inner)
        smoothness, sought, stage = state.smoothness, state.sought, state.stage
        if self.smoothness == "continuation" and inner.iteration % self.every == 0:
            certificate = self._measured(problem, inner.x)
            gap = certificate.gap
            assert gap is not None
            # every stage ends: the smoothed optimum has a gap below the target
            if gap <= sought or inner.stalled:
                sought = self._next_gap(problem, certificate)
                blocks = self._blocks(problem, inner.x)
                smoothness = min(smoothness, self._best_smoothness(problem, sought, blocks))
                stage += 1
                view = problem.smoothed(smoothness)
                step = first_step(view, self.inner.step_rule)
                inner = self.inner.start(view, inner.x, inner.scores, step)
                inner.iteration = state.inner.iteration + 1
        return SPGDState(
            state.iteration + 1,
            inner.objective,
            inner.stalled and self.smoothness != "continuation",
            state.passes,
            inner,
            smoothness,
            sought,
            stage,
        )

    def check_resume(self, problem: Problem, state: SPGDState) -> None:
        self.inner.check_resume(problem, state.inner)

    def solution(self, problem: Problem, state: SPGDState) -> Tensor:  # noqa: ARG002
        return state.inner.x

    def bound(self, problem: Problem, state: SPGDState) -> float:
        return state.inner.objective + self._error(problem, state)

    def start_claim(self, problem: Problem, state: SPGDState) -> float:  # noqa: ARG002
        return state.inner.objective

    def _error(self, problem: Problem, state: SPGDState) -> float:
        return state.smoothness * self._blocks(problem, state.inner.x) / 2

    def certify(self, problem: Problem, state: SPGDState) -> Certificate:
        error = self._error(problem, state)
        return with_smoothing(problem.certificate(state.inner.x), state.inner.objective, error)

    def _first_smoothness(self, problem: Problem, x0: Tensor) -> tuple[float, float]:
        """Smoothing parameter of the first stage, and the duality gap at which the stage ends."""
        blocks = self._blocks(problem, x0)
        if self.smoothness == "accuracy":
            assert self.accuracy is not None
            return self.accuracy / blocks, 0.0
        if self.smoothness == "continuation":
            certificate = self._measured(problem, x0)
            if certificate.gap is None:
                raise UnsupportedError(
                    "SPGD: continuation needs a duality gap; fix the smoothness."
                )
            sought = self._next_gap(problem, certificate)
            return self._best_smoothness(problem, sought, blocks), sought
        return float(self.smoothness), 0.0

    def _measured(self, problem: Problem, x: Tensor) -> Certificate:
        """Certificate that controls the continuation; its products count as passes.

        Costs one pass, and half a pass more for the dual point if there is an intercept.
        """
        point = x.to(torch.float64)
        share, dual = problem.design.share, problem.has_gap and problem.design.intercept
        problem.counts.charge(forward=share, adjoint=2 * share if dual else share)
        return problem.certificate_from(point, problem.measured(point), 1.0, scales={})

    def _next_gap(self, problem: Problem, certificate: Certificate) -> float:
        """Next target gap: a fraction of the current one, not below the working precision."""
        assert certificate.gap is not None
        precision = torch.finfo(problem.design.dtype).eps * (abs(certificate.objective) or 1.0)
        return max(self.reduction * certificate.gap, precision)

    def _best_smoothness(self, problem: Problem, sought: float, blocks: int) -> float:
        """Smoothing parameter that minimises the bound on the iterations to the target gap."""
        half = blocks / 2
        squared_norm = sum(term.squared_operator_norm for term in problem.smoothings(1.0))
        curvature = problem.lipschitz
        if squared_norm == 0:
            return sought / (2 * half)
        # larger root of the derivative of (curvature + squared_norm / nu) / (sought - nu half)
        root = math.sqrt((half * squared_norm) ** 2 + half * curvature * squared_norm * sought)
        if curvature <= 0:
            return sought / (2 * half)
        # equal to (root - half * squared_norm) / (half * curvature), without its cancellation
        return squared_norm * sought / (root + half * squared_norm)

    def _blocks(self, problem: Problem, x: Tensor) -> int:
        penalised, _ = problem.design.split(x)
        return sum(term.n_blocks(penalised) for term in problem.smoothings(1.0))
