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
    shift = args.slopes.new_zeros(len(args.slopes))
    read = torch.zeros(len(args.slopes), 2, dtype=torch.int64)
    bounds = args.bounds.tolist()
    for m in range(len(args.slopes)):
        part = slice(bounds[m], bounds[m + 1])
        model = _Model.of(args, m, part)
        found = _descend(args, model, to_float64(args.weights[part]))
        read[m, 0], read[m, 1] = found.looked, found.moved
        weights[part] = torch.from_numpy(found.weights)
        move = found.weights - to_float64(args.weights[part])
        step = model.X @ move
        constant = -(model.r.sum() + model.h @ step) / model.h.sum() if model.centred else 0.0
        along[m] = torch.from_numpy(step + constant)
        shift[m] = constant - float(to_float64(args.origin[part]) @ move)
    return CoordinateStep(weights, shift, along, read)


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
    parts: list[int]  # entries of samples that the model depends on
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
        used = (h > 0) | (r != 0)
        parts = [int(np.count_nonzero(used & _stored(args.features, j, len(r)))) for j in columns]
        penalty: list[float] = args.penalty[part].tolist()
        return cls(X, r, h, centred, hessian, X.T @ r, C.T @ r, sizes, parts, penalty)


class _Found(NamedTuple):
    weights: NDArray[np.float64]
    looked: int
    moved: int


def _descend(args: CoordinateDescentArgs, model: _Model, before: NDArray[np.float64]) -> _Found:
    w, double = before.copy(), 2 * args.ridge
    at_start = [
        _violation(float(g) + double * float(v), float(v), p)
        for g, v, p in zip(model.start, w, model.penalty, strict=True)
    ]
    wanted = args.reduction * float(np.linalg.norm([*at_start, args.unit * model.r.sum()]))
    looked, moved = sum(model.sizes), 0
    full, resting, over = True, [False] * len(w), False
    order, state = list(range(len(w))), SEED
    for _ in range(args.sweeps):
        met = []
        state = shuffle(order, state)
        for j in order:
            size = model.parts[j]
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
    return _Found(w, looked, moved)


def _violation(gradient: float, weight: float, penalty: float) -> float:
    """Absolute value of the least subgradient in one coordinate."""
    if weight == 0:
        return abs(soft(gradient, penalty))
    return abs(gradient + (penalty if weight > 0 else -penalty))


def _stored(features: Csc, j: int, n: int) -> NDArray[np.bool_]:
    stored = np.zeros(n, np.bool_)
    stored[features.rows[int(features.starts[j]) : int(features.starts[j + 1])].cpu().numpy()] = (
        True
    )
    return stored


def _column(features: Csc, j: int, n: int) -> NDArray[np.float64]:
    column = np.zeros(n)
    values = features.values[int(features.starts[j]) : int(features.starts[j + 1])]
    column[_stored(features, j, n)] = to_float64(values)  # rows ascend
    return column
