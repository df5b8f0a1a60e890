"""Weights of the labels of a batch: an estimate of the whole objective from a part of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from proxmtl.designs import SharedDesign, TaskDesign
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentProblem
from proxmtl.targets import ClassWeight, Reduction, Targets

__all__ = [
    "BatchLabels",
    "Census",
    "Features",
    "batch_problem",
    "by_task",
    "detached",
    "take_census",
    "weigh",
]

Features = Tensor | Sequence[Tensor]


class Census(NamedTuple):
    """What a batch needs to know of the whole training set.

    Attributes
    ----------
    observed : Tensor, 0-d
        Sum of the sample weights of all observed labels.
    class_factors : Tensor, shape (2, M)
        Factor on the weight of labels -1 and of labels +1, by task.
    """

    observed: Tensor
    class_factors: Tensor


class BatchLabels(NamedTuple):
    """Labels and weights of a batch, shape (B, M)."""

    labels: Tensor
    weights: Tensor


def take_census(labels: Any, sample_weight: Any, class_weight: ClassWeight, like: Tensor) -> Census:
    """Count the labels of the training set, and read its class weights off the targets.

    Raises
    ------
    ValueError
        As :meth:`Targets.from_labels` does.
    """
    plain = Targets.from_labels(labels, sample_weight=sample_weight, like=like)
    weighted = Targets.from_labels(
        labels, sample_weight=sample_weight, class_weight=class_weight, like=like
    )
    factors = []
    for positive in (False, True):
        chosen = (plain.labels > 0) == positive
        pair = [t.per_task((t.weights * chosen).to(torch.float64)) for t in (weighted, plain)]
        factors.append(pair[0] / pair[1])  # each task has both classes, or targets raise
    return Census(plain.weights.sum(dtype=torch.float64), torch.stack(factors))


def weigh(
    labels: Tensor,
    sample_weight: Tensor | None,
    census: Census | None,
    reduction: Reduction,
    dtype: torch.dtype,
    *,
    distributed: bool,
) -> BatchLabels:
    """Weigh the labels of a batch so that its loss estimates that of the whole training set.

    On the whole set it is the same number. ``distributed``: batches of all processes together are
    the batch; each process's loss is scaled so that their mean over the processes is the loss of
    that union, since distributed training averages gradients.
    """
    given = labels.to(dtype)
    observed = torch.isfinite(given) & (given != 0)
    signs = torch.where(observed, given, 1.0)
    weights = observed.to(dtype)
    if sample_weight is not None:
        column = sample_weight.to(weights)
        weights = weights * (column[:, None] if column.ndim == 1 else column)
    counts = weights.to(torch.float64).sum(0)
    share = 1.0
    if distributed:
        dist.all_reduce(counts)
        share = float(dist.get_world_size())
    if census is not None:
        low, high = census.class_factors.to(weights)
        weights = weights * torch.where(signs > 0, high, low)
    if reduction == "task_mean":
        scale = torch.where(counts > 0, share / counts, 0.0)
    else:
        total = 1.0 if reduction == "mean" or census is None else census.observed.to(counts)
        whole = counts.sum()
        scale = torch.where(whole > 0, share * total / whole, 0.0).expand_as(counts)
    return BatchLabels(signs, weights * scale.to(weights))


def by_task(features: Features, labels: Any, sample_weight: Any) -> tuple[Any, Any]:
    """Labels and sample weights (N, M) or (N,) in the form that features per task go with."""
    shared = isinstance(features, Tensor) and features.ndim == 2
    if shared or not isinstance(labels, Tensor):
        return labels, sample_weight
    if isinstance(sample_weight, Tensor):
        column = sample_weight[:, None] if sample_weight.ndim == 1 else sample_weight
        sample_weight = list(column.expand_as(labels).T)
    return list(labels.T), sample_weight


def detached(features: Features) -> Any:
    """Features without their graph, in at least float32."""

    def one(X: Tensor) -> Tensor:
        return X.detach().to(torch.promote_types(X.dtype, torch.float32))

    return one(features) if isinstance(features, Tensor) else [one(X) for X in features]


def batch_problem(model: LatentMTL, features: Tensor, batch: BatchLabels) -> LatentProblem:
    """Build the joint problem of a batch, in which a task need not have both classes."""
    design: SharedDesign | TaskDesign
    M = batch.labels.shape[1]
    if features.ndim == 3:
        design = TaskDesign(features, intercept=model.fit_intercept)
        task_of = torch.arange(M, device=features.device).repeat_interleave(len(batch.labels))
        labels, weights = (part.T.reshape(-1) for part in batch)
        targets = Targets(labels, weights, M, task_of)
    else:
        design = SharedDesign(features, intercept=model.fit_intercept)
        targets = Targets(*batch, M)
    return LatentProblem(
        model.loss,
        design,
        targets,
        model.groups or Groups.singletons(M),
        group_strength=model.group_strength,
        l1_strength=model.l1_strength,
        frobenius_strength=model.frobenius_strength,
    )
