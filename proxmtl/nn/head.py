"""The paper's model as the last layer of networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from proxmtl.adjoints import Adjoint, Attached, attach
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentProblem, LatentResult
from proxmtl.nn.batches import (
    BatchLabels,
    Census,
    Features,
    batch_problem,
    by_task,
    detached,
    take_census,
    weigh,
)
from proxmtl.nn.eager import eager
from proxmtl.nn.factored_linear import FactoredLinear
from proxmtl.nn.joint import broadcast_result, gather_samples, mean_over_processes
from proxmtl.nn.preparation import prepared
from proxmtl.nn.score_loss import score_loss
from proxmtl.nn.stochastic import alternating_step
from proxmtl.regularizers import L1, GroupL2, OverlappingGroupL2, Regularizer, SquaredFrobenius, add
from proxmtl.solvers.base import Callback, State
from proxmtl.stopping import Stop

__all__ = ["LatentMTLHead"]


class LatentMTLHead(FactoredLinear):
    """Scores ``z_m = x_m' L s_m + b_m`` of M tasks from their features, with solved weights.

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
    trainable : bool
        Whether gradients reach L, S and the intercept.
    distributed : bool
        Train with ``torch.distributed``: the batches of all processes together are the batch, and
        :meth:`solve` takes the samples of all.
    device, dtype
        Of the weights.
    **options
        Strengths, reduction, class weights, loss, algorithm, budget: all others of
        :class:`LatentMTL`. ``reduction="mean"``, the default, keeps the learning rates of networks.

    Attributes
    ----------
    L, S, intercept : Parameter, shapes (D, K), (K, M), (M,)
        Random before the first solve, so that a trainable head has somewhere to start from:
        zero is a local minimum.
    solved : Tensor of bool
        Whether :meth:`solve` has been run; then the next one starts from these weights.
    model : LatentMTL
    result : LatentResult or None
        Of the last solve in this process, with its certificate; not in the ``state_dict``.
    """

    solved: Tensor
    observed: Tensor
    class_factors: Tensor

    def __init__(
        self,
        n_features: int,
        n_tasks: int,
        groups: Groups | None = None,
        n_latents: int | None = None,
        *,
        fit_intercept: bool = True,
        trainable: bool = False,
        distributed: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        model = LatentMTL(groups, n_latents, fit_intercept=fit_intercept, **options)
        super().__init__(
            n_features,
            n_tasks,
            n_latents,
            bias=fit_intercept,
            trainable=trainable,
            seed=model.random_state,
            device=device,
            dtype=dtype,
        )
        if groups is not None and groups.n_items != n_tasks:
            raise ValueError(f"groups: made for {groups.n_items} tasks, the head has {n_tasks}.")
        self.model, self.distributed = model, distributed
        self.result: LatentResult | None = None
        self.register_buffer("solved", torch.tensor(data=False, device=device))
        # of the training set: what a batch needs to know of it; 0 before it was seen
        self.register_buffer("observed", torch.zeros((), dtype=torch.float64, device=device))
        ones = torch.ones(2, n_tasks, dtype=torch.float64, device=device)
        self.register_buffer("class_factors", ones)

    # ------------------------------------------------------------------ the solve

    @eager
    @torch.no_grad()
    def solve(
        self,
        features: Features,
        labels: Any,
        sample_weight: Any = None,
        *,
        state: State | Mapping[str, Any] | None = None,
        stop: Stop | None = None,
        callback: Callback | None = None,
    ) -> LatentResult:
        """Solve for L, S and the intercept on the whole training set, from the last solution.

        The features are taken without their graph, in at least float32, whatever the autocast.

        Parameters
        ----------
        features : (N, D) or (M, N, D) Tensor, or sequence of M Tensors (N_m, D)
        labels : (N, M) Tensor, or sequence of M Tensors (N_m,)
            -1 and +1; 0 or NaN: missing.
        sample_weight : (N,) or (N, M) Tensor, or sequence of M Tensors (N_m,), optional
        state : State or mapping, optional
            ``head.result.state`` or its ``state_dict()``: go on exactly where that solve of the
            same data ended.
        stop, callback : optional
            As for :meth:`LatentMTL.solve`.

        Returns
        -------
        LatentResult
            Also kept as ``head.result``. A collapsed one is not started from again. On other
            processes than the first of a distributed run it has no solver state.

        Raises
        ------
        ValueError
            If the data do not fit.

        Notes
        -----
        With ``distributed`` every process calls it with its own samples: they are gathered on the
        first, which solves and sends the weights to the others.
        """
        data = detached(features)
        alone = not self.distributed
        if not alone:
            data, labels, sample_weight = gather_samples(data, labels, sample_weight)
        result = None
        if data is not None:
            blocks = tuple(block.detach() for block in self.factors())
            model, state = prepared(self.model, blocks if bool(self.solved) else None, state)
            labels, sample_weight = by_task(data, labels, sample_weight)
            self.take_labels(labels, sample_weight)
            with torch.autocast(self.L.device.type, enabled=False):
                result = model.solve(
                    data, labels, sample_weight, state=state, stop=stop, callback=callback
                )
        if not alone:
            result, census = broadcast_result(
                result, (self.observed, self.class_factors), self.L.device
            )
            self._keep(Census(*census))
        assert result is not None
        self.adopt(result.L, result.S, result.intercept)
        self.solved.fill_(not result.collapsed)
        self.result = result
        return result

    def take_labels(self, labels: Any, sample_weight: Any = None) -> None:
        """Count the labels of the whole training set, for the weights of batches.

        :meth:`solve` does it. Without a solve it is needed where a batch cannot know: for
        ``reduction="sum"`` and for class weights.
        """
        like = torch.empty(0, dtype=torch.float64, device=self.L.device)
        self._keep(take_census(labels, sample_weight, self.model.class_weight, like))

    def _keep(self, census: Census) -> None:
        self.observed.copy_(census.observed)
        self.class_factors.copy_(census.class_factors)

    # ------------------------------------------------------------------ losses

    def loss(self, features: Tensor, labels: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Objective at the present weights, 0-d, with its gradient in the features.

        On the training set of the last :meth:`solve` the value is the optimal one and the gradient
        ``c phi'(z_m) w_m`` is its derivative, by the envelope theorem; the same as holding the
        solved weights fixed and going back through the loss. On a batch it estimates that
        objective, in its units. Computed in at least float32, whatever the autocast; once
        differentiable. Where the head is trainable, the weights get the gradient of the loss, not
        of the penalties: those are for the prox.

        Parameters
        ----------
        features : Tensor, shape (M, B, D) or (B, D)
        labels : Tensor, shape (B, M)
            -1 and +1; 0 or NaN: missing.
        sample_weight : Tensor, shape (B,) or (B, M), optional
        """
        dtype = torch.promote_types(
            torch.promote_types(features.dtype, self.L.dtype), torch.float32
        )
        with torch.autocast(features.device.type, enabled=False):
            scores = self.scores(features.to(dtype), dtype)
            return self.objective(scores, labels, sample_weight)

    @eager
    def objective(
        self, scores: Tensor, labels: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """As :meth:`loss`, from scores: for a head inside another module's ``forward``.

        With ``DistributedDataParallel`` the scores must come from the wrapped module's call.
        """
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        batch = self._batch(scores, labels, sample_weight)
        if scores.shape != batch.labels.shape:
            raise ValueError(
                f"labels: shape {tuple(labels.shape)}; the scores have {tuple(scores.shape)}, "
                "(samples, tasks)."
            )
        value = score_loss(self.model.loss, scores, *batch)
        return value + self.penalty()

    def penalty(self) -> Tensor:
        """The three penalties at the present weights, 0-d, without a graph."""
        with torch.no_grad():
            pairs = self._terms()
            return torch.stack([term.value(block.detach()) for block, term in pairs]).sum()

    def penalties(self) -> dict[nn.Parameter, Regularizer]:
        """Regularizer of each penalised parameter, for :class:`ProximalOptimizer`."""
        (S, group), (L, l1), (_, ridge) = self._terms()
        of_L = add([term for term in (l1, ridge) if term.strength > 0])
        assert of_L is not None
        return {L: of_L, S: group}

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
        """
        if lr is not None and not lr > 0:
            raise ValueError(f"lr: got {lr}; it must be > 0, or None.")
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
        ``tol=1e-8`` or so. The solution is ``(L, S)`` or ``(L, S, intercept)``; only what depends
        on ``L @ S`` means something.

        Parameters
        ----------
        features, labels, sample_weight
            Of the last solve.
        strengths : Tensor, shape (3,), optional
            Group, L1 and Frobenius strength, with their graph.
        adjoint : Adjoint
            Default :class:`proxmtl.adjoints.Envelope`.
        """
        with torch.autocast(features.device.type, enabled=False):
            problem = self._problem_of(features, labels, sample_weight)
            blocks = tuple(b.detach().to(problem.design.dtype) for b in self.factors())
            return attach(problem, blocks, features, strengths, adjoint)

    # ------------------------------------------------------------------ parts

    def _problem_of(
        self, features: Tensor, labels: Tensor, sample_weight: Tensor | None
    ) -> LatentProblem:
        data = detached(features)
        return batch_problem(self.model, data, self._batch(data, labels, sample_weight))

    def _batch(self, like: Tensor, labels: Tensor, sample_weight: Tensor | None) -> BatchLabels:
        model = self.model
        unknown = model.reduction == "sum" or model.class_weight is not None
        if unknown and not float(self.observed) > 0:
            raise ValueError(
                f"reduction, class_weight: {model.reduction!r} and {model.class_weight!r} need "
                "counts of the whole training set; call solve, or take_labels(labels), first."
            )
        return weigh(
            labels,
            sample_weight,
            Census(self.observed, self.class_factors),
            model.reduction,
            like.dtype,
            distributed=self.distributed,
        )

    def _terms(self) -> tuple[tuple[nn.Parameter, Regularizer], ...]:
        """Each penalty with what it acts on."""
        model = self.model
        groups = model.groups or Groups.singletons(self.n_tasks)
        norm = GroupL2 if groups.is_disjoint else OverlappingGroupL2
        return (
            (self.S, norm(groups, model.group_strength)),
            (self.L, L1(model.l1_strength)),
            (self.L, SquaredFrobenius(model.frobenius_strength)),
        )

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move the counts with the weights, but leave them in float64: half would overflow."""
        kept = {name: getattr(self, name) for name in ("observed", "class_factors")}
        out: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, counts in kept.items():
            moved = self._buffers[name]
            assert moved is not None
            self._buffers[name] = counts.to(moved.device)
        return out
