"""Labels of a batch with weights that make its loss an estimate of that of the training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn

from proxmtl.label_coding import check_coding
from proxmtl.nn.checks import as_tensors, check_batch, check_weight_shape
from proxmtl.nn.linear import Features
from proxmtl.ranks import ALONE, ProcessRanks
from proxmtl.targets import ClassWeight, Reduction, Targets, check_class_weight, check_reduction

__all__ = ["BatchLabels", "LabelStatistics", "by_task", "detached"]


class BatchLabels(NamedTuple):
    """Labels and weights of a batch, shape (B, M)."""

    labels: Tensor
    weights: Tensor


class LabelStatistics(nn.Module):
    """What a batch needs to know of the whole training set. It keeps to float64.

    Parameters
    ----------
    n_tasks : int
    reduction, class_weight
        Of :meth:`Targets.from_labels`.
    distributed : bool
        The batches of all processes together are the batch.
    tasks : Tensor of int64, optional
        Tasks of this process, where a batch is one of its tasks only.
    device
        Of the counts.

    Raises
    ------
    ValueError
        If there is no such reduction or class weight.

    Attributes
    ----------
    observed : Tensor, 0-d
        Sum of the sample weights of all observed labels; 0 before the set was seen.
    rates : Tensor, shape (M,)
        Sum of the sample weights of each task's observed labels, over its number of samples.
    class_factors : Tensor, shape (2, M)
        Factor on the weight of labels -1 and of labels +1, by task.
    has_zeros : Tensor of bool, 0-d
        Whether the set codes missing labels as 0.
    """

    tasks: Tensor | None
    observed: Tensor
    rates: Tensor
    class_factors: Tensor
    has_zeros: Tensor

    def __init__(
        self,
        n_tasks: int,
        reduction: Reduction,
        class_weight: ClassWeight,
        *,
        distributed: bool = False,
        tasks: Tensor | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("tasks", tasks, persistent=False)
        check_reduction(reduction)
        check_class_weight(class_weight)
        self.n_tasks, self.distributed = n_tasks, distributed
        self.reduction: Reduction = reduction
        self.class_weight: ClassWeight = class_weight
        self.register_buffer("observed", torch.zeros((), dtype=torch.float64, device=device))
        ones = torch.ones(2, n_tasks, dtype=torch.float64, device=device)
        self.register_buffer("rates", ones[0].clone())
        self.register_buffer("class_factors", ones)
        self.register_buffer("has_zeros", torch.tensor(data=False, device=device))

    def take(self, labels: Any, sample_weight: Any = None) -> None:
        """Count the labels of the training set, and read its class weights off the targets.

        In a distributed run every process calls it with its own.

        Raises
        ------
        ValueError
            As :meth:`Targets.from_labels` does.
        """
        like = torch.empty(0, dtype=torch.float64, device=self.observed.device)
        labels = as_tensors("labels", labels, like)
        sample_weight = as_tensors("sample_weight", sample_weight, like)
        ranks = joint_ranks(self.observed.device) if self.distributed else ALONE
        given: dict[str, Any] = {
            "sample_weight": sample_weight,
            "like": like,
            "ranks": ranks,
            "tasks": None if self.tasks is None else self.tasks.tolist(),
        }
        plain = Targets.from_labels(labels, **given)
        weighted = Targets.from_labels(labels, class_weight=self.class_weight, **given)
        if plain.n_tasks != self.n_tasks:
            raise ValueError(f"labels: of {plain.n_tasks} tasks, the head has {self.n_tasks}.")
        for factors, positive in zip(self.class_factors, (False, True), strict=True):
            chosen = (plain.labels > 0) == positive
            pair = [t.per_task(t.weights * chosen) for t in (weighted, plain)]
            factors.copy_(pair[0] / pair[1])  # each task has both classes, or targets raise
        self.observed.copy_(ranks.total(plain.weights.sum()))
        self.rates.copy_(
            plain.per_task(plain.weights) / plain.per_task(torch.ones_like(plain.weights))
        )
        parts = labels if isinstance(labels, list) else [labels]
        zeros = [bool((part == 0).any()) for part in parts]
        self.has_zeros.fill_(bool(ranks.largest(any(zeros))))

    def weigh(
        self,
        labels: Tensor,
        sample_weight: Tensor | None,
        n_samples: int,
        dtype: torch.dtype,
        *,
        checked: bool = False,
    ) -> BatchLabels:
        """Weigh the labels of a batch so that its loss estimates that of the whole training set.

        On the whole set it is the same number. With ``"task_mean"`` a batch's sums are divided by
        how many labels of each task a batch of this size holds on average, not by those it happens
        to hold: a task observed in few samples would be without any in most batches, and too light.
        Before the set was seen it has to be those of the batch.

        In a distributed run each process's loss is scaled so that their mean over the processes is
        the loss of all batches together, since training averages gradients.

        With ``checked`` the batch is one of the set that was seen: it is not looked at again, for
        which the program would have to wait for the device.

        Raises
        ------
        ValueError
            If shapes differ, a label or a weight is none, zeros look like the no of 0/1 coding, or
            counts of the whole set are needed and were not taken.
        """
        given = labels.to(dtype)
        observed = ~torch.isnan(given) & (given != 0)
        known = True
        if not checked:
            n_own = self.n_tasks if self.tasks is None else len(self.tasks)
            check_batch(labels, sample_weight, (n_samples, n_own))
            known = bool(self.observed > 0)
            self._check(given, observed, known=known)
        signs = torch.where(observed, given, 1.0)
        weights = observed.to(dtype)
        if sample_weight is not None:
            column = sample_weight.to(weights)
            weights = weights * (column[:, None] if column.ndim == 1 else column)
        counts = weights.to(torch.float64).sum(0)
        size = counts.new_tensor(float(n_samples))
        share, whole, rates, factors = 1.0, counts.sum(), self.rates, self.class_factors
        if self.tasks is not None:  # losses of the processes are summed, not averaged
            dist.all_reduce(whole)
            rates, factors = rates[self.tasks], factors[:, self.tasks]
        elif self.distributed:
            dist.all_reduce(counts)
            dist.all_reduce(size)
            share, whole = float(dist.get_world_size()), counts.sum()
        low, high = factors.to(weights)
        weights = weights * torch.where(signs > 0, high, low)
        if self.reduction == "task_mean":
            expected = rates.to(counts) * size if known else counts
            scale = torch.where(counts > 0, share / expected, 0.0)
        else:
            total = 1.0 if self.reduction == "mean" else self.observed.to(counts)
            scale = torch.where(whole > 0, share * total / whole, 0.0).expand_as(counts)
        return BatchLabels(signs, weights * scale.to(weights))

    def _check(self, given: Tensor, observed: Tensor, *, known: bool) -> None:
        # of several processes one may be without any sample
        if not len(given) and not self.distributed:
            raise ValueError("features: the batch has no sample; give one or more, or skip it.")
        if not known and (self.reduction == "sum" or self.class_weight is not None):
            raise ValueError(
                f"reduction, class_weight: {self.reduction!r} and {self.class_weight!r} need "
                "counts of the whole training set; call solve, or take_labels(labels), first."
            )
        # before the set was seen a batch has to speak for itself: NaN for missing always can
        check_coding(given, observed, zero_is_missing=bool(self.has_zeros) if known else None)

    @property
    def tasks_per_unit(self) -> Tensor:
        """What turns the reduced loss into the sum over tasks of their mean losses, 0-d."""
        one = torch.ones_like(self.observed)
        if self.reduction == "task_mean":
            return one
        return self.n_tasks * one / (self.observed if self.reduction == "sum" else one)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        """Move the counts with the weights, but leave them in float64: half would overflow."""
        kept = {name: getattr(self, name) for name in ("observed", "rates", "class_factors")}
        out: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, counts in kept.items():
            moved = self._buffers[name]
            assert moved is not None
            self._buffers[name] = counts.to(moved.device)
        return out


def joint_ranks(device: torch.device) -> ProcessRanks:
    """All processes of ``torch.distributed``, which exchange tensors where their backend can."""
    return ProcessRanks(device=device if dist.get_backend() == "nccl" else "cpu")


def by_task(features: Features, labels: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Labels and sample weights (N, M) or (N,) in the form that features per task go with."""
    shared = isinstance(features, Tensor) and features.ndim == 2
    if shared or not isinstance(labels, Tensor):
        return labels, sample_weight
    if isinstance(sample_weight, Tensor):
        column = sample_weight[:, None] if sample_weight.ndim == 1 else sample_weight
        check_weight_shape(column, tuple(labels.shape))
        sample_weight = list(column.expand_as(labels).T)
    return list(labels.T), sample_weight


def detached(features: Features) -> Any:
    """Features without their graph, in at least float32."""

    def one(X: Tensor) -> Tensor:
        return X.detach().to(torch.promote_types(X.dtype, torch.float32))

    return one(features) if isinstance(features, Tensor) else [one(X) for X in features]
