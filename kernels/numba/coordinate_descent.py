"""Coordinate descent on quadratic models: a task's slopes stay in cache, columns stream by."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxmtl.kernels.ops.coordinate_descent import MULTIPLIER, PRIME, SEED, CoordinateStep

from .jit import compiled, inlined
from .pool import run_pieces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.coordinate_descent import CoordinateDescentArgs

    Floats = NDArray[np.float64]
    Features = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    Chosen = tuple[NDArray[np.int64], Floats, Floats, Floats]
    """Columns of a task, their penalties, origins and weights."""

SLOPE, TOTAL, CONSTANT = 0, 1, 2
"""Sums over samples: the slopes less the constant's part, the curvatures; the constant itself."""

FLAT = 4 * float(np.finfo(np.float64).eps)
"""Rounding error of a curvature, relative to its largest term, for each entry of the column."""


def supports(args: CoordinateDescentArgs) -> tuple[bool, str]:
    """Tensors on the CPU."""
    if args.device.type != "cpu":
        return False, f"It serves CPU tensors, and these are on {args.device}."
    return True, ""


def run(args: CoordinateDescentArgs) -> CoordinateStep:
    """Step of every task, one task after another on each thread."""
    n_tasks = len(args.slopes)
    weights, along = args.weights.clone(), torch.zeros_like(args.slopes)
    shift = args.slopes.new_zeros(n_tasks)
    read = torch.zeros(n_tasks, 2, dtype=torch.int64)
    starts, rows, values = (each.numpy() for each in args.features)
    # a signed index is tested for counting from the end: that takes as long as the product
    features = starts, rows.view(f"uint{8 * rows.itemsize}"), values
    chosen = args.columns.numpy(), args.penalty.numpy(), args.origin.numpy()
    numbers = args.ridge, args.unit, args.reduction, args.sweeps, args.limit
    outputs = shift.numpy(), read.numpy()
    slopes, curvatures = args.slopes.numpy(), args.curvatures.numpy()
    bounds = args.bounds.tolist()
    w, u = weights.numpy(), along.numpy()
    calls = []
    for m in range(n_tasks):
        part = slice(bounds[m], bounds[m + 1])
        own = tuple(each[part] for each in (*chosen, w))
        samples = slopes[m], curvatures[m]
        calls.append((features, samples, own, numbers, u[m], m, outputs))
    run_pieces(_step, calls)
    return CoordinateStep(weights, shift, along, read)


@compiled
def _step(
    features: Features,
    samples: tuple[Floats, Floats],
    chosen: Chosen,
    numbers: tuple[float, float, float, int, int],
    along: Floats,
    task: int,
    outputs: tuple[Floats, NDArray[np.int64]],
) -> None:
    slopes, h = samples
    ridge, unit, reduction, sweeps, limit = numbers
    shift, read = outputs
    n = chosen[0].shape[0]
    mixed, bend, sums = np.empty(n), np.empty(n), np.zeros(3)
    counts = read[task]
    columns, penalty, origin, w = chosen
    for j in range(n):
        counts[0] += features[0][columns[j] + 1] - features[0][columns[j]]
    part = (
        np.zeros(n + 1, np.int64),
        np.empty(counts[0], features[1].dtype),
        np.empty(counts[0], features[2].dtype),
    )
    residual = _at_start(features, samples, chosen, (ridge, unit), (mixed, bend), sums, part)
    before = w.copy()
    bent = slopes.copy()
    if unit > 0 and sums[TOTAL] > 0:
        sums[CONSTANT] = -sums[SLOPE] / sums[TOTAL]
    wanted = reduction * residual
    resting, full = np.zeros(n, np.bool_), True
    order, state = np.arange(n), SEED
    for _ in range(sweeps):
        for last in range(n - 1, 0, -1):
            state = state * MULTIPLIER % PRIME
            other = state % (last + 1)
            order[last], order[other] = order[other], order[last]
        met = _sweep(
            part,
            (bent, h),
            (penalty, origin, w),
            (ridge, unit),
            (mixed, bend),
            sums,
            (order, resting, full),
            counts,
            limit,
        )
        if met < 0 or (full and met <= wanted):
            break
        full = met <= wanted
    shift[task] = sums[CONSTANT]
    for i in range(along.shape[0]):
        along[i] = sums[CONSTANT]
    for j in range(n):
        move = w[j] - before[j]
        if move != 0.0:
            place, entries = _column(features, columns[j])
            counts[1] += place.shape[0]
            for k in range(place.shape[0]):
                along[place[k]] += move * np.float64(entries[k])


