"""The paper's model as a configuration object with the method ``solve``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

import torch

from proxmtl.arrays import as_float_tensor, as_python
from proxmtl.designs import Design, SharedDesign, TaskDesign
from proxmtl.groups import Groups
from proxmtl.label_arrays import SparseLabels, is_sparse
from proxmtl.latent.alternating import Alternating
from proxmtl.latent.checks import check_strengths, checked_number
from proxmtl.latent.gram_newton import GramNewton
from proxmtl.latent.hybrid import default_solver
from proxmtl.latent.initial import rebalance
from proxmtl.latent.parts import Parts
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.result import Features, Labels, LatentResult, is_shared
from proxmtl.latent.starts import INITS, made_start
from proxmtl.losses import Loss, SquaredHinge, loss_of
from proxmtl.naming import no_such
from proxmtl.posing import design_of, observed_design
from proxmtl.regularizers.group_layout import check_groups
from proxmtl.result import Certificate, Result, Status
from proxmtl.row_sources import is_rows
from proxmtl.solvers.base import Callback, Solver, check_state
from proxmtl.solvers.blocks import Blocks
from proxmtl.solvers.checkpoints import Kept, Store, resumed
from proxmtl.solvers.loop import run
from proxmtl.solvers.palm import PALM
from proxmtl.solvers.panoc import PANOC
from proxmtl.state import State
from proxmtl.stopping import MaxPasses, Progress, RelativeKKT, Stop
from proxmtl.targets import ClassWeight, Reduction, Targets

__all__ = ["Features", "Labels", "LatentMTL", "LatentResult"]

Algorithm = Literal["auto", "gram", "panoc", "palm", "paper"]
ALGORITHMS: tuple[str, ...] = get_args(Algorithm)
Init = Literal["auto", "best", "trace", "svd", "zero", "paper"] | tuple[Any, ...]


@dataclass(frozen=True)
class LatentMTL:
    """Multi-task model ``W = L S``: shared latent tasks, combined with group-sparse weights.

    ``min_{L,S,b} loss(X L S + b) + mu sum_k sum_g ||S[k,g]|| + gamma ||L||_1 + lambda ||L||_F^2``:
    the model of Abdulnabi, Wang, Lu and Jia (2015), eq. 2. With ``own_strength``, each task also
    has weights of its own, ``loss(X (L S + V) + b) + ... + own_strength ||V||_F^2``, so that what a
    single task needs does not occupy a latent task. Not jointly convex: a solve descends from a
    start within a budget of passes, and certifies stationarity, not global optimality.

    Parameters
    ----------
    groups : Groups or None
        Groups of tasks, possibly overlapping; must cover every task. None: each task is a group.
    n_latents : int, "auto" or None
        K, an upper bound on the rank: latents may become zero in the solve. ``"auto"``: the rank of
        the best of the approximate trace-norm solutions at several strengths, at a cost of at most
        40 passes; with ``init="trace"`` or ``"best"``, the rank of their start, which costs about
        130 passes, at most half of ``max_passes``, for any K. None: ``min(M, D)``. Without groups,
        K = M has a trivial optimum with a latent for each task: for tasks to share, give a smaller
        K or "auto".
    group_strength, l1_strength, frobenius_strength : float
        The paper's mu, gamma, lambda, in units of the reduced loss. W depends on ``mu gamma`` and
        ``mu^2 lambda`` only. The paper's ``lambda = 0.4`` is for ``reduction="sum"``.
    own_strength : float or None
        Ridge on the tasks' own parts V, in the same units; None: no own parts. If it is small,
        nothing is shared and each task is an independent ridge classifier; if it is large, V = 0.
    algorithm : "auto", "gram", "panoc", "palm" or "paper"
        ``"paper"`` is Algorithm 1. ``"panoc"`` and ``"palm"`` minimise over both factors jointly.
        ``"gram"`` converges in the fewest passes (some tens to a residual of 1e-6) by Gram matrices
        of each task's samples; for up to some hundreds of dense features.
        ``"auto"`` is PANOC with refactoring (which periodically replaces the factors by cheaper
        ones with the same W, without a pass over the data); it switches to ``"gram"`` after as many
        operations as that is predicted to take.
    init : "auto", "best", "trace", "svd", "zero", "paper" or a tuple
        ``"svd"``: rebalanced thin SVD of single-task ridge solutions. ``"trace"``: the same of
        trace-norm solutions, in which tasks share. ``"best"``: the one of these two with the lower
        objective. ``"auto"``: ``"best"`` with own parts, ``"svd"`` without. ``"zero"``: no latents;
        only ``revive`` adds some. ``"paper"``: singular vectors for L, random S. Or a tuple
        ``(L, S)``, ``(L, S, intercept)`` or ``(L, S, intercept, own)``.
    fit_intercept : bool
        Unpenalised intercept per task (the paper has none).
    reduction : "mean", "sum" or "task_mean"
        As for :meth:`Targets.from_labels`; the paper has ``"sum"``.
    class_weight : "balanced", (weight of -1, weight of +1) or None
    loss : Loss or str
    max_passes : float
        Budget of passes over the data, including those of the start.
    tol : float
        Tolerance on the KKT residual of every block, relative to the loss's partial gradients.
    random_state : int
        Seed of the random parts of the start.
    revive : bool or None
        Periodically try to reactivate dead latents, if that lowers the objective; only ``"auto"``
        and ``"gram"`` can. Descent alone cannot: a latent that became zero stays so in warm-started
        solves. None: False in a single solve, True in :class:`proxmtl.nn.LatentMTLHead`.

    Raises
    ------
    ValueError
        If a parameter is invalid (at construction) or the data are (before the solve starts).
    """

    groups: Groups | None = None
    n_latents: int | Literal["auto"] | None = None
    group_strength: float = 1e-3
    l1_strength: float = 1e-4
    frobenius_strength: float = 1e-4
    own_strength: float | None = None
    algorithm: Algorithm = "auto"
    init: Init = "auto"
    fit_intercept: bool = True
    reduction: Reduction = "mean"
    class_weight: ClassWeight = None
    loss: Loss = field(default_factory=SquaredHinge)
    max_passes: float = 1000
    tol: float = 1e-3
    random_state: int = 0
    revive: bool | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            object.__setattr__(self, each.name, as_python(getattr(self, each.name)))
        object.__setattr__(self, "loss", loss_of(self.loss))
        if self.algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm: {no_such(self.algorithm, ALGORITHMS)}")
        if self.revive and self.algorithm not in ("auto", "gram"):
            raise ValueError(
                f"revive: algorithm={self.algorithm!r} brings no latent back; leave revive out, or "
                "use algorithm='auto'."
            )
        if not isinstance(self.init, tuple) and self.init not in ("auto", *INITS):
            known = ", ".join(map(repr, ("auto", *INITS)))
            raise ValueError(f"init: got {self.init!r}; use {known} or factors (L, S).")
        object.__setattr__(self, "n_latents", checked_number(self.n_latents))
        if self.groups is not None:
            check_groups(self.groups)
        check_strengths(self)
        if self.own_strength is not None and self.algorithm == "paper":
            raise ValueError(
                "own_strength: the paper's algorithm has no own parts; leave it out, or use "
                "algorithm='auto'."
            )
        if not self.max_passes > 0 or not self.tol >= 0:
            raise ValueError(
                f"max_passes, tol: got {self.max_passes}, {self.tol}; use > 0 and >= 0."
            )
        if not isinstance(self.random_state, int):
            raise ValueError(f"random_state: got {self.random_state!r}; use a whole number.")

    def problem(
        self, X: Features | Design, Y: Labels | Targets, sample_weight: Labels | None = None
    ) -> LatentProblem:
        """Check the data and build the joint problem.

        Parameters
        ----------
        X : (N, D) array, (M, N, D) array, sequence of M arrays (N_m, D), rows in files, or Design
            A Design decides about the intercept itself; ``fit_intercept`` is then ignored.
        Y : (N, M) array, sparse matrix, sequence of M arrays (N_m,), or Targets
            Labels -1 and +1; missing: 0, NaN, or not stored. Targets, such as of real labels, have
            their own weights; ``reduction`` and ``class_weight`` are then ignored.
        sample_weight : (N,) or (N, M) array, or sequence of M arrays, optional
        """
        design = X if isinstance(X, Design) else self._design(X)
        if is_sparse(Y):
            Y = pairs = SparseLabels.of(Y)  # type: ignore[assignment]
            design = observed_design(design, pairs)
        targets = self._targets(design, Y, sample_weight)
        return LatentProblem(
            self.loss,
            design,
            targets,
            self.groups or Groups.singletons(targets.n_tasks),
            group_strength=self.group_strength,
            l1_strength=self.l1_strength,
            frobenius_strength=self.frobenius_strength,
            own_strength=self.own_strength,
        )

    @torch.no_grad()
    def solve(
        self,
        X: Features | Design,
        Y: Labels | Targets,
        sample_weight: Labels | None = None,
        *,
        warm_start: LatentResult | None = None,
        state: State | None = None,
        stop: Stop | None = None,
        callback: Callback | None = None,
        checkpoint: Store | None = None,
    ) -> LatentResult:
        """Solve on the given data.

        Parameters
        ----------
        X, Y, sample_weight
            As for :meth:`problem`.
        warm_start : LatentResult, optional
            Result whose factors are the start, in place of ``init``.
        state : State, optional
            State of an earlier run, with the same data and parameters, that is resumed exactly.
        stop : Stop, optional
            Default ``RelativeKKT(tol) | MaxPasses(max_passes)``.
        callback : callable, optional
            Called with a :class:`Progress`; a true return value stops the run.
        checkpoint : Checkpoint, optional
            Folder from which the same call goes on: :class:`proxmtl.io.Checkpoint`.
        """
        problem = self.problem(X, Y, sample_weight)
        few = self.algorithm == "paper"  # whose iterations are few and long
        if stop is None:
            # a tolerance of zero means: until certificates show convergence to rounding
            accuracy = RelativeKKT(self.tol or sys.float_info.min, every=1 if few else 50)
            stop = accuracy | MaxPasses(self.max_passes)
        solver = self._solver(problem, stop.most_passes)
        # with another accuracy or budget it goes on
        same = replace(self, tol=0.0, max_passes=1.0)
        kept = Kept.of(checkpoint, solver, problem.data, [same])
        snapshot = resumed(kept, solver, state)
        if snapshot is not None:
            start = snapshot.start
        elif state is not None:
            check_state(solver, state)
            start = solver.solution(problem, state)
        else:
            with problem.counts.limited(stop.most_passes):
                start = self._start(problem, warm_start)
            if self.algorithm != "paper":  # rebalancing keeps W, and saves passes
                start = (*rebalance(problem, *start[:2]), *start[2:])
        K = start[1].shape[0]
        if isinstance(self.n_latents, int) and self.n_latents != K:
            raise ValueError(
                f"n_latents: asked for {self.n_latents}, the start has {K}; leave n_latents out."
            )
        result = run(
            problem,
            solver,
            start,
            stop,
            state=state,
            snapshot=snapshot,
            callback=callback,
            log_every=1 if few else 10,
            spent=problem.counts.passes,
            keeper=kept,
        )
        return self._package(problem, solver, result, stop)

    def partial_fit(
        self,
        X: Features | Design,
        Y: Labels | Targets,
        sample_weight: Labels | None = None,
        *,
        previous: LatentResult | None = None,
        callback: Callback | None = None,
    ) -> LatentResult:
        """Solve on the next chunk of samples, warm-started from the result of the previous one.

        The paper's protocol for data that do not fit into memory. Earlier chunks are not part of
        the objective; they influence the result through the start only.
        """
        return self.solve(X, Y, sample_weight, warm_start=previous, callback=callback)

    # ------------------------------------------------------------------ parts

    def _targets(
        self, design: Design, Y: Labels | Targets, sample_weight: Labels | None
    ) -> Targets:
        if isinstance(Y, Targets):
            if sample_weight is not None:
                raise ValueError("sample_weight: the Targets given bring their own; leave it out.")
            return Y
        if isinstance(getattr(design, "own", design), TaskDesign) and not isinstance(
            Y, (list, tuple)
        ):
            Y = list(as_float_tensor("labels", Y).T)
        return Targets.from_labels(
            Y,
            sample_weight=sample_weight,
            class_weight=self.class_weight,
            reduction=self.reduction,
            like=torch.empty(0, dtype=design.dtype, device=design.device),
            ranks=design.ranks,
            tasks=None if design.tasks is None else design.tasks.tolist(),
        )

    def _design(self, X: Features) -> Design:
        if is_rows(X):
            return design_of(X, intercept=self.fit_intercept)
        if is_shared(X):
            return SharedDesign(as_float_tensor("X", X), intercept=self.fit_intercept)
        parts = [as_float_tensor(f"X[{m}]", part) for m, part in enumerate(X)]
        return TaskDesign(parts, intercept=self.fit_intercept)

    def _solver(self, problem: LatentProblem, budget: float) -> Solver[Any, Any, Blocks]:
        if self.algorithm == "paper":
            return Alternating()
        if self.algorithm == "palm":
            return PALM(order=problem.sweep)
        if self.algorithm == "gram":
            return GramNewton(revive=bool(self.revive))
        revive = bool(self.revive)
        return PANOC() if self.algorithm == "panoc" else default_solver(budget, revive=revive)

    def _start(self, problem: LatentProblem, warm_start: LatentResult | None) -> Blocks:
        if warm_start is not None:
            last = warm_start
            given: tuple[Any, ...] = last.L, last.S, last.intercept, last.own
        elif isinstance(self.init, tuple):
            given = self.init
        else:
            generator = torch.Generator().manual_seed(self.random_state)
            view = problem.in_units()
            return view.outside(made_start(view, self.init, self.n_latents, generator))
        if not 2 <= len(given) <= 4 or any(block is None for block in given[:2]):
            raise ValueError("init: give (L, S), (L, S, intercept) or (L, S, intercept, own).")
        if len(given) == 4 and given[3] is not None and problem.own is None:
            raise ValueError("init: has own parts, and the model has none; give own_strength.")
        weights, bias = problem.design.split(problem.zeros())
        default: dict[str, Any] = {"intercept": bias, "own": weights}
        blocks = dict(zip(Parts._fields, given, strict=False))
        start = tuple(
            default[name]
            if blocks.get(name) is None
            else as_float_tensor("init", blocks[name]).to(weights)
            for name in problem.block_names
        )
        problem.check_point(start)
        return start

    def _package(
        self,
        problem: LatentProblem,
        solver: Solver[Any, Any, Blocks],
        result: Result[Blocks],
        stop: Stop,
    ) -> LatentResult:
        blocks, certificate = result.solution, result.certificate
        if self.algorithm != "paper":
            # rebalancing keeps W and does not raise the objective; half-zero latents become zero
            balanced = (*rebalance(problem, *blocks[:2]), *blocks[2:])
            measured = problem.certificate(balanced)
            # rescaling changes rounding errors, which in float32 may exceed the tolerance
            if not result.status.ok or _still_accurate(stop, result, measured):
                blocks, certificate = balanced, measured
        L, S, intercept, own = problem.parts(blocks)
        bias = S.new_zeros(S.shape[1]) if intercept is None else intercept
        collapsed = not bool(problem.design.split(problem.weights(blocks))[0].any())
        # if the budget ended above W = 0, more passes may still lead below it: no collapse
        settled = result.status.ok or not _alive(solver, problem, result.state)
        return LatentResult(
            L=L,
            S=S,
            intercept=bias,
            status=Status.COLLAPSED if collapsed and settled else result.status,
            certificate=certificate,
            history=result.history,
            iterations=result.iterations,
            passes=result.passes,
            budget=self.max_passes,
            seconds=result.seconds,
            reason=result.reason,
            returned=result.returned,
            state=result.state,
            own=own,
        )


def _still_accurate(stop: Stop, result: Result[Blocks], measured: Certificate) -> bool:
    """Whether the stopping rule that accepted the last iterate accepts another point as well."""
    there = Progress(
        iteration=result.iterations,
        passes=result.passes,
        seconds=result.seconds,
        objective=measured.objective,
        measure=lambda: measured,
        history=result.history,
    )
    decision = stop(there)
    return decision is not None and decision.status.ok


def _alive(solver: Solver[Any, Any, Blocks], problem: LatentProblem, state: State) -> bool:
    """Whether the last iterate is not W = 0, or the run has made no iteration."""
    if not isinstance(state, solver.state_type):
        return True
    blocks = solver.solution(problem, state)
    return bool(problem.design.split(problem.weights(blocks))[0].any())
