"""What all solved heads share: the solve on the whole training set, and the losses in between."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from proxmtl.designs import Design, ShardedDesign, SharedDesign, TaskDesign
from proxmtl.latent import LatentResult
from proxmtl.losses import Loss
from proxmtl.nn.batches import LabelStatistics, by_task, detached, joint_ranks
from proxmtl.nn.checks import as_tensors, check_features, check_labels
from proxmtl.nn.eager import eager
from proxmtl.nn.linear import Features, check_all_finite, linear_scores, unstandardized
from proxmtl.nn.score_loss import score_loss
from proxmtl.ranks import ALONE
from proxmtl.result import Result
from proxmtl.solvers.base import Callback
from proxmtl.stopping import Stop
from proxmtl.targets import ClassWeight, Reduction

__all__ = ["SolvedHead"]

Outcome = TypeVar("Outcome", LatentResult, Result[Tensor])


class SolvedHead(nn.Module, Generic[Outcome]):
    """A linear head whose weights the engine solves for; between solves they are held fixed.

    Parameters
    ----------
    n_features, n_tasks : int
        D and M.
    reduction, class_weight
        Of :meth:`Targets.from_labels`.
    trainable : bool
        Whether gradients reach the weights.
    distributed : bool
        The samples of all processes together are the training set, and their batches the batch.
    tasks : sequence of int, optional
        Tasks whose features and labels this process has, where processes divide these.
    device, dtype
        Of the weights.

    Attributes
    ----------
    intercept : Parameter (M,), or None
    census : LabelStatistics
        Counts of the training set's labels, for the weights of batches.
    solved : Tensor of bool
        Whether :meth:`solve` has been run; then the next one starts from these weights.
    result : LatentResult, Result or None
        Of the last solve in this process, with its certificate; not in the ``state_dict``.
    """

    intercept: nn.Parameter | None
    tasks: Tensor | None
    solved: Tensor
    result: Outcome | None

    def __init__(
        self,
        n_features: int,
        n_tasks: int,
        *,
        reduction: Reduction,
        class_weight: ClassWeight,
        trainable: bool,
        distributed: bool,
        tasks: Sequence[int] | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        if n_features < 1 or n_tasks < 1:
            raise ValueError(f"n_features, n_tasks: got {n_features}, {n_tasks}; use at least 1.")
        numbers = None if tasks is None else list(tasks)
        own = None if numbers is None else torch.tensor(numbers, device=device)
        if numbers is not None and not (
            distributed and numbers and min(numbers) >= 0 and max(numbers) < n_tasks
        ):
            raise ValueError(
                f"tasks: got {numbers[:6]}, distributed={distributed}; give some of the numbers "
                f"0..{n_tasks - 1}, of a distributed run."
            )
        self.register_buffer("tasks", own, persistent=False)
        self.n_features, self.n_tasks = n_features, n_tasks
        self.n_own = n_tasks if own is None else len(own)
        self.trainable, self.distributed = trainable, distributed
        self._place: dict[str, Any] = {
            "device": device,
            "dtype": dtype or torch.get_default_dtype(),
        }
        self.result = None
        self.register_buffer("solved", torch.tensor(data=False, device=device))
        self.census = LabelStatistics(
            n_tasks, reduction, class_weight, distributed=distributed, tasks=own, device=device
        )

    def _weight(self, start: Tensor) -> nn.Parameter:
        """A parameter that starts from a tensor."""
        return nn.Parameter(start.to(**self._place), requires_grad=self.trainable)

    @property
    @abstractmethod
    def data_loss(self) -> Loss:
        """Loss of a score and its label."""

    @abstractmethod
    def coef_as(self, dtype: torch.dtype) -> Tensor:
        """W computed in a precision."""

    @property
    def coef(self) -> Tensor:
        """W, shape (D, M)."""
        return self.coef_as(next(self.parameters()).dtype)

    def forward(self, features: Tensor) -> Tensor:
        """Scores (B, M) of features (M, B, D), one matrix per task, or (B, D), shared by all.

        Where processes divide the tasks, M counts those of this one.
        """
        return self._scores(features, self.coef)

    def _scores(self, features: Tensor, coef: Tensor) -> Tensor:
        intercept: Tensor | None = self.intercept
        if self.tasks is not None:
            coef = coef[:, self.tasks]
            intercept = None if intercept is None else intercept[self.tasks]
        return linear_scores(features, coef, intercept)

    @torch.no_grad()
    def to_linear(self, mean: Any = None, scale: Any = None) -> nn.Linear:
        r"""Copy the weights into a plain layer of torch, with the head's scores on shared features.

        If the head was solved on standardised features, ``(x - mean) / scale``, the layer can take
        them as they were before:

        .. math:: w_m' = w_m / s, \qquad b_m' = b_m - \langle \mu, w_m' \rangle

        Parameters
        ----------
        mean, scale : (D,) array or Tensor, optional
            By which features were centred, and then divided; None: 0 and 1.

        Returns
        -------
        nn.Linear
            From D features to the scores of all M tasks, computed in float64, on the head's device
            and in its precision. It has a bias if the head has an intercept or ``mean`` is given.

        Raises
        ------
        ValueError
            If ``mean`` or ``scale`` is not D finite numbers, or a scale is not positive.
        """
        like, W = next(self.parameters()), self.coef_as(torch.float64)
        own = None if self.intercept is None else self.intercept.to(W)
        W, b = unstandardized(W, own, mean, scale)
        sizes = self.n_features, self.n_tasks
        layer = nn.Linear(*sizes, bias=b is not None, device=like.device, dtype=like.dtype)
        layer.weight.copy_(W.T)
        if b is not None:
            layer.bias.copy_(b)
        return layer

    @abstractmethod
    def penalty(self) -> Tensor:
        """The penalties at the present weights, 0-d, without a graph."""

    @abstractmethod
    def _minimise(self, features: Any, labels: Any, sample_weight: Any, **options: Any) -> Outcome:
        """Solve for the weights."""

    def _design(self, features: Any, *, intercept: bool) -> Design:
        """Design of features of the training set: this process's, among those of all."""
        shared = isinstance(features, Tensor) and features.ndim == 2
        kind = SharedDesign if shared else TaskDesign
        own: Design = kind(features, intercept=intercept)
        if not self.distributed:
            return own
        tasks = None if self.tasks is None else self.tasks.tolist()
        return ShardedDesign(own, joint_ranks(self.solved.device), tasks=tasks)

    @abstractmethod
    def _take(self, result: Outcome) -> None:
        """Take the weights of a result."""

    @eager
    @torch.no_grad()
    def solve(
        self,
        features: Features,
        labels: Any,
        sample_weight: Any = None,
        *,
        state: Any = None,
        stop: Stop | None = None,
        callback: Callback | None = None,
    ) -> Outcome:
        """Solve for the weights on the whole training set, from the last solution.

        The features are taken without their graph, in at least float32, whatever the autocast. With
        an intercept, which takes their means up exactly, the solver sees them centred.

        Parameters
        ----------
        features : (N, D) or (M, N, D) Tensor, or sequence of M Tensors (N_m, D)
        labels : (N, M) array, or sequence of M arrays (N_m,)
            -1 and +1; NaN, or 0, for missing. Tensors, numpy arrays or frames.
        sample_weight : (N,) or (N, M) array, or sequence of M arrays (N_m,), optional
        state : State or mapping, optional
            ``head.result.state`` or its ``state_dict()``: go on exactly where that solve of the
            same data ended. It is a point for the centred features.
        stop, callback : optional
            In place of the head's own stopping rule; as for :func:`proxmtl.minimize`.

        Returns
        -------
        LatentResult or Result
            Also kept as ``head.result``.

        Raises
        ------
        ValueError
            If the data do not fit the head, or each other. The head is then as it was.
        RankError
            In a distributed run, if this was so on another process.

        Notes
        -----
        With ``distributed`` every process calls it with its own samples (or ``tasks``), and keeps
        them: the processes exchange gradients (:class:`ShardedDesign`), and all end with the same
        weights, to the last bit.
        """
        ranks = joint_ranks(self.solved.device) if self.distributed else ALONE
        with ranks.together():
            check_features(features, self.n_features, self.n_own)
            data = detached(features)
            of_data = as_tensors("labels", labels, data)
            check_labels(of_data, data, self.n_own)
            weights = as_tensors("sample_weight", sample_weight, data)
            targets = by_task(data, of_data, weights)
            check_all_finite(data)
        ranks.check_equal("sample_weight", "not given" if weights is None else "given")
        with torch.autocast(self.solved.device.type, enabled=False):
            result = self._minimise(data, *targets, state=state, stop=stop, callback=callback)
        self.take_labels(*targets)  # after all that may raise: then nothing has changed
        self._take(result)
        self.result = result
        return result

    def take_labels(self, labels: Any, sample_weight: Any = None) -> None:
        """Count the labels of the whole training set, for the weights of batches.

        :meth:`solve` does it. Without a solve it is needed where a batch cannot know: for
        ``reduction="sum"``, for class weights, and for labels with 0 for missing if a batch may be
        without a -1. In a distributed run every process calls it with its own.
        """
        self.census.take(labels, sample_weight)

    # ------------------------------------------------------------------ losses

    def loss(self, features: Tensor, labels: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Objective at the present weights, 0-d, with its gradient in the features.

        On the training set of the last :meth:`solve` the value is the optimal one and the gradient
        ``c phi'(z_m) w_m`` is its derivative, by the envelope theorem; the same as holding the
        solved weights fixed and going back through the loss. On a batch it estimates that
        objective, in its units. Computed in at least float32, whatever the autocast; once
        differentiable. Where the head is trainable, the weights get the gradient of the loss, not
        of the penalties: those are for the prox. Before any :meth:`solve` the weights are those
        that the head was made with, random factors or zeros, and this is their loss.

        Parameters
        ----------
        features : Tensor, shape (M, B, D) or (B, D)
        labels : Tensor, shape (B, M)
            -1 and +1; NaN for missing. 0 for missing is taken where the training set has it, and
            before that was seen only along with a -1: otherwise it looks like a no.
        sample_weight : Tensor, shape (B,) or (B, M), optional

        Raises
        ------
        ValueError
            If shapes differ, a label is neither -1, +1 nor missing, or a weight is negative.
        """
        return self._of_all(self._data_term(features, labels, sample_weight)) + self.penalty()

    def _of_all(self, own: Tensor) -> Tensor:
        """Data term of all tasks, with the gradient of this process's part."""
        if self.tasks is None:
            return own
        whole = joint_ranks(own.device).total(own.detach())
        return own + (whole - own.detach())

    def network_loss(
        self,
        features: Tensor,
        labels: Tensor,
        sample_weight: Tensor | None = None,
        *,
        checked: bool = False,
    ) -> Tensor:
        """Sum over tasks of their mean losses, whatever the reduction, 0-d.

        :meth:`loss` without the penalties, which networks do not feel, and scaled so that, with no
        label missing, each network sees the mean loss of its task: learning rates carry over. A
        task with few observed labels moves its network less, in proportion, but for the reduction
        ``"task_mean"``, under which every task counts alike and the few labels count for more.

        Batches of the training set that :meth:`solve` or :meth:`take_labels` was given may be said
        to be ``checked``: their values are not looked at again, for which a GPU would have to come
        to rest at each step.
        """
        value = self._of_all(self._data_term(features, labels, sample_weight, checked=checked))
        return value * self.census.tasks_per_unit.to(value)

    def _data_term(
        self,
        features: Tensor,
        labels: Tensor,
        sample_weight: Tensor | None,
        *,
        checked: bool = False,
    ) -> Tensor:
        check_features(features, self.n_features, self.n_own, batch=True)
        dtype = torch.promote_types(
            torch.promote_types(features.dtype, self.coef.dtype), torch.float32
        )
        with torch.autocast(features.device.type, enabled=False):
            scores = self._scores(features.to(dtype), self.coef_as(dtype))
            return self._score_loss(scores, labels, sample_weight, checked=checked)

    @eager
    def objective(
        self, scores: Tensor, labels: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        """As :meth:`loss`, from scores: for a head inside another module's ``forward``.

        With ``DistributedDataParallel`` the scores must come from the wrapped module's call.
        """
        return self._of_all(self._score_loss(scores, labels, sample_weight)) + self.penalty()

    @eager
    def _score_loss(
        self,
        scores: Tensor,
        labels: Tensor,
        sample_weight: Tensor | None,
        *,
        checked: bool = False,
    ) -> Tensor:
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if scores.shape != labels.shape:
            raise ValueError(
                f"labels: shape {tuple(labels.shape)}; the scores have {tuple(scores.shape)}, "
                "(samples, tasks)."
            )
        batch = self.census.weigh(labels, sample_weight, len(labels), scores.dtype, checked=checked)
        return score_loss(self.data_loss, scores, *batch)
