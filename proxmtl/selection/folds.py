"""A problem on a part of its samples: the others get weight zero."""

from __future__ import annotations

import torch
from torch import Tensor

from proxmtl.arrays import Array
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.targets import Targets

__all__ = ["restrict_samples"]


def restrict_samples(problem: Problem, rows: Array) -> Problem:
    """Return the problem on some of its samples, with the same design object.

    The remaining weights are raised so that their total is kept: the loss is then on one scale for
    every part and for the whole, and a strength means the same on each. It is how a ``"mean"`` loss
    behaves; a ``"sum"`` of fewer samples would ask for smaller strengths.

    Parameters
    ----------
    problem : Problem
        On features shared by all tasks.
    rows : array of int or bool, shape (n,) or (N,)
        Row numbers, or a mask; a row given twice counts once.

    Raises
    ------
    ValueError
        If no row is left, a number is out of range, or a task loses one of its classes.
    UnsupportedError
        For features by task.
    """
    targets = problem.targets
    if targets.task_of is not None:
        raise UnsupportedError(
            "restrict_samples: the problem has features by task, whose rows have no common "
            "numbers; build the problem of the part from its own arrays."
        )
    kept = _mask(rows, targets.shape[0]).to(targets.weights)
    weights = targets.weights * kept[:, None]
    for label, name in _kinds(targets):
        own = targets.labels == label if label is not None else torch.ones_like(kept)[:, None] > 0
        before = targets.per_task(((targets.weights > 0) & own).to(weights))
        after = targets.per_task(((weights > 0) & own).to(weights))
        lost = torch.nonzero((before > 0) & (after == 0)).flatten().tolist()
        if lost:
            raise ValueError(
                f"rows: tasks {lost[:5]} have no label {name}left in this part; draw the parts "
                "with stratified_folds or random_splits(..., Y=Y)."
            )
    weights = weights * (targets.weights.sum() / weights.sum())
    return Problem(
        problem.loss,
        problem.design,
        targets.holding(targets.labels, weights),
        problem.regularizers,
        counts=problem.counts,
    )


def _kinds(targets: Targets) -> list[tuple[float | None, str]]:
    """What each task must keep one of: both signs, or any label where labels are real."""
    signs = bool((targets.labels.abs() == 1)[targets.weights > 0].all())
    return [(1.0, "+1 "), (-1.0, "-1 ")] if signs else [(None, "")]


def _mask(rows: Array, n: int) -> Tensor:
    given = torch.as_tensor(rows).flatten()
    if given.dtype == torch.bool:
        if len(given) != n or not bool(given.any()):
            raise ValueError(
                f"rows: a mask of {len(given)} with {int(given.sum())} true entries; give {n}, "
                "some of them true."
            )
        return given
    if given.numel() == 0 or given.is_floating_point():
        raise ValueError(f"rows: got {given.numel()} numbers of type {given.dtype}; give integers.")
    if int(given.min()) < 0 or int(given.max()) >= n:
        raise ValueError(f"rows: numbers from {int(given.min())} to {int(given.max())}, of {n}.")
    mask = torch.zeros(n, dtype=torch.bool)
    mask[given] = True
    return mask
