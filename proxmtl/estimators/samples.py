"""Feature matrices of estimators: dense, sparse or in files, shared or a matrix for each task."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from proxmtl.arrays import as_float_tensor
from proxmtl.designs import (
    Design,
    ShardedDesign,
    SharedDesign,
    ShiftedDesign,
    StreamedDesign,
    TaskDesign,
)
from proxmtl.designs.checks import consecutive
from proxmtl.designs.sharded import joint_moments
from proxmtl.estimators.labels import EncodedLabels, PairLabels
from proxmtl.estimators.standardize import Standardization, fit_standardization
from proxmtl.numerics import ROUNDING, column_moments
from proxmtl.posing import observed_design
from proxmtl.ranks import ALONE, Ranks, Told
from proxmtl.row_sources import FeatureRows, MappedRows, held, held_type, rows_of
from proxmtl.targets import Reduction, Targets

__all__ = ["Posed", "Samples"]

Array = NDArray[Any]

HELD = 3
"""Times the features of a rank that have room in its memory if they are held there: searches hold
them twice, on two scales."""


class Posed(NamedTuple):
    """Training data in the form that the engine takes."""

    design: Design
    targets: Targets
    sample_weight: NDArray[np.float64] | None
    """Weights given to the targets: (N,), (N, M), or, of tasks with their own samples, in the
    concatenated shape of the targets."""


@dataclass(frozen=True)
class Samples:
    """Checked features; the only class that knows in which form they are stored.

    Attributes
    ----------
    X : ndarray, sparse CSR or FeatureRows, shape (N, D)
        float32 or float64 (rows to be read: float16 too); the matrices of tasks with their own
        samples are stacked.
    task_of : ndarray of int, shape (N,), or None
        Task of each row; None if the rows belong to all tasks.
    origin : ndarray, shape (D,), or None
        For standardised sparse features: the rows are those of X minus this; float64.
    finite : bool
        Whether rows in files are known to be finite, because their moments were computed.
    """

    X: Any
    task_of: NDArray[np.intp] | None = None
    origin: NDArray[np.float64] | None = None
    finite: bool = False

    def __len__(self) -> int:
        return int(self.X.shape[0])

    @property
    def n_features(self) -> int:
        """D."""
        return int(self.X.shape[1])

    @property
    def streamed(self) -> bool:
        """Whether the features are read block by block, and not in memory."""
        return isinstance(self.X, FeatureRows)

    @property
    def ranks(self) -> Ranks:
        """Processes that share the features."""
        return self.X.ranks if isinstance(self.X, FeatureRows) else ALONE

    def rows(self, index: Any) -> Samples:
        """Return the samples of some rows, given by an index array, a mask or a slice."""
        task_of = None if self.task_of is None else self.task_of[index]
        return replace(self, X=rows_of(self.X, index), task_of=task_of)

    @cached_property
    def _by_task(self) -> list[NDArray[np.intp]]:
        """Rows of each task, ascending."""
        assert self.task_of is not None
        order = np.argsort(self.task_of, kind="stable")
        n_tasks = int(self.task_of.max(initial=-1)) + 1
        return np.split(order, np.searchsorted(self.task_of[order], np.arange(1, n_tasks)))

    def _rows_by(self, columns: NDArray[np.intp] | None, n_tasks: int) -> list[NDArray[np.intp]]:
        """Rows of each of some tasks, by default of all M; empty for a task without rows."""
        by_task, tasks = self._by_task, range(n_tasks) if columns is None else columns.tolist()
        return [by_task[m] if m < len(by_task) else np.arange(0) for m in tasks]

    def moments(self, weights: Array | None) -> Standardization:
        """Mean and standard deviation of each feature over all rows of all tasks.

        For sparse features they are those of X, ignoring `origin`, as `standardized` expects them.

        Raises
        ------
        ValueError
            If rows that are read here for the first time are not finite; names the first.
        """
        if not isinstance(self.X, FeatureRows):
            return fit_standardization(self.X, weights)
        X, ranks = self.X.own, self.X.ranks
        own = None if weights is None else weights[self.X.own_rows]
        total = float(len(X) if own is None else own.sum())
        with ranks.together():
            found = column_moments(X, own) if total else None
            if found is not None and not found.mean.isfinite().all():
                X.check_finite()
        joined = joint_moments(ranks, total, found)
        return Standardization(joined.mean.numpy(), joined.scale.numpy())

    def standardized(self, moments: Standardization) -> Samples:
        """Return the features minus their means over their scales.

        Sparse features are divided by their scales and stay sparse; the means become the `origin`,
        which every product subtracts. The argument must come from `moments` of these samples or of
        some of their rows; the new origin replaces an earlier one.
        """
        if isinstance(self.X, FeatureRows):
            return replace(self, X=moments.applied(self.X))
        if not sparse.issparse(self.X):
            return replace(self, X=moments.apply(self.X))
        mean, scale = moments
        # a constant feature becomes exactly 0, though its entries differ by rounding
        rounding = np.where(scale == 1, 2 * ROUNDING * np.abs(mean), -1.0)
        columns = self.X.indices
        differs = np.abs(self.X.data - mean[columns]) > rounding[columns]
        stored = np.bincount(columns, minlength=self.n_features)
        constant = np.bincount(columns[differs], minlength=self.n_features) == 0
        constant &= (stored == len(self)) | (np.abs(mean) <= rounding)
        scaled = np.where(constant[columns], 0.0, self.X.data / scale[columns])
        X = self.X.copy()
        X.data = scaled.astype(X.dtype)
        if constant.any():
            X.eliminate_zeros()
        return replace(self, X=X, origin=np.where(constant, 0.0, mean / scale))

    def multiplied(self, factors: NDArray[np.float64]) -> Samples:
        """Return the features times non-negative factors, (D,), as a copy."""
        dtype = np.result_type(self.X.dtype, np.float32)
        own = factors.astype(dtype)
        if isinstance(self.X, FeatureRows):
            return replace(self, X=MappedRows(self.X, partial(np.multiply, own), dtype=dtype))
        if not sparse.issparse(self.X):
            return replace(self, X=self.X * own)
        X = self.X.copy()
        X.data *= own[X.indices]
        return replace(self, X=X, origin=None if self.origin is None else self.origin * factors)

    def posed(
        self,
        labels: EncodedLabels,
        *,
        intercept: bool,
        reduction: Reduction,
        columns: NDArray[np.intp] | None = None,
    ) -> Posed:
        """Build design and targets of these features.

        Dense features of tasks with their own rows become a :class:`TaskDesign`, whose products
        read each row for its own task only.

        Parameters
        ----------
        labels
            Labels of these rows, (N, M); missing in rows of other tasks.
        columns
            Indices of the tasks of the labels, ascending; default: all.
        """
        if isinstance(labels, PairLabels):
            return self._posed_pairs(labels, intercept=intercept, reduction=reduction)
        numbers, weights = labels.numbers, labels.weights
        design: Design
        values: Any = numbers
        given: Any = weights
        own = slice(None)
        if self.task_of is None or sparse.issparse(self.X):
            design = self.shared_design(intercept=intercept, n_tasks=numbers.shape[1])
            own = self.X.own_rows if isinstance(self.X, FeatureRows) else own
        else:
            X = as_float_tensor("X", self.X)
            rows = self._rows_by(columns, numbers.shape[1])
            parts = [X[consecutive(torch.from_numpy(own))] for own in rows]
            design = TaskDesign(parts, intercept=intercept)
            values = [numbers[own, j] for j, own in enumerate(rows)]
            if weights is not None:  # a label has the weight of its row
                given = [weights[own] for own in rows]
                weights = np.concatenate(given)
        targets = Targets.from_labels(
            values,
            sample_weight=given,
            class_weight=labels.class_weight,
            reduction=reduction,
            like=torch.empty(0, dtype=design.dtype),
            coding=labels.coding,
        )
        if design.ranks is not ALONE:
            design.ranks.check_same("labels", torch.from_numpy(np.asarray(numbers, np.float64)))
            if design.tasks is not None:
                targets = targets.among_tasks(design.tasks, design.ranks)
                if weights is not None and weights.ndim == 2:
                    weights = weights[:, design.tasks.numpy()]
                return Posed(design, targets, weights)
            targets = targets.take(own).among(design.ranks)
            weights = None if weights is None else weights[own]
        return Posed(design, targets, weights)

    def _posed_pairs(self, labels: PairLabels, *, intercept: bool, reduction: Reduction) -> Posed:
        """Design and targets of the pairs of a row and an attribute that have a label."""
        pairs, weights = labels.numbers, labels.weights
        shared = self.shared_design(intercept=intercept, n_tasks=pairs.shape[1])
        ranks = shared.ranks
        own = self.X.own_rows if isinstance(self.X, FeatureRows) else slice(None)
        design = observed_design(shared, pairs if ranks is ALONE else pairs.part(own))
        targets = Targets.from_labels(
            pairs,  # type: ignore[arg-type]
            sample_weight=weights,
            class_weight=labels.class_weight,
            reduction=reduction,
            like=torch.empty(0, dtype=design.dtype),
            coding=labels.coding,
        )
        if ranks is not ALONE:
            ranks.check_same("labels", torch.from_numpy(pairs.values))
            targets = targets.take(pairs.place(own)).among(ranks)
        return Posed(design, targets, None if weights is None else weights[own])

    def shared_design(self, *, intercept: bool, n_tasks: int | None = None) -> Design:
        """Return a design in which all tasks share these features.

        The number of tasks is needed where ranks divide them (:attr:`FeatureRows.by_tasks`).
        """
        if isinstance(self.X, FeatureRows):
            return self._divided(self.X, intercept=intercept, n_tasks=n_tasks)
        if self.origin is not None:
            return ShiftedDesign(self.X, self.origin, intercept=intercept)
        X = self.X if sparse.issparse(self.X) else as_float_tensor("X", self.X)
        return SharedDesign(X, intercept=intercept)

    def _divided(self, rows: FeatureRows, *, intercept: bool, n_tasks: int | None) -> Design:
        """Design of the rows that this process reads; several hold them if there is room."""
        own, ranks, tasks = rows.own, rows.ranks, None
        share = ranks.size
        if rows.by_tasks and n_tasks is not None:
            first, last = (n_tasks * r // ranks.size for r in (ranks.rank, ranks.rank + 1))
            own, tasks, share = rows.among(ALONE), range(first, last), 1
        elif len(rows) < ranks.size:
            raise ValueError(f"X: {len(rows)} rows for {ranks.size} processes; start fewer.") from (
                Told(0) if ranks.rank else None
            )
        # the same on all ranks: the largest part decides
        most = -(-len(rows) // share) * rows.shape[1] * held_type(rows).itemsize
        design: Design
        with ranks.together():
            if ranks is not ALONE and HELD * most <= rows.memory:
                design = SharedDesign(torch.from_numpy(held(own)), intercept=intercept)
            else:
                design = StreamedDesign(
                    own, intercept=intercept, memory=rows.memory, checked=self.finite
                )
        return design if ranks is ALONE else ShardedDesign(design, ranks, tasks=tasks)

    def label_weights(self, posed: Posed) -> Array:
        """Weights of all labels in the loss, (N, M), from the result of `posed`."""
        targets = posed.targets
        weights: Array = (
            targets.whole(targets.weights) if targets.task_of is None else targets.weights
        ).numpy()
        if targets.task_of is None:
            return weights
        out = np.zeros((len(self), targets.n_tasks), dtype=weights.dtype)
        out[np.concatenate(self._by_task), targets.task_of.numpy()] = weights
        return out

    def scores(
        self, coef: Array, intercept: Array | None, columns: NDArray[np.intp] | None = None
    ) -> Array:
        """Decision values (N, M'); 0 in rows of other tasks.

        Parameters
        ----------
        coef, intercept
            Shapes (D, M') and (M',).
        columns
            Indices of these tasks; default: all.
        """
        if self.origin is not None:
            shift = self.origin @ coef
            intercept = -shift if intercept is None else intercept - shift
        if self.task_of is None:
            scores: Array = self._products(coef)
            return scores if intercept is None else scores + intercept
        n_tasks = coef.shape[1]
        scores = np.zeros((len(self), n_tasks), np.result_type(self.X.dtype, coef.dtype))
        biases = np.zeros(n_tasks) if intercept is None else intercept
        for j, rows in enumerate(self._rows_by(columns, n_tasks)):
            scores[rows, j] = self.X[rows] @ coef[:, j] + biases[j]
        return scores

    def _products(self, coef: Array) -> Array:
        """``X @ coef``; features in files are read once."""
        if not isinstance(self.X, FeatureRows):
            products: Array = self.X @ coef
            return products
        X, ranks = self.X.own, self.X.ranks
        dtype = np.result_type(coef.dtype, np.float32)
        with ranks.together():
            weights = torch.from_numpy(coef.astype(dtype))
            scores = weights.new_zeros(0, weights.shape[1])
            if len(X):
                scores = StreamedDesign(X, memory=X.memory, checked=True).scores(weights)
            if not scores.isfinite().all():
                X.check_finite()
        found: Array = ranks.concatenated(scores).numpy()
        return found

    def split(self, values: Array) -> list[Array]:
        """Split values (N, M) or (N,) of rows that each have a task into a vector for each task.

        A row's value is that in the column of its task; if a single task has two columns (classes),
        the second one.
        """
        by_task = self._by_task
        if values.ndim == 1:
            return [values[rows] for rows in by_task]
        single = len(by_task) == 1
        return [values[rows, -1 if single else m] for m, rows in enumerate(by_task)]
