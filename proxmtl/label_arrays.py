"""Labels of shared or separate samples as one tensor, with the weights of samples and tasks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from proxmtl.arrays import Array, as_float_tensor

__all__ = ["read_classes", "sample_weights", "stacked", "task_weights"]


def stacked(name: str, values: Array, like: Tensor) -> tuple[Tensor, Tensor | None, int]:
    """Return the values, the task of each entry, and the number of tasks.

    A matrix is returned as it is, with None for the tasks; a sequence of vectors is concatenated.
    """
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
    sample_weight: Array, labels: Tensor, task_of: Tensor | None, like: Tensor
) -> Tensor:
    """Weights of samples, or of labels, that broadcast with labels stacked by :func:`stacked`."""
    if task_of is not None:
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


def task_weights(task_weight: Array, n_tasks: int) -> Tensor:
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
