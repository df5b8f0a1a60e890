"""Labels of shared or separate samples as one tensor, with the weights of samples and tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from torch import Tensor

from proxmtl.arrays import Array, as_float_tensor

__all__ = [
    "ClassWeight",
    "Reduction",
    "SparseLabels",
    "by_task",
    "check_all_classes",
    "check_both",
    "check_class_weight",
    "check_observed",
    "check_reduction",
    "class_factors",
    "is_sparse",
    "read_classes",
    "sample_weights",
    "sign_factors",
    "stacked",
    "task_factors",
]

ClassWeight = Literal["balanced"] | tuple[float, float] | None
Reduction = Literal["sum", "mean", "task_mean"]


@dataclass(frozen=True)
class SparseLabels:
    """Labels of some pairs of a sample and a task; all other pairs have none.

    Attributes
    ----------
    values : ndarray, shape (E,)
        Labels of any coding, row by row and in a row task by task.
    rows, tasks : ndarray of int64, shape (E,)
        Sample and task of each.
    shape : tuple of int
        (N, M).
    """

    values: NDArray[Any]
    rows: NDArray[np.int64]
    tasks: NDArray[np.int64]
    shape: tuple[int, int]

    @classmethod
    def of(cls, labels: Any) -> SparseLabels:
        """Read a sparse matrix: a stored entry is a label, also a stored 0; a stored NaN is none.

        Parameters
        ----------
        labels : SciPy sparse array or matrix, or SparseLabels

        Raises
        ------
        ValueError
            If an entry is stored twice, or there is no label.
        """
        if isinstance(labels, SparseLabels):
            return labels
        if len(labels.shape) != 2:
            raise ValueError(
                f"labels: a sparse array of shape {labels.shape}; give a matrix (samples, tasks)."
            )
        table = csr_array(labels)
        n, n_tasks = table.shape
        table = table if table.has_sorted_indices else table.sorted_indices()
        rows: NDArray[np.int64] = np.repeat(np.arange(n), np.diff(table.indptr))
        tasks, values = table.indices.astype(np.int64), table.data
        twice = int(
            labels.nnz - table.nnz + ((rows[1:] == rows[:-1]) & (np.diff(tasks) == 0)).sum()
        )
        if twice:
            raise ValueError(
                f"labels: {twice} entries of the sparse matrix are stored more than once; keep one "
                "of each."
            )
        if values.dtype.kind == "f" and np.isnan(values).any():
            known = ~np.isnan(values)
            values, rows, tasks = values[known], rows[known], tasks[known]
        if not len(values):
            raise ValueError(
                f"labels: a sparse matrix of shape {labels.shape} without a label; store those "
                "that are known."
            )
        return cls(values, rows, tasks, (n, n_tasks))

    def __len__(self) -> int:
        return self.shape[0]

    def coded(self, values: NDArray[Any]) -> SparseLabels:
        """Return the same pairs with other values."""
        return replace(self, values=values)

    @property
    def size(self) -> int:
        """Number of labels E."""
        return len(self.values)

    def place(self, rows: slice) -> slice:
        """Where the labels of consecutive samples are among all."""
        first, last, _ = rows.indices(self.shape[0])
        return slice(*np.searchsorted(self.rows, [first, last]).tolist())

    def part(self, rows: NDArray[np.intp] | slice) -> SparseLabels:
        """Return the labels of some samples, of ascending numbers, which are numbered anew."""
        chosen = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        number = np.full(len(self), -1, dtype=np.int64)
        number[chosen] = np.arange(len(chosen))
        kept = number[self.rows] >= 0
        return SparseLabels(
            self.values[kept],
            number[self.rows[kept]],
            self.tasks[kept],
            (len(chosen), self.shape[1]),
        )

    def sums(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Sums of values of the labels, (E,), by task, (M,)."""
        found = np.bincount(self.tasks, values.astype(np.float64), minlength=self.shape[1])
        return found.astype(np.float64)


def is_sparse(labels: Any) -> bool:
    """Whether labels are those of some pairs only."""
    return isinstance(labels, SparseLabels) or issparse(labels)


