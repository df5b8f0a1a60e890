"""Checks of the data of a solved head, made before any work."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.nn.linear import Features

__all__ = ["as_tensors", "check_batch", "check_features", "check_labels", "check_weight_shape"]


def as_tensors(name: str, values: Any, features: Features) -> Any:
    """Convert labels or weights, also arrays and frames, to a tensor or to one vector per task.

    In float64 on the device of the features; None stays None.
    """
    first = features if isinstance(features, Tensor) else features[0]
    like = torch.empty(0, dtype=torch.float64, device=first.device)
    if values is None:
        return None
    if isinstance(values, (list, tuple)) and values and getattr(values[0], "ndim", None) == 1:
        return [as_float_tensor(f"{name}[{m}]", part, like) for m, part in enumerate(values)]
    return as_float_tensor(name, values, like)


def check_features(
    features: Features, n_features: int, n_tasks: int, *, batch: bool = False
) -> None:
    """Check that features have the head's width, and one matrix for all tasks or one per task.

    Those of a batch are one tensor: all tasks have the same number of samples there.

    Raises
    ------
    ValueError
        If not, with what was seen and what the head takes.
    """
    shared = isinstance(features, Tensor)
    parts: list[Any] = [features] if shared else list(features)
    if all(isinstance(part, Tensor) for part in parts):
        shapes = [tuple(part.shape) for part in parts]
        n_matrices = shapes[0][0] if shared and len(shapes[0]) == 3 else len(parts)
        one = shared and len(shapes[0]) == 2
        fits = all(len(s) == 2 + (shared and not one) and s[-1] == n_features for s in shapes)
        if fits and (one or n_matrices == n_tasks) and (shared or not batch):
            return
        seen = f"shape {shapes[0]}" if shared else f"{len(parts)} of shapes {shapes[:6]}"
    else:
        seen = f"got {type(features).__name__}"
    several = "" if batch else f" or {n_tasks} tensors (samples, {n_features})"
    raise ValueError(
        f"features: {seen}; give a tensor (samples, {n_features}) for all tasks, or one matrix a "
        f"task: a tensor ({n_tasks}, samples, {n_features}){several}."
    )


def check_labels(labels: Tensor | list[Tensor], features: Features, n_tasks: int) -> None:
    """Check that labels have one entry per sample of each task.

    Raises
    ------
    ValueError
        If not, with what was seen and what goes with these features.
    """
    if isinstance(labels, Tensor):
        rows = [labels.shape[0]] * labels.shape[1] if labels.ndim == 2 else []
        seen = f"shape {tuple(labels.shape)}"
    else:
        rows = [part.shape[0] if part.ndim == 1 else -1 for part in labels]
        seen = f"{len(rows)} vectors of lengths {rows[:6]}"
    if isinstance(features, Tensor):
        wanted = [features.shape[-2]] * n_tasks
        use = f"a matrix {(features.shape[-2], n_tasks)}, (samples, tasks)"
    else:
        wanted = [part.shape[0] for part in features]
        use = f"{n_tasks} vectors of lengths {wanted[:6]}"
    if rows != wanted:
        raise ValueError(f"labels: {seen}; with these features give {use}.")


def check_batch(labels: Tensor, sample_weight: Tensor | None, shape: tuple[int, int]) -> None:
    """Check the shapes (B, M) and the values of the labels and weights of a batch.

    Raises
    ------
    ValueError
        If one is wrong, with the argument, what was seen and what to do.
    """
    if tuple(labels.shape) != shape:
        raise ValueError(
            f"labels: shape {tuple(labels.shape)}; this batch takes {shape}, (samples, tasks)."
        )
    if bool(torch.isinf(labels).any()):
        raise ValueError("labels: hold an infinite value; use -1, +1, and NaN or 0 for missing.")
    if sample_weight is None:
        return
    check_weight_shape(sample_weight, shape)
    # a NaN is not >= 0 either
    if not bool(((sample_weight >= 0) & (sample_weight < torch.inf)).all()):
        raise ValueError("sample_weight: holds a negative, NaN or infinite value; use >= 0.")


def check_weight_shape(sample_weight: Tensor, shape: tuple[int, ...]) -> None:
    """Check that there is one weight per sample, or one per label.

    Raises
    ------
    ValueError
        If not, with what was seen and what to do.
    """
    if tuple(sample_weight.shape) not in (shape[:1], (*shape[:1], 1), shape):
        raise ValueError(
            f"sample_weight: shape {tuple(sample_weight.shape)} does not fit labels of shape "
            f"{shape}; give one weight a sample (or one a label)."
        )
