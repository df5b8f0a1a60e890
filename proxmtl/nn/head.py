"""The paper's model as the last layer of networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from proxmtl.adjoints import Adjoint, Attached, attach
from proxmtl.designs import Design, SharedDesign, TaskDesign
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentProblem, LatentResult
from proxmtl.latent.parts import check_strengths
from proxmtl.latent.strengths import RelativeStrengths
from proxmtl.losses import Loss
from proxmtl.nn.batches import detached
from proxmtl.nn.checks import check_features
from proxmtl.nn.eager import eager
from proxmtl.nn.preparation import prepared
from proxmtl.nn.solved_head import SolvedHead
from proxmtl.nn.stochastic import alternating_step, mean_over_processes
from proxmtl.problem import Problem
from proxmtl.regularizers import L1, GroupL2, OverlappingGroupL2, Regularizer, SquaredFrobenius, add
from proxmtl.targets import Targets

__all__ = ["LatentMTLHead"]

STRENGTHS = ("group_strength", "l1_strength", "frobenius_strength", "own_strength")


class LatentMTLHead(SolvedHead[LatentResult]):
    """Scores ``z_m = x_m' (L s_m + v_m) + b_m`` of M tasks from their features, solved for.

    Own parts ``v_m`` are there where ``own_strength`` is given.

    Three ways to train it under networks that make the features:

    - *solved* (the paper): now and then :meth:`solve` on the whole training set; in between
      :meth:`loss` sends the envelope gradient to the networks, the weights held fixed;
    - *stochastic*: :meth:`prox_step` on each batch moves the weights a little by proximal
      gradient steps, and returns the loss for the networks;
    - *trainable*: L, S and the intercept are parameters of an optimizer like any other, with
      :class:`ProximalOptimizer` and :meth:`penalties` after each step.

    Parameters
    ----------
    n_features, n_tasks : int
        D and M.
    groups : Groups, optional
        Of tasks; None: each on its own.
    n_latents : int, optional
        K; None: ``min(D, M)``. A checkpoint of another K is then taken as it is.
    fit_intercept : bool
    revive : bool, optional
        Bring dead latents back in a solve where they lower the objective: networks change, and a
        latent that one epoch had no use for would be lost for all that follow. None: where the
        algorithm can: ``"auto"`` and ``"gram"``.
    trainable : bool
        Whether gradients reach L, S and the intercept.
    relative : RelativeStrengths, optional
        Strengths in units of the features and labels of the first :meth:`solve`, which finds them:
        they stay what they are then. Before it there is no :meth:`penalty`. None: those given.
    distributed : bool
        Train with ``torch.distributed``: the batches of all processes together are the batch, and
        :meth:`solve` takes the samples of all, each process's own from itself.
    tasks : sequence of int, optional
        With ``distributed``: tasks whose features and labels this process gives and whose scores it
        gets, on all samples; each of 0, ..., M - 1 on one process. Losses are those of all tasks,
        with gradients in the features of these.
    device, dtype
        Of the weights.
    **options
        Strengths, reduction, class weights, loss, algorithm, budget: all others of
        :class:`LatentMTL`. ``reduction="mean"``, the default, keeps the learning rates of networks.

    Attributes
    ----------
    L, S, intercept, V : Parameter, shapes (D, K), (K, M), (M,), (D, M)
        L and S are random before the first solve, so that a trainable head has somewhere to start
        from: zero is a local minimum.
    solved : Tensor of bool
        Whether :meth:`solve` has been run; then the next one starts from these weights, unless
        they collapsed.
    census : LabelStatistics
        Counts of the training set's labels, for the weights of batches.
    model : LatentMTL
    strengths : Tensor, shape (4,)
        Of the model, with `relative`: group, L1, Frobenius and own ones; NaN before a solve.
    result : LatentResult or None
        Of the last solve in this process, with its certificate; not in the ``state_dict``.
    """

    strengths: Tensor

    def __init__(
        self,
        n_features: int,
        n_tasks: int,
        groups: Groups | None = None,
        n_latents: int | None = None,
        *,
        fit_intercept: bool = True,
        revive: bool | None = None,
        trainable: bool = False,
        relative: RelativeStrengths | None = None,
        distributed: bool = False,
        tasks: Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        options = {"fit_intercept": fit_intercept, "revive": revive, **options}
        if relative is not None:
            options["own_strength"] = None if relative.own == math.inf else 1.0  # until a solve
        model = LatentMTL(groups, n_latents, **options)
        if revive is None:
            model = replace(model, revive=model.algorithm in ("auto", "gram"))
        check_strengths(
            model.group_strength,
            model.l1_strength,
            model.frobenius_strength,
            model.own_strength,
        )
        super().__init__(
            n_features,
            n_tasks,
            reduction=model.reduction,
            class_weight=model.class_weight,
            trainable=trainable,
            distributed=distributed,
            tasks=tasks,
            device=device,
            dtype=dtype,
        )
        self._any_k, K = n_latents is None, n_latents or min(n_features, n_tasks)
        generator = torch.Generator().manual_seed(model.random_state)

        def normal(rows: int, columns: int) -> nn.Parameter:
            # drawn on the CPU in float64, so that a seed means the same start everywhere
            wide = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            return self._weight(wide / rows**0.5)

        self.L, self.S = normal(n_features, K), normal(K, n_tasks)
        self.intercept = self._weight(torch.zeros(n_tasks)) if fit_intercept else None
        has_own = model.own_strength is not None
        self.V = self._weight(torch.zeros(n_features, n_tasks)) if has_own else None
        if groups is not None and groups.n_items != n_tasks:
            raise ValueError(f"groups: made for {groups.n_items} tasks, the head has {n_tasks}.")
        self.model, self.relative = model, relative
        if relative is not None:
            unknown = torch.full((len(STRENGTHS),), torch.nan, dtype=torch.float64, device=device)
            self.register_buffer("strengths", unknown)
            self.register_load_state_dict_post_hook(_take_strengths)  # type: ignore[no-untyped-call]

    @property
    def data_loss(self) -> Loss:
        """Loss of a score and its label."""
        return self.model.loss

    # ------------------------------------------------------------------ the weights

    @property
    def n_latents(self) -> int:
        """K, dead latents included."""
        return self.S.shape[0]

    def coef_as(self, dtype: torch.dtype) -> Tensor:
        """``W = L S``, with own parts ``L S + V``, computed in a precision."""
        shared = self.L.to(dtype) @ self.S.to(dtype)
        return shared if self.V is None else shared + self.V.to(dtype)

    def factors(self) -> tuple[nn.Parameter, ...]:
        """``(L, S)``, then the intercept, then V, where there are."""
        return tuple(p for p in (self.L, self.S, self.intercept, self.V) if p is not None)

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return (
            f"n_features={self.n_features}, n_tasks={self.n_tasks}, n_latents={self.n_latents}, "
            f"trainable={self.trainable}"
        )

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take the K of a checkpoint where none was asked for."""
        L, S = state_dict.get(prefix + "L"), state_dict.get(prefix + "S")
        if self._any_k and L is not None and S is not None:
            fits = L.shape[0] == self.n_features and S.shape[1] == self.n_tasks
            if fits and L.shape[1] == S.shape[0] != self.n_latents:
                self.L.data, self.S.data = self.L.new_zeros(L.shape), self.S.new_zeros(S.shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    # ------------------------------------------------------------------ the solve

    def _minimise(
        self, features: Any, labels: Any, sample_weight: Any, **options: Any
    ) -> LatentResult:
        design = self._design(features, intercept=self.model.fit_intercept)
        if self.relative is not None and not self._known:
            self._find_strengths(design, labels, sample_weight)
        blocks: Any = self.model.init if isinstance(self.model.init, tuple) else None
        if bool(self.solved):
            factors = (self.L, self.S, self.intercept, self.V)
            blocks = tuple(None if block is None else block.detach() for block in factors)
        model, state = prepared(self.model, blocks, options.pop("state"))
        return model.solve(design, labels, sample_weight, state=state, **options)

    def _find_strengths(self, design: Design, labels: Any, sample_weight: Any) -> None:
        assert self.relative is not None
        posed = self.model.problem(design, labels, sample_weight)
        plain = Problem(posed.loss, posed.design, posed.targets)
        if isinstance(sample_weight, (list, tuple)):
            sample_weight = torch.cat(list(sample_weight))
        found = self.relative.absolute(plain, posed.groups, sample_weight)
        values = [math.inf if found[name] is None else found[name] for name in STRENGTHS]
        self.strengths.copy_(torch.tensor(values, dtype=torch.float64))
        _take_strengths(self)

    @property
    def _known(self) -> bool:
        """Whether strengths in units of the data have been found."""
        return self.relative is None or not bool(self.strengths.isnan().any())

    @torch.no_grad()
    def _take(self, result: LatentResult) -> None:
        if self.relative is not None:
            _take_strengths(self)
        found = (result.L, result.S, result.intercept, result.own)
        for parameter, new in zip((self.L, self.S, self.intercept, self.V), found, strict=True):
            if parameter is not None and new is not None:
                if parameter.shape != new.shape:  # another K
                    parameter.data = parameter.new_empty(new.shape)
                parameter.copy_(new)
        self.solved.fill_(not result.collapsed)  # no descent leaves W = 0

    # ------------------------------------------------------------------ penalties

    def penalty(self) -> Tensor:
        """The penalties at the present weights, 0-d, without a graph."""
        with torch.no_grad():
            pairs = self._terms()
            return torch.stack([term.value(block.detach()) for block, term in pairs]).sum()

    def penalties(self) -> dict[nn.Parameter, Regularizer]:
        """Regularizer of each penalised parameter, for :class:`ProximalOptimizer`."""
        found: dict[nn.Parameter, Regularizer] = {}
        for parameter in self.factors():
            acting = [term for on, term in self._terms() if on is parameter and term.strength > 0]
            whole = add(acting)
            if whole is not None:
                found[parameter] = whole
        return found

    @eager
    def prox_step(
        self,
        features: Tensor,
        labels: Tensor,
        sample_weight: Tensor | None = None,
        *,
        lr: float | None = None,
        steps: int = 1,
    ) -> Tensor:
        """Move the weights by proximal gradient steps on a batch; return :meth:`loss` there.

        Each step goes along S and the intercept first, then along L. The loss's gradient in the
        features is the partial one at the new weights: on a batch these are not the minimiser, and
        the envelope theorem is not invoked.

        Parameters
        ----------
        features, labels, sample_weight
            As for :meth:`loss`.
        lr : float, optional
            Step length; None: one over the batch's own curvature, block by block, which descends on
            this batch but follows it closely. A decaying ``lr`` averages over batches.
        steps : int
            At least 1.
        """
        if lr is not None and not lr > 0:
            raise ValueError(f"lr: got {lr}; it must be > 0, or None.")
        if steps < 1:
            raise ValueError(f"steps: got {steps}; take at least 1.")
        check_features(features, self.n_features, self.n_own, batch=True)
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            problem = self._problem_of(features, labels, sample_weight)
            mean = mean_over_processes if self.distributed else None
            for _ in range(steps):
                alternating_step(problem, self.factors(), lr, mean)
        return self.loss(features, labels, sample_weight)

    # ------------------------------------------------------------------ other gradients

    @eager
    def attach(
        self,
        features: Tensor,
        labels: Tensor,
        sample_weight: Tensor | None = None,
        *,
        strengths: Tensor | None = None,
        adjoint: Adjoint | None = None,
    ) -> Attached:
        """Solution and objective as functions of features and strengths, by any adjoint.

        For an outer loss of the solution itself (on held-out samples, say) with
        :class:`proxmtl.adjoints.Implicit`: solve on these samples first, in float64 and to
        ``tol=1e-8`` or so. The solution is ``(L, S)``, then the intercept and V where there are;
        only what depends on ``coef`` means something.

        Parameters
        ----------
        features, labels, sample_weight
            Of the last solve.
        strengths : Tensor, shape (3,) or (4,), optional
            Group, L1, Frobenius and, if there is one, own strength, with their graph.
        adjoint : Adjoint
            Default :class:`proxmtl.adjoints.Envelope`.
        """
        check_features(features, self.n_features, self.n_own, batch=True)
        with torch.autocast(features.device.type, enabled=False):
            problem = self._problem_of(features, labels, sample_weight)
            blocks = tuple(b.detach().to(problem.design.dtype) for b in self.factors())
            return attach(problem, blocks, features, strengths, adjoint)

    # ------------------------------------------------------------------ parts

    def _problem_of(
        self, features: Tensor, labels: Tensor, sample_weight: Tensor | None
    ) -> LatentProblem:
        """The joint problem of a batch, in which a task need not have both classes."""
        self._check_known()
        if self.tasks is not None:
            raise ValueError(
                "tasks: a batch holds those of one process, and steps and adjoints take all; use "
                "solve and loss, or give each process all tasks of its samples."
            )
        data = detached(features)
        batch = self.census.weigh(labels, sample_weight, data.shape[-2], data.dtype)
        design: SharedDesign | TaskDesign
        if data.ndim == 3:
            design = TaskDesign(data, intercept=self.model.fit_intercept)
            task_of = torch.arange(self.n_tasks, device=data.device)
            labels, weights = (part.T.reshape(-1) for part in batch)
            task_of = task_of.repeat_interleave(len(batch.labels))
            targets = Targets(labels, weights, self.n_tasks, task_of)
        else:
            design = SharedDesign(data, intercept=self.model.fit_intercept)
            targets = Targets(*batch, self.n_tasks)
        return self.model.problem(design, targets)

    def _check_known(self) -> None:
        if not self._known:
            raise ValueError(
                "relative: the strengths are found by the first solve; call solve, or give "
                "strengths in units of the loss."
            )

    def _terms(self) -> tuple[tuple[nn.Parameter, Regularizer], ...]:
        """Each penalty with what it acts on."""
        self._check_known()
        model = self.model
        groups = model.groups or Groups.singletons(self.n_tasks)
        norm = GroupL2 if groups.is_disjoint else OverlappingGroupL2
        of_factors = (
            (self.S, norm(groups, model.group_strength)),
            (self.L, L1(model.l1_strength)),
            (self.L, SquaredFrobenius(model.frobenius_strength)),
        )
        if self.V is None or model.own_strength is None:
            return of_factors
        return (*of_factors, (self.V, SquaredFrobenius(model.own_strength)))


def _take_strengths(head: LatentMTLHead, *_: Any) -> None:
    """Give the model the strengths that are known."""
    if head._known:  # noqa: SLF001 - of this module
        values = zip(STRENGTHS, head.strengths.tolist(), strict=True)
        found: dict[str, Any] = {name: None if v == math.inf else v for name, v in values}
        head.model = replace(head.model, **found)