def stacked(
    name: str, values: Array | SparseLabels, like: Tensor
) -> tuple[Tensor, Tensor | None, int]:
    """Return the values, the task of each entry, and the number of tasks.

    A matrix is returned as it is, with None for the tasks; a sequence of vectors is concatenated,
    and so are the labels of a sparse matrix, row by row.
    """
    if is_sparse(values):
        labels = SparseLabels.of(values)
        numbers = as_float_tensor(name, labels.values).to(like)
        return numbers, torch.from_numpy(labels.tasks).to(like.device), labels.shape[1]
    assert not isinstance(values, SparseLabels)
    if isinstance(values, (list, tuple)) and values and _is_vector(values[0]):
        parts = [as_float_tensor(f"{name}[{m}]", part, like) for m, part in enumerate(values)]
        if any(part.ndim != 1 for part in parts):
            shapes = [tuple(part.shape) for part in parts]
            raise ValueError(f"{name}: expected one vector a task, saw shapes {shapes[:6]}.")
        sizes = torch.tensor([len(part) for part in parts], device=like.device)
        task_of = torch.repeat_interleave(torch.arange(len(parts), device=like.device), sizes)
        return torch.cat(parts), task_of, len(parts)
    matrix = as_float_tensor(name, values, like)
    if matrix.ndim != 2 or matrix.numel() == 0:
        raise ValueError(
            f"{name}: expected a matrix (samples, tasks) or one vector a task, saw shape "
            f"{tuple(matrix.shape)}; for one task use shape (N, 1)."
        )
    return matrix, None, matrix.shape[1]


def _is_vector(value: object) -> bool:
    return isinstance(value, (Tensor, np.ndarray)) and value.ndim == 1


def sample_weights(
    sample_weight: Array,
    labels: Tensor,
    task_of: Tensor | None,
    like: Tensor,
    pairs: SparseLabels | None = None,
) -> Tensor:
    """Weights of samples, or of labels, that broadcast with labels stacked by :func:`stacked`.

    ``pairs`` are the labels as they were given, if they are those of a sparse matrix.
    """
    if pairs is not None:
        weights = _weights_of_pairs(sample_weight, pairs, like)
        fits, seen = True, ""
    elif task_of is not None:
        if isinstance(sample_weight, Tensor | np.ndarray):
            raise ValueError("sample_weight: give one vector a task, as the labels are.")
        weights, weight_task_of, _ = stacked("sample_weight", sample_weight, like)
        fits = weight_task_of is not None and torch.equal(weight_task_of, task_of)
        seen = "the lengths of its vectors" if weight_task_of is not None else "its shape"
    else:
        weights = as_float_tensor("sample_weight", sample_weight, like)
        weights = weights[:, None] if weights.ndim == 1 else weights
        fits = tuple(weights.shape) in ((labels.shape[0], 1), tuple(labels.shape))
        seen = f"shape {tuple(weights.shape)}"
    if not fits:
        raise ValueError(
            f"sample_weight: {seen} does not fit labels of shape {tuple(labels.shape)}; give one "
            "weight a sample (or one a label)."
        )
    if not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("sample_weight: holds a negative, NaN or infinite value; use >= 0.")
    return weights


def _weights_of_pairs(sample_weight: Any, pairs: SparseLabels, like: Tensor) -> Tensor:
    """Weight of each label, from weights of samples (N,), or of labels, in the same places."""
    rows, tasks = (torch.from_numpy(each).to(like.device) for each in (pairs.rows, pairs.tasks))
    if is_sparse(sample_weight):
        given = SparseLabels.of(sample_weight)
        same = np.array_equal(given.rows, pairs.rows) and np.array_equal(given.tasks, pairs.tasks)
        if not same or given.shape != pairs.shape:
            raise ValueError(
                "sample_weight: a sparse matrix with other entries than the labels; give a weight "
                "for each label, or one a sample."
            )
        return as_float_tensor("sample_weight", given.values).to(like)
    weights = as_float_tensor("sample_weight", sample_weight, like)
    if tuple(weights.shape) == pairs.shape:
        return weights[rows, tasks]
    if tuple(weights.shape) in ((len(pairs),), (len(pairs), 1)):
        return weights.reshape(-1)[rows]
    raise ValueError(
        f"sample_weight: shape {tuple(weights.shape)} does not fit labels of shape {pairs.shape}; "
        "give one weight a sample (or one a label)."
    )


def task_factors(
    task_weight: Array | None, reduction: Reduction, counts: Tensor
) -> tuple[Tensor] | None:
    """Factor of each task's weights, (M,), from the weights of its labels; None if all are 1."""
    if task_weight is None and reduction == "sum":
        return None
    ones = torch.ones_like(counts)
    factor = ones if task_weight is None else _task_weights(task_weight, len(counts)).to(counts)
    divisors = {"sum": ones, "mean": counts.sum(), "task_mean": counts}
    return (factor / divisors[reduction],)


