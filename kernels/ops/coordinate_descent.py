"""Coordinate descent on quadratic models with an L1 penalty, over columns of sparse features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from proxmtl.kernels.dispatch import BACKENDS, Operation, register
from proxmtl.kernels.fibres import checked_scale
from proxmtl.kernels.library import refuse_derivative

__all__ = ["CoordinateDescentArgs", "CoordinateStep", "Csc", "coordinate_descent"]

SEED, MULTIPLIER, PRIME = 1, 48271, 2**31 - 1
"""Generator of the order of each sweep: ``state * MULTIPLIER % PRIME`` (Park and Miller)."""


class Csc(NamedTuple):
    """Sparse features (N, D), column by column, as in SciPy's CSC: int32 or int64 indices.

    The three tensors of the transpose in CSR are these. Rows within a column ascend, without
    duplicates; nothing of this is checked.
    """

    starts: torch.Tensor
    rows: torch.Tensor
    values: torch.Tensor


class CoordinateStep(NamedTuple):
    """What `coordinate_descent` returns, all in float64 but for the counts.

    Attributes
    ----------
    weights : Tensor, shape (n,)
        Weights after the step.
    shift : Tensor, shape (M,)
        Constant that the step adds to the scores of a task: intercept less origin.
    along : Tensor, shape (M, N)
        What the step adds to the scores, shift included.
    read : Tensor, shape (M, 2), int64
        Entries of the features that were read to compute gradients and to update scores.
    """

    weights: torch.Tensor
    shift: torch.Tensor
    along: torch.Tensor
    read: torch.Tensor


@dataclass(frozen=True, slots=True)
class CoordinateDescentArgs:
    """Arguments of `coordinate_descent`; all tensors but those of the features are contiguous."""

    features: Csc
    slopes: torch.Tensor
    curvatures: torch.Tensor
    bounds: torch.Tensor
    columns: torch.Tensor
    weights: torch.Tensor
    penalty: torch.Tensor
    ridge: float
    origin: torch.Tensor
    unit: float
    reduction: float
    sweeps: int
    limit: int

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.slopes.device


def shuffle(order: list[int], state: int) -> int:
    """Shuffle in place, as every backend does before a sweep; return the next state."""
    for last in range(len(order) - 1, 0, -1):
        state = state * MULTIPLIER % PRIME
        other = state % (last + 1)
        order[last], order[other] = order[other], order[last]
    return state


def bind(
    features: Csc,
    slopes: torch.Tensor,
    curvatures: torch.Tensor,
    *,
    bounds: torch.Tensor,
    columns: torch.Tensor,
    weights: torch.Tensor,
    penalty: torch.Tensor,
    ridge: float = 0.0,
    origin: torch.Tensor | None = None,
    unit: float = 0.0,
    reduction: float = 0.1,
    sweeps: int = 50,
    limit: int | None = None,
) -> CoordinateDescentArgs:
    """Check the arguments of `coordinate_descent`."""
    if features.values.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"features hold {features.values.dtype}; coordinate descent takes float32 and float64"
        )
    if slopes.dim() != 2 or slopes.shape != curvatures.shape:
        raise ValueError(
            f"slopes and curvatures have shapes {tuple(slopes.shape)} and "
            f"{tuple(curvatures.shape)}; both must be (tasks, samples)"
        )
    n_tasks, n = slopes.shape[0], columns.numel()
    origin = slopes.new_zeros(n) if origin is None else origin
    for name, given, size in (
        ("bounds", bounds, n_tasks + 1),
        ("columns", columns, n),
        ("weights", weights, n),
        ("penalty", penalty, n),
        ("origin", origin, n),
    ):
        if tuple(given.shape) != (size,):
            raise ValueError(f"{name} has shape {tuple(given.shape)}; expected ({size},)")
    for name, given in (
        ("slopes", slopes),
        ("curvatures", curvatures),
        ("weights", weights),
        ("penalty", penalty),
        ("origin", origin),
    ):
        refuse_derivative(name, given)
        if given.dtype != torch.float64:
            raise TypeError(f"{name} is {given.dtype}; coordinate descent computes in float64")
    for name, given in (("bounds", bounds), ("columns", columns)):
        if given.dtype != torch.int64:
            raise TypeError(f"{name} is {given.dtype}; pass int64")
    n_columns = features.starts.numel() - 1
    if n and not 0 <= int(columns.min()) <= int(columns.max()) < n_columns:
        raise ValueError(f"columns: an index is out of range for features of {n_columns} columns")
    steps = bounds.diff()
    if int(bounds[0]) != 0 or int(bounds[-1]) != n or bool((steps < 0).any()):
        raise ValueError(f"bounds must ascend from 0 to the number of columns, {n}")
    if sweeps < 0:
        raise ValueError(f"sweeps is {sweeps}; it must be 0 or more")
    return CoordinateDescentArgs(
        features,
        slopes.detach().contiguous(),
        curvatures.detach().contiguous(),
        bounds.contiguous(),
        columns.contiguous(),
        weights.detach().contiguous(),
        penalty.detach().contiguous(),
        checked_scale(ridge, "ridge"),
        origin.detach().contiguous(),
        checked_scale(unit, "unit"),
        checked_scale(reduction, "reduction"),
        int(sweeps),
        torch.iinfo(torch.int64).max if limit is None else int(limit),
    )


COORDINATE_DESCENT = register(
    Operation(
        name="coordinate_descent",
        bind=bind,
        modules={
            backend: f"proxmtl.kernels.{backend}.coordinate_descent"
            for backend in BACKENDS
            if backend != "triton"  # each coordinate waits for the one before it
        },
    )
)


def coordinate_descent(
    features: Csc,
    slopes: torch.Tensor,
    curvatures: torch.Tensor,
    *,
    bounds: torch.Tensor,
    columns: torch.Tensor,
    weights: torch.Tensor,
    penalty: torch.Tensor,
    ridge: float = 0.0,
    origin: torch.Tensor | None = None,
    unit: float = 0.0,
    reduction: float = 0.1,
    sweeps: int = 50,
    limit: int | None = None,
    backend: str | None = None,
) -> CoordinateStep:
    """Minimise the quadratic model of each task over some columns, by coordinate descent.

    For task m, with slopes r and curvatures h of the samples, the model of a step d is::

        Σ_i r_i u_i + ½ Σ_i h_i u_i² + Σ_j p_j |w_j + d_j| + ridge Σ_j (w_j + d_j)²
        u_i = Σ_j (x_ij - o_j) d_j + unit b

    with the columns j of the task, and an intercept step b that is minimised exactly with each
    coordinate; ``unit = 0`` means that there is none. The origin is never subtracted: a step costs
    the stored entries of its columns. The first sweep takes all columns of the task, later ones
    those that are not at rest at zero; once these have reached the accuracy, all once more. Each
    sweep is in a random order of its own, the same in every call.

    A column whose curvature vanishes up to rounding (empty, or constant beside an intercept) gets
    weight 0 if the penalty holds it there, and keeps its weight otherwise.

    Parameters
    ----------
    features : Csc
    slopes, curvatures : Tensor, shape (M, N), float64
        Curvatures at least 0.
    bounds : Tensor, shape (M + 1,), int64
        Entries ``bounds[m]`` to ``bounds[m + 1]`` of the arrays (n,) belong to task m.
    columns : Tensor, shape (n,), int64
        Columns of the features; distinct within a task.
    weights, penalty : Tensor, shape (n,), float64
        w, and p at least 0.
    ridge : float
        At least 0.
    origin : Tensor, shape (n,), float64, optional
        o. An intercept takes it up, whatever it is.
    unit : float
        Value of the intercept's column.
    reduction : float
        Sweeps end when the norm of the least subgradients met in one is at most this fraction of
        that at the start.
    sweeps : int
        Most sweeps of a task.
    limit : int, optional
        Most entries that a task may read after those of its columns, which give the gradients at
        the start.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    CoordinateStep

    Raises
    ------
    ValueError
        A shape that does not fit, columns out of range, a negative number, an argument that
        requires grad.
    TypeError
        A dtype that is not served.

    References
    ----------
    Friedman, Hastie, Tibshirani, "Regularization paths for generalized linear models via coordinate
    descent", 2010; Yuan, Ho, Lin, "An improved GLMNET for l1-regularized logistic regression",
    2012.
    """
    args = bind(
        features,
        slopes,
        curvatures,
        bounds=bounds,
        columns=columns,
        weights=weights,
        penalty=penalty,
        ridge=ridge,
        origin=origin,
        unit=unit,
        reduction=reduction,
        sweeps=sweeps,
        limit=limit,
    )
    result: CoordinateStep = COORDINATE_DESCENT.run(args, backend)
    return result
