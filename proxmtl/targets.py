"""Labels and their weights, validated once: missing labels; sample, class and task weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from proxmtl.arrays import Array
from proxmtl.label_arrays import (
    SparseLabels,
    by_task,
    check_observed,
    class_factors,
    is_sparse,
    read_classes,
    sample_weights,
    stacked,
    task_weights,
)
from proxmtl.label_coding import check_coding, check_zeros
from proxmtl.ranks import ALONE, Ranks
from proxmtl.shown import Shown

__all__ = [
    "ClassWeight",
    "Coding",
    "Targets",
    "by_task",
    "check_class_weight",
    "check_reduction",
]

ClassWeight = Literal["balanced"] | tuple[float, float] | None
Coding = Literal["signs", "real"]
Reduction = Literal["sum", "mean", "task_mean"]


@dataclass(frozen=True)
class Targets(Shown):
    """Labels and weights in the shape of a design's scores.

    For a shared design the shape is (N, M). For a task design the tasks are concatenated, shape
    (sum of N_m,), and ``task_of`` holds the task of each entry; so for labels of some pairs of a
    sample and a task (E,), row by row. A missing label has weight 0 and an arbitrary finite value.

    Parameters
    ----------
    labels, weights : Tensor, same shape
        Floating point; detached from any graph.
    n_tasks : int
        Number of tasks M.
    task_of : Tensor or None
        Task of each entry, int64; None for shape (N, M).
    ranks : Ranks
        Processes among which the labels are divided; the labels are those of this process, and
        sums over samples those of all.
    tasks : Tensor of int64, shape (m,), or None
        Tasks of the labels of this process, where it has those of m of the M tasks only: the
        labels' columns, or what ``task_of`` counts. None: all.
    """

    _SHOWN = ("labels", "weights", "n_tasks")
    labels: Tensor
    weights: Tensor
    n_tasks: int
    task_of: Tensor | None = None
    ranks: Ranks = ALONE
    tasks: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("labels", "weights"):  # solves are not differentiated in them
            object.__setattr__(self, name, getattr(self, name).detach())

    @classmethod
    def from_labels(
        cls,
        labels: Array,
        *,
        sample_weight: Array | None = None,
        class_weight: ClassWeight = None,
        task_weight: Array | None = None,
        reduction: Reduction = "sum",
        like: Tensor | None = None,
        coding: Coding = "signs",
        ranks: Ranks = ALONE,
        tasks: Iterable[int] | None = None,
    ) -> Targets:
        """Build from raw labels: -1 and +1 with 0 or NaN for a missing one, or real numbers.

        Parameters
        ----------
        labels : (N, M) array or SciPy sparse matrix, or a sequence of M arrays (N_m,)
            A matrix for a shared design, a sequence for a task design. A sparse matrix is for an
            :class:`ObservedDesign`: what it stores are labels, what it does not store is missing.
        sample_weight : (N,) or (N, M) array, or a sequence of M arrays, optional
            ``>= 0``. For a sparse matrix also one with the same entries.
        class_weight : "balanced", (weight of -1, weight of +1) or None
            Balanced: ``n_m / (2 n_m^class)``, with the numbers of observed labels of task m. In
            these numbers and those of ``reduction``, each label counts with its sample weight.
        task_weight : (M,) array, optional
        reduction : "sum", "mean" or "task_mean"
            ``"sum"``: the sum of the losses of all labels (the paper); ``"mean"``: that divided by
            the number of observed labels; ``"task_mean"``: the sum of each task divided by its own
            number of observed labels.
        like : Tensor, optional
            Tensor whose dtype and device are used; default float64 on the CPU.
        coding : "signs" or "real"
            ``"real"`` is for regression losses: any finite numbers, including 0, and NaN for a
            missing label; ``class_weight`` must then be None.
        ranks : Ranks
            Processes that each give the labels of their own samples; numbers of labels are those of
            all. An error of one raises on all.
        tasks : sequence of int, optional
            Tasks of this process's labels, if it gives those of some tasks of all samples instead:
            each of 0, ..., M - 1 on one process.

        Raises
        ------
        ValueError
            If an argument is invalid, or a task has no observed label of positive weight or, with
            ``"signs"``, observed labels of one class only.
        """
        if coding not in ("signs", "real"):
            raise ValueError(f"coding: got {coding!r}; use 'signs' (-1 and +1) or 'real'.")
        real = coding == "real"
        if real and class_weight is not None:
            raise ValueError(
                f"class_weight: got {class_weight!r}, but real labels have no classes; weigh "
                "samples by sample_weight."
            )
        check_reduction(reduction)
        check_class_weight(class_weight)
        like = torch.empty(0, dtype=torch.float64) if like is None else like
        with ranks.together():
            target, values = cls._read(labels, sample_weight, like, real=real)
        if not real and ranks.largest(bool((values == 0).any())):
            some, negative = (values != 0) & ~values.isnan(), values == -1
            found = ranks.maximum(torch.stack([some.any(), negative.any()]).to(torch.int8))
            check_zeros(some=bool(found[0]), negative=bool(found[1]))
        target = target._among(ranks, tasks)  # noqa: SLF001 - of this class
        weights, n_tasks = target.weights, target.n_tasks
        counts = target.per_task(weights.to(torch.float64))
        if real:
            check_observed(counts)
        else:
            target._check_classes(counts)  # noqa: SLF001 - of this class
        factor = torch.ones(n_tasks, dtype=torch.float64, device=counts.device)
        if task_weight is not None:
            factor = factor * task_weights(task_weight, n_tasks).to(factor)
        if reduction == "mean":
            factor = factor / counts.sum()
        elif reduction == "task_mean":
            factor = factor / counts
        weights = weights * target.broadcast(factor).to(weights)
        of_classes = target._class_factors(class_weight, counts)  # noqa: SLF001 - of this class
        weights = weights * of_classes.to(weights)
        return replace(target, weights=weights)

    @classmethod
    def _read(
        cls, labels: Array, sample_weight: Array | None, like: Tensor, *, real: bool
    ) -> tuple[Targets, Tensor]:
        """Labels as they are given, weighted by their samples alone; also with what is missing."""
        pairs = SparseLabels.of(labels) if is_sparse(labels) else None
        values, task_of, n_tasks = stacked("labels", pairs or labels, like)
        if not bool((torch.isnan(values) | torch.isfinite(values)).all()):
            use = "finite numbers and NaN" if real else "-1, +1, and NaN or 0"
            raise ValueError(f"labels: hold an infinite value; use {use} for missing.")
        observed = ~torch.isnan(values)
        if not real:
            observed &= values != 0
            check_coding(values, observed, zero_is_missing=True)
        weights = observed.to(values)
        if sample_weight is not None:
            weights = weights * sample_weights(sample_weight, values, task_of, like, pairs)
        return cls(torch.where(observed, values, 1.0), weights, n_tasks, task_of), values

    @classmethod
    def from_classes(
        cls,
        classes: Array,
        n_classes: int,
        *,
        sample_weight: Array | None = None,
        class_weight: Literal["balanced"] | Sequence[float] | None = None,
        reduction: Literal["sum", "mean"] = "sum",
        like: Tensor | None = None,
        ranks: Ranks = ALONE,
    ) -> Targets:
        """Build one-versus-rest labels for a multi-class loss from the class of each sample.

        Labels are +1 in the column of the class and -1 in all others.

        Parameters
        ----------
        classes : (N,) array
            Whole numbers 0..C-1; NaN for a missing class.
        n_classes : int
            C, the number of columns of the targets: each class is a "task".
        sample_weight : (N,) array, optional
            ``>= 0``.
        class_weight : "balanced", C positive numbers, or None
            Balanced: ``n / (C n_k)``, where each sample counts with its sample weight.
        reduction : "sum" or "mean"
            ``"mean"``: divided by the (weighted) number of observed samples.
        like : Tensor, optional
            Tensor whose dtype and device are used; default float64 on the CPU.
        ranks : Ranks
            As for :meth:`from_labels`.

        Raises
        ------
        ValueError
            If an argument is invalid, or a class has no sample of positive weight.
        """
        like = torch.empty(0, dtype=torch.float64) if like is None else like
        with ranks.together():
            own, weights = read_classes(classes, n_classes, sample_weight, like)
        ranks.check_equal("classes: number of classes", n_classes)
        counts = ranks.total(weights.to(torch.float64) @ own.to(torch.float64))
        if not bool((counts > 0).all()):
            lacking = torch.nonzero(counts == 0).flatten().tolist()
            raise ValueError(
                f"classes: {len(lacking)} of {n_classes} classes have no sample of positive weight "
                f"({lacking[:6]}); renumber the classes that occur, or add samples."
            )
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction: got {reduction!r}; use 'sum' or 'mean'.")
        if reduction == "mean":
            weights = weights / counts.sum().to(weights)
        weights = weights * (own @ class_factors(class_weight, counts).to(own))
        weights = weights[:, None].repeat(1, n_classes)
        return cls(2 * own - 1, weights, n_classes, ranks=ranks)

    def _among(self, ranks: Ranks, tasks: Iterable[int] | None) -> Targets:
        """Labels of this process alone as its part of those of all."""
        if tasks is None:
            ranks.check_equal("labels: number of tasks", self.n_tasks)
            return replace(self, ranks=ranks)
        parts = ranks.partition("tasks", tasks)
        own = torch.tensor(parts[ranks.rank], device=self.labels.device)
        with ranks.together():
            if len(own) != self.n_tasks:
                raise ValueError(
                    f"labels: of {self.n_tasks} tasks, and this process has {len(own)} tasks; give "
                    "the labels of its own."
                )
        return replace(self, ranks=ranks, tasks=own, n_tasks=sum(map(len, parts)))

    # ------------------------------------------------------------------ sums and views

    @property
    def own(self) -> Targets:
        """Labels of this process alone, as those of all its tasks."""
        n_tasks = self.n_tasks if self.tasks is None else len(self.tasks)
        return replace(self, ranks=ALONE, tasks=None, n_tasks=n_tasks)

    @property
    def n_entries(self) -> int:
        """Length of the first axis of the labels, over all ranks."""
        if self.tasks is not None and self.task_of is None:  # of other tasks, but the same samples
            return len(self.labels)
        return int(self.ranks.total(torch.tensor(float(len(self.labels)), dtype=torch.float64)))

    def per_task(self, values: Tensor) -> Tensor:
        """Sum values of the labels' shape over each task's samples, shape (M,)."""
        return self.ranks.total(self._own_per_task(values))

    def _own_per_task(self, values: Tensor) -> Tensor:
        if self.task_of is None:
            return self.placed(values.sum(0))
        n_tasks = self.n_tasks if self.tasks is None else len(self.tasks)
        return self.placed(by_task(values, self.task_of, n_tasks))

    def placed(self, own: Tensor) -> Tensor:
        """Values of this process's tasks, (..., m), among those of all, (..., M); 0 elsewhere."""
        if self.tasks is None:
            return own
        whole = own.new_zeros(*own.shape[:-1], self.n_tasks)
        return whole.index_copy_(-1, self.tasks, own)

    def whole(self, own: Tensor) -> Tensor:
        """Values of the labels (N, M) of all ranks, from those of this process's labels."""
        if self.tasks is None:
            return self.ranks.concatenated(own)
        return self.ranks.total(self.placed(own))

    def among_tasks(self, tasks: Tensor, ranks: Ranks) -> Targets:
        """Return the part (N, m) that one of several ranks has of labels (N, M)."""
        labels, weights = self.labels[:, tasks], self.weights[:, tasks]
        return replace(self, labels=labels, weights=weights, ranks=ranks, tasks=tasks)

    def broadcast(self, per_task: Tensor) -> Tensor:
        """Bring values of the tasks, shape (M,), to a shape that broadcasts with the labels."""
        own = per_task if self.tasks is None else per_task[self.tasks]
        return own if self.task_of is None else own[self.task_of]

    def to(self, dtype: torch.dtype) -> Targets:
        """Return the same targets in another precision."""
        if self.labels.dtype == dtype:
            return self
        return replace(self, labels=self.labels.to(dtype), weights=self.weights.to(dtype))

    def figures(self) -> dict[str, float]:
        """Checksums of labels and weights, which also depend on the order of the samples.

        Each sums numbers of one sign: without cancellation, relative differences are meaningful.
        """
        place = torch.arange(1, self.labels.numel() + 1, device=self.labels.device)
        place = place.to(torch.float64).sqrt()
        flat = (self.labels * self.weights).to(torch.float64).reshape(-1)
        return {
            "positive_sum": float(flat.clamp_min(0) @ place),
            "negative_sum": float(-flat.clamp_max(0) @ place),
            "weight_sum": float(self.weights.to(torch.float64).reshape(-1) @ place),
        }

    def take(self, entries: Tensor | slice) -> Targets:
        """Return the targets of some entries: ascending indices along the labels' first axis.

        Their sums are those of this process alone.
        """
        return replace(
            self,
            labels=self.labels[entries],
            weights=self.weights[entries],
            task_of=None if self.task_of is None else self.task_of[entries],
            ranks=ALONE,
        )

    def _check_classes(self, counts: Tensor) -> None:
        positive = self._positive()
        single = torch.nonzero((positive == 0) | (positive == counts)).flatten().tolist()
        if single:
            m = single[0]
            seen = (
                "no observed label"
                if counts[m] == 0
                else f"only {'+1' if positive[m] > 0 else '-1'} labels"
            )
            raise ValueError(
                f"labels: {len(single)} task(s) lack a class: task {m} has {seen} of positive "
                f"weight{f' (also tasks {single[1:6]})' if single[1:] else ''}; "
                "drop those tasks or add samples."
            )

    def _positive(self) -> Tensor:
        """Weight of each task's positive samples, shape (M,)."""
        return self.per_task((self.weights * (self.labels > 0)).to(torch.float64))

    def _class_factors(self, class_weight: ClassWeight, counts: Tensor) -> Tensor:
        if class_weight is None:
            return torch.ones((), dtype=torch.float64)
        positive = self._positive()
        if class_weight == "balanced":
            low, high = counts / (2 * (counts - positive)), counts / (2 * positive)
        else:
            low, high = (torch.full_like(counts, float(w)) for w in class_weight)
        return torch.where(self.labels > 0, self.broadcast(high), self.broadcast(low))


def check_reduction(reduction: Reduction) -> None:
    """Raise ``ValueError`` unless ``reduction`` is a known one."""
    if reduction not in ("sum", "mean", "task_mean"):
        raise ValueError(f"reduction: got {reduction!r}; use 'sum', 'mean' or 'task_mean'.")


def check_class_weight(class_weight: ClassWeight) -> None:
    """Raise ``ValueError`` unless ``class_weight`` is a valid weighting of two classes."""
    if class_weight is None or class_weight == "balanced":
        return
    if not (isinstance(class_weight, tuple) and len(class_weight) == 2):
        raise ValueError(
            f"class_weight: got {class_weight!r}; use 'balanced', None or a pair "
            "(weight of -1, weight of +1)."
        )
    if not all(float(weight) > 0 for weight in class_weight):
        raise ValueError(f"class_weight: got {class_weight}; both must be > 0.")