def sign_factors(
    class_weight: ClassWeight, positive: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Factors of the labels -1 and +1 of each task, (M,); None if all are 1.

    ``positive`` and ``counts`` are the weights of the labels +1, and of all.
    """
    if class_weight is None:
        return None
    if class_weight == "balanced":
        return counts / (2 * (counts - positive)), counts / (2 * positive)
    negative, other = (torch.full_like(counts, float(weight)) for weight in class_weight)
    return negative, other


def _task_weights(task_weight: Array, n_tasks: int) -> Tensor:
    """Weights of the tasks, (M,)."""
    weights = as_float_tensor("task_weight", task_weight)
    finite = bool(torch.isfinite(weights).all())
    if weights.shape != (n_tasks,) or not finite or not bool((weights > 0).all()):
        lowest = f" with minimum {weights.min().item():g}" if weights.numel() else ""
        raise ValueError(
            f"task_weight: expected {n_tasks} positive, finite numbers, saw shape "
            f"{tuple(weights.shape)}{lowest}."
        )
    return weights


def read_classes(
    classes: Array, n_classes: int, sample_weight: Array | None, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Indicators (N, C) of the classes, and weights (N,) of the samples: 0 for a missing class."""
    given = as_float_tensor("classes", classes, like)
    observed = ~torch.isnan(given)
    index = torch.where(observed, given, 0.0)
    if given.ndim != 1 or not len(given):
        raise ValueError(f"classes: expected one class a sample, saw shape {tuple(given.shape)}.")
    wrong = given[observed & ((index != index.floor()) | (index < 0) | (index >= n_classes))]
    if wrong.numel():
        raise ValueError(
            f"classes: saw {wrong[0].item():g}; give whole numbers 0..{n_classes - 1}, NaN for "
            "missing."
        )
    weights = observed.to(given)
    if sample_weight is not None:
        weights = weights * sample_weights(sample_weight, weights[:, None], None, like)[:, 0]
    return torch.nn.functional.one_hot(index.to(torch.int64), n_classes).to(given), weights


def by_task(values: Tensor, task_of: Tensor, n_tasks: int) -> Tensor:
    """Sums of values (n,) of tasks that lie one after another, (M,)."""
    # index_add_ adds one by one: in float32 the sum would stall at 2**24 samples of weight 1
    sums = values.new_zeros(n_tasks, dtype=torch.float64)
    return sums.index_add_(0, task_of, values.to(torch.float64)).to(values.dtype)


def check_observed(counts: Tensor) -> None:
    """Raise ``ValueError`` if a task has no label of positive weight; counts (M,)."""
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if empty:
        raise ValueError(
            f"labels: {len(empty)} task(s) have no observed label of positive weight: "
            f"{empty[:6]}; drop those tasks or add samples."
        )


def check_both(positive: Tensor, counts: Tensor) -> None:
    """Raise ``ValueError`` if a task has labels of one sign only; weights by task, (M,)."""
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


def check_all_classes(counts: Tensor) -> None:
    """Raise ``ValueError`` if a class has no sample of positive weight; counts (C,)."""
    if not bool((counts > 0).all()):
        lacking = torch.nonzero(counts == 0).flatten().tolist()
        raise ValueError(
            f"classes: {len(lacking)} of {len(counts)} classes have no sample of positive weight "
            f"({lacking[:6]}); renumber the classes that occur, or add samples."
        )


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


def class_factors(
    class_weight: Literal["balanced"] | Sequence[float] | None, counts: Tensor
) -> Tensor:
    """Factors of the weights of C classes, from the number of samples of each, (C,)."""
    if class_weight is None:
        return torch.ones_like(counts)
    if isinstance(class_weight, str):
        if class_weight == "balanced":
            return counts.sum() / (len(counts) * counts)
    else:
        factors = as_float_tensor("class_weight", class_weight).to(counts)
        if factors.shape == counts.shape and bool(
            (factors > 0).all() & (factors < torch.inf).all()
        ):
            return factors
    raise ValueError(
        f"class_weight: got {class_weight!r}; use 'balanced', None or {len(counts)} positive "
        "numbers, one a class."
    )
