"""Labels and their weights, validated once: missing labels; sample, class and task weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from proxmtl.arrays import Array
from proxmtl.label_arrays import (
    ClassWeight,
    Reduction,
    SparseLabels,
    by_task,
    check_all_classes,
    check_both,
    check_class_weight,
    check_observed,
    check_reduction,
    class_factors,
    is_sparse,
    read_classes,
    sample_weights,
    sign_factors,
    stacked,
    task_factors,
)
from proxmtl.label_coding import check_zeros
from proxmtl.ranks import ALONE, Ranks
from proxmtl.shown import Shown
from proxmtl.stored_labels import (
    DenseLabels,
    Labelled,
    Seen,
    StoredLabels,
    looked_at,
    read_signs,
)

__all__ = [
    "ClassWeight",
    "Coding",
    "Reduction",
    "Targets",
    "check_class_weight",
    "check_reduction",
]

Coding = Literal["signs", "real"]


class Targets(Labelled, Shown):
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

    Notes
    -----
    Large matrices of signs are kept in one byte a label (:class:`SignLabels`): ``labels`` and
    ``weights`` then are new tensors whenever they are asked for; :meth:`blocks` gives small ones.
    """

    _SHOWN = ("labels", "weights", "n_tasks")

    def __init__(  # noqa: PLR0917 - all are in the class's docstring
        self,
        labels: Tensor,
        weights: Tensor,
        n_tasks: int,
        task_of: Tensor | None = None,
        ranks: Ranks = ALONE,
        tasks: Tensor | None = None,
    ) -> None:
        self.stored: StoredLabels = DenseLabels(labels.detach(), weights.detach())
        self.n_tasks, self.task_of, self.ranks, self.tasks = n_tasks, task_of, ranks, tasks

    def _with(self, **changes: Any) -> Targets:
        """Return targets that differ in some attributes."""
        other = object.__new__(type(self))
        other.__dict__ = {**self.__dict__, **changes}
        return other

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
            target, seen = cls._read(labels, sample_weight, like, real=real)
        if not real and ranks.largest(seen.zero):
            found = ranks.maximum(torch.tensor([seen.some, seen.negative]).to(torch.int8))
            check_zeros(some=bool(found[0]), negative=bool(found[1]))
        target = target._among(ranks, tasks)  # noqa: SLF001 - of this class
        counts = target.weights_by_task()
        factors: list[tuple[Tensor, ...] | None] = [task_factors(task_weight, reduction, counts)]
        if real:
            check_observed(counts)
        else:
            positive = target._total(lambda part: part.weights * (part.labels > 0))  # noqa: SLF001
            check_both(positive, counts)
            factors.append(sign_factors(class_weight, positive, counts))
        stored = target.stored
        for pair in factors:
            stored = stored if pair is None else stored.scaled(*map(target.broadcast, pair))
        return target._with(stored=stored)  # noqa: SLF001 - of this class

    @classmethod
    def _read(
        cls, labels: Array, sample_weight: Array | None, like: Tensor, *, real: bool
    ) -> tuple[Targets, Seen]:
        """Labels as they are given, weighted by their samples alone."""
        pairs = SparseLabels.of(labels) if is_sparse(labels) else None
        found = None if real or pairs is not None else read_signs(labels, sample_weight, like)
        if found is not None:
            signs, seen = found
            bare = cls(signs.classes, signs.classes, signs.shape[1])
            return bare._with(stored=signs), seen
        values, task_of, n_tasks = stacked("labels", pairs or labels, like)
        observed, seen = looked_at(values, real=real)
        weights = observed.to(values)
        if sample_weight is not None:
            weights = weights * sample_weights(sample_weight, values, task_of, like, pairs)
        return cls(torch.where(observed, values, 1.0), weights, n_tasks, task_of), seen

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
        check_all_classes(counts)
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
            return self._with(ranks=ranks)
        parts = ranks.partition("tasks", tasks)
        own = torch.tensor(parts[ranks.rank], device=self.device)
        with ranks.together():
            if len(own) != self.n_tasks:
                raise ValueError(
                    f"labels: of {self.n_tasks} tasks, and this process has {len(own)} tasks; give "
                    "the labels of its own."
                )
        return self._with(ranks=ranks, tasks=own, n_tasks=sum(map(len, parts)))

    # ------------------------------------------------------------------ sums and views

    @property
    def own(self) -> Targets:
        """Labels of this process alone, as those of all its tasks."""
        n_tasks = self.n_tasks if self.tasks is None else len(self.tasks)
        return self._with(ranks=ALONE, tasks=None, n_tasks=n_tasks)

    @property
    def n_entries(self) -> int:
        """Length of the first axis of the labels, over all ranks."""
        own = self.shape[0]
        if self.tasks is not None and self.task_of is None:  # of other tasks, but the same samples
            return own
        return int(self.ranks.total(torch.tensor(float(own), dtype=torch.float64)))

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
        return self._with(stored=self.stored.columns(tasks), ranks=ranks, tasks=tasks)

    def among(self, ranks: Ranks) -> Targets:
        """Return the same labels as those that one of several ranks has of all samples."""
        return self._with(ranks=ranks)

    def holding(self, labels: Tensor, weights: Tensor) -> Targets:
        """Return targets with other labels and weights of the same tasks."""
        return self._with(stored=DenseLabels(labels.detach(), weights.detach()))

    def broadcast(self, per_task: Tensor) -> Tensor:
        """Bring values of the tasks, shape (M,), to a shape that broadcasts with the labels."""
        own = per_task if self.tasks is None else per_task[self.tasks]
        return own if self.task_of is None else own[self.task_of]

    def to(self, dtype: torch.dtype) -> Targets:
        """Return the same targets in another precision."""
        return self if self.dtype == dtype else self._with(stored=self.stored.to(dtype))

    def blocks(self) -> Iterator[Targets]:
        """Targets of blocks of consecutive entries, in order; sums are those of this process."""
        first = 0
        for part in self.stored.blocks():
            task_of, here = self.task_of, slice(first, first := first + part.shape[0])
            if task_of is not None and part is not self.stored:
                task_of = task_of[here]
            yield self._with(stored=part, task_of=task_of, ranks=ALONE)

    def _total(self, function: Callable[[Targets], Tensor]) -> Tensor:
        """Sum by task of a function of the labels, (M,), float64."""
        parts = [part.per_task(function(part).to(torch.float64)) for part in self.blocks()]
        return self.ranks.total(parts[0] if len(parts) == 1 else torch.stack(parts).sum(0))

    def weights_by_task(self) -> Tensor:
        """Total weight of the labels of each task, shape (M,), float64."""
        return self._total(lambda part: part.weights)

    def heaviest(self) -> Tensor:
        """Largest weight of a label of each of this process's tasks, float64; of a matrix."""
        largest = [part.weights.amax(0) for part in self.blocks()]
        return torch.stack(largest).amax(0).to(torch.float64)

    def figures(self) -> dict[str, float]:
        """Checksums of labels and weights, which also depend on the order of the samples.

        Each sums numbers of one sign: without cancellation, relative differences are meaningful.
        """
        sums, first = torch.zeros(3, dtype=torch.float64), 1
        for part in self.blocks():
            labels, weights = (each.reshape(-1) for each in (part.labels, part.weights))
            place = torch.arange(first, first + len(labels), device=self.device)
            place, first = place.to(torch.float64).sqrt(), first + len(labels)
            flat = (labels * weights).to(torch.float64)
            both = flat.clamp_min(0) @ place, -flat.clamp_max(0) @ place
            sums += torch.stack([*both, weights.to(torch.float64) @ place]).cpu()
        return dict(zip(("positive_sum", "negative_sum", "weight_sum"), sums.tolist(), strict=True))

    def take(self, entries: Tensor | slice) -> Targets:
        """Return the targets of some entries: ascending indices along the labels' first axis.

        Their sums are those of this process alone.
        """
        task_of = None if self.task_of is None else self.task_of[entries]
        return self._with(stored=self.stored.take(entries), task_of=task_of, ranks=ALONE)
