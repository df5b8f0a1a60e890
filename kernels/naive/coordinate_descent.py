"""Coordinate descent on quadratic models, with the chosen columns and their Hessian as matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.coordinate_descent import SEED, CoordinateStep, shuffle

from .loops import soft, to_float64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.coordinate_descent import CoordinateDescentArgs, Csc

supports = always

ROUNDING = 4 * float(np.finfo(np.float64).eps)


def run(args: CoordinateDescentArgs) -> CoordinateStep:
    """Step of every task."""
    weights, along = args.weights.clone(), torch.zeros_like(args.slopes)
    shift, residual = torch.zeros_like(args.targets), torch.zeros_like(args.targets)
    read = torch.zeros(len(args.targets), 2, dtype=torch.int64)
    bounds = args.bounds.tolist()
    for m in range(len(args.targets)):
        part = slice(bounds[m], bounds[m + 1])
        model = _Model.of(args, m, part)
        found = _descend(args, m, model, to_float64(args.weights[part]))
        residual[m], read[m, 0], read[m, 1] = found.residual, found.looked, found.moved
        weights[part] = torch.from_numpy(found.weights)
        move = found.weights - to_float64(args.weights[part])
        if found.moved_at_all:
            step = model.X @ move
            constant = -(model.r.sum() + model.h @ step) / model.h.sum() if model.centred else 0.0
            along[m] = torch.from_numpy(step + constant)
            shift[m] = constant - float(to_float64(args.origin[part]) @ move)
    return CoordinateStep(weights, shift, along, residual, read)


class _Model(NamedTuple):
    """Columns less the origin (N, n), slopes and curvatures (N,), Hessian (n, n), gradient (n,)."""

    X: NDArray[np.float64]
    r: NDArray[np.float64]
    h: NDArray[np.float64]
    centred: bool
    hessian: NDArray[np.float64]
    start: NDArray[np.float64]
    gradient: NDArray[np.float64]
    sizes: list[int]
    penalty: list[float]

    @classmethod
    def of(cls, args: CoordinateDescentArgs, m: int, part: slice) -> _Model:
        columns = args.columns[part].tolist()
        r, h = to_float64(args.slopes[m]), to_float64(args.curvatures[m])
        X = np.stack([_column(args.features, j, len(r)) for j in columns] or [r * 0], axis=1)
        X = X[:, : len(columns)] - to_float64(args.origin[part])
        centred = args.unit > 0 and bool(h.sum() > 0)
        # beside an intercept that is always the best, columns count less their weighted means
        C = X - h @ X / h.sum() if centred else X
        hessian = C.T @ (h[:, None] * C)
        squares = [float((h * _column(args.features, j, len(r)) ** 2).sum()) for j in columns]
        sizes = [int(args.features.starts[j + 1] - args.features.starts[j]) for j in columns]
        for j, (square, size) in enumerate(zip(squares, sizes, strict=True)):
            if not hessian[j, j] > ROUNDING * (size + 2) * square:
                hessian[j, j] = 0.0
        penalty: list[float] = args.penalty[part].tolist()
        return cls(X, r, h, centred, hessian, X.T @ r, C.T @ r, sizes, penalty)


class _Found(NamedTuple):
    weights: NDArray[np.float64]
    residual: float
    looked: int
    moved: int
    moved_at_all: bool


def _descend(
    args: CoordinateDescentArgs, m: int, model: _Model, before: NDArray[np.float64]
) -> _Found:
    w, target, double = before.copy(), float(args.targets[m]), 2 * args.ridge
    at_start = [
        _violation(float(g) + double * float(v), float(v), p)
        for g, v, p in zip(model.start, w, model.penalty, strict=True)
    ]
    residual = float(np.linalg.norm([*at_start, args.unit * model.r.sum()]))
    looked, moved = sum(model.sizes), 0
    if not residual > target:
        return _Found(w, residual, looked, moved, False)
    wanted = max(args.reduction * residual, target / 2)
    full, resting, over = True, [False] * len(w), False
    order, state = list(range(len(w))), SEED
    for _ in range(args.sweeps):
        met = []
        state = shuffle(order, state)
        for j in order:
            size = model.sizes[j]
            if resting[j] and not full:
                continue
            over = looked + moved + 2 * size > args.limit
            if over:
                break
            looked += size
            old, bend = float(w[j]), float(model.hessian[j, j]) + double
            gradient = float(model.gradient[j] + model.hessian[j] @ (w - before)) + double * old
            met.append(_violation(gradient, old, model.penalty[j]))
            resting[j] = old == 0 and met[-1] == 0
            if bend > 0:
                w[j] = soft(bend * old - gradient, model.penalty[j]) / bend
            elif model.penalty[j] > 0 and abs(gradient) <= model.penalty[j]:
                w[j] = 0.0
            moved += size * (w[j] != old)
        done = float(np.linalg.norm(met)) <= wanted
        if over or (full and done):
            break
        full = done
    moved += sum(size for size, a, b in zip(model.sizes, w, before, strict=True) if a != b)
    return _Found(w, residual, looked, moved, True)


def _violation(gradient: float, weight: float, penalty: float) -> float:
    """Absolute value of the least subgradient in one coordinate."""
    if weight == 0:
        return abs(soft(gradient, penalty))
    return abs(gradient + (penalty if weight > 0 else -penalty))


def _column(features: Csc, j: int, n: int) -> NDArray[np.float64]:
    first, last = int(features.starts[j]), int(features.starts[j + 1])
    column = np.zeros(n)
    column[features.rows[first:last].cpu().numpy()] = to_float64(features.values[first:last])
    return column