@compiled
def _at_start(
    features: Features,
    samples: tuple[Floats, Floats],
    chosen: Chosen,
    numbers: tuple[float, float],
    curvatures: tuple[Floats, Floats],
    sums: Floats,
    part: Features,
) -> float:
    """Norm of the least subgradient; sums over samples, and over the entries of each column.

    Those entries that the model depends on are copied to ``part``.
    """
    slopes, h = samples
    mixed, bend = curvatures
    starts, rows, values = part
    columns, penalty, origin, w = chosen
    ridge, unit = numbers
    for i in range(h.shape[0]):
        sums[SLOPE] += slopes[i]
        sums[TOTAL] += h[i]
    square = unit * sums[SLOPE] * unit * sums[SLOPE]
    for j in range(columns.shape[0]):
        gradient, cross, second = 0.0, 0.0, 0.0
        end = starts[j]
        place, entries = _column(features, columns[j])
        for k in range(place.shape[0]):
            x, i = np.float64(entries[k]), place[k]
            gradient += x * slopes[i]
            cross += x * h[i]
            second += x * x * h[i]
            rows[end], values[end] = i, entries[k]
            end += h[i] > 0 or slopes[i] != 0
        starts[j + 1] = end
        gradient -= origin[j] * sums[SLOPE]
        violation = _violation(gradient + 2 * ridge * w[j], w[j], penalty[j])
        square += violation * violation
        mixed[j] = cross
        bend[j] = _curvature(second, cross, sums[TOTAL], origin[j], unit, place.shape[0])
    return float(np.sqrt(square))


@compiled
def _sweep(
    part: Features,
    samples: tuple[Floats, Floats],
    chosen: tuple[Floats, Floats, Floats],
    numbers: tuple[float, float],
    curvatures: tuple[Floats, Floats],
    sums: Floats,
    plan: tuple[NDArray[np.int64], NDArray[np.bool_], bool],
    counts: NDArray[np.int64],
    limit: int,
) -> float:
    """Norm of the subgradients met in a sweep; -1 if the next column would exceed the limit."""
    bent, h = samples  # bent: slopes of the model, r + h (X d), without the constant of the scores
    penalty, origin, w = chosen
    ridge, unit = numbers
    mixed, bend = curvatures
    order, resting, full = plan
    slope, total, constant = sums
    square = 0.0
    for j in order:
        if resting[j] and not full:
            continue
        place, entries = _column(part, j)
        if counts[0] + counts[1] + 2 * place.shape[0] > limit:
            square = np.inf
            break
        gradient = constant * mixed[j]
        for k in range(place.shape[0]):
            gradient += np.float64(entries[k]) * bent[place[k]]
        counts[0] += place.shape[0]
        if unit == 0.0:
            gradient -= origin[j] * (slope + constant * total)
        old = w[j]
        gradient += 2 * ridge * old
        violation = _violation(gradient, old, penalty[j])
        square += violation * violation
        resting[j] = old == 0.0 and violation == 0.0
        new = _minimiser(gradient, bend[j] + 2 * ridge, old, penalty[j])
        move = new - old
        if move == 0.0:
            continue
        w[j] = new
        for k in range(place.shape[0]):
            i = place[k]
            bent[i] += move * np.float64(entries[k]) * h[i]
        counts[1] += place.shape[0]
        slope += move * mixed[j]
        if unit == 0.0:
            constant -= move * origin[j]
        elif total > 0:
            constant = -slope / total
    sums[SLOPE], sums[CONSTANT] = slope, constant
    return -1.0 if square == np.inf else float(np.sqrt(square))


@inlined
def _column(features: Features, j: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows and values of a column, as arrays of their own: loops over them take half the time."""
    starts, rows, values = features
    return rows[starts[j] : starts[j + 1]], values[starts[j] : starts[j + 1]]


@compiled
def _violation(gradient: float, w: float, penalty: float) -> float:
    """Absolute value of the least subgradient in one coordinate."""
    if w == 0.0:
        return max(abs(gradient) - penalty, 0.0)
    return abs(gradient + (penalty if w > 0 else -penalty))


@compiled
def _curvature(
    second: float, cross: float, total: float, origin: float, unit: float, n: int
) -> float:
    """Curvature of the model along a column less its origin, or less its mean by an intercept."""
    if unit > 0:
        if not total > 0:
            return 0.0
        found = second - cross * (cross / total)
    else:
        found = second - origin * (2 * cross - origin * total)
        if origin == 0.0:
            return found
    return found if found > FLAT * (n + 2) * second else 0.0


@compiled
def _minimiser(gradient: float, bend: float, w: float, penalty: float) -> float:
    """Minimiser of ``gradient (v - w) + bend (v - w)^2 / 2 + penalty |v|`` over v."""
    if bend > 0:
        aim = bend * w - gradient
        if aim > penalty:
            return (aim - penalty) / bend
        if aim < -penalty:
            return (aim + penalty) / bend
        return 0.0
    if penalty > 0 and abs(gradient) <= penalty:
        return 0.0
    return w
