"""Block coordinate descent: the gradients of all tasks stay in cache, rows of Gram matrices too."""

# ruff: noqa: PLR0917 - compiled loops take flat arrays by position

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from proxmtl.kernels.ops.coordinate_descent import MULTIPLIER, PRIME, SEED

from .jit import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.block_descent import BlockDescentArgs

    Floats = NDArray[np.float64]
    Whole = NDArray[np.int64]


def supports(args: BlockDescentArgs) -> tuple[bool, str]:
    """Tensors on the CPU."""
    if args.device.type != "cpu":
        return False, f"It serves CPU tensors, and these are on {args.device}."
    return True, ""


def run(args: BlockDescentArgs) -> torch.Tensor:
    """Weights after the step."""
    weights, gradient = args.weights.clone(), args.slopes + 2 * args.ridge * args.weights
    members = args.groups.argsort(stable=True)
    bounds = torch.zeros(len(args.penalty) + 1, dtype=torch.int64)
    bounds[1:] = args.groups.bincount(minlength=len(args.penalty)).cumsum(0)
    _descend(
        args.gram.numpy(),
        gradient.numpy(),
        weights.numpy(),
        args.penalty.numpy(),
        members.numpy(),
        bounds.numpy(),
        (args.ridge, args.reduction, args.sweeps),
    )
    return weights


@compiled
def _descend(
    gram: Floats,
    gradient: Floats,
    w: Floats,
    penalty: Floats,
    members: Whole,
    bounds: Whole,
    numbers: tuple[float, float, int],
) -> None:
    """Move the weights, and the gradients with them."""
    ridge, reduction, sweeps = numbers
    n_groups, n = penalty.shape
    square = 0.0
    for g in range(n_groups):
        tasks = members[bounds[g] : bounds[g + 1]]
        for i in range(n):
            violation = _violation(gradient, w, tasks, i, penalty[g, i])
            square += violation * violation
    wanted = reduction * np.sqrt(square)
    resting, full = np.zeros((n_groups, n), np.bool_), True
    order: Whole = np.arange(n)
    state = SEED
    for _ in range(sweeps):
        for last in range(n - 1, 0, -1):
            state = state * MULTIPLIER % PRIME
            other = state % (last + 1)
            order[last], order[other] = order[other], order[last]
        square = 0.0
        for j in order:
            for g in range(n_groups):
                if resting[g, j] and not full:
                    continue
                tasks = members[bounds[g] : bounds[g + 1]]
                p = penalty[g, j]
                violation = _violation(gradient, w, tasks, j, p)
                square += violation * violation
                resting[g, j] = _move(gram, gradient, w, tasks, j, p, ridge) and violation == 0.0
        done = np.sqrt(square) <= wanted
        if full and done:
            break
        full = done


@compiled
def _violation(gradient: Floats, w: Floats, tasks: Whole, j: int, p: float) -> float:
    """Norm of the least subgradient in one block."""
    size, steep = 0.0, 0.0
    for m in tasks:
        size += w[m, j] * w[m, j]
        steep += gradient[m, j] * gradient[m, j]
    if size == 0.0:
        return float(max(np.sqrt(steep) - p, 0.0))
    factor, square = p / np.sqrt(size), 0.0
    for m in tasks:
        part = gradient[m, j] + factor * w[m, j]
        square += part * part
    return float(np.sqrt(square))


@compiled
def _move(
    gram: Floats, gradient: Floats, w: Floats, tasks: Whole, j: int, p: float, ridge: float
) -> bool:
    """Minimise along a block; returns whether it was zero."""
    own = gram.shape[0] > 1
    bend, aimed, steep, alive = 0.0, 0.0, 0.0, False
    for m in tasks:
        bend = max(bend, gram[m * own, j, j])
    bend += 2 * ridge
    for m in tasks:
        aim = bend * w[m, j] - gradient[m, j]
        aimed += aim * aim
        steep += gradient[m, j] * gradient[m, j]
        alive |= w[m, j] != 0.0
    if bend > 0.0:
        scale = max(0.0, 1.0 - p / np.sqrt(aimed)) / bend if aimed > 0.0 else 0.0
    elif not (p > 0.0 and np.sqrt(steep) <= p):
        return not alive
    for m in tasks:
        old = w[m, j]
        new = scale * (bend * old - gradient[m, j]) if bend > 0.0 else 0.0
        move = new - old
        if move == 0.0:
            continue
        w[m, j] = new
        slopes, bent = gradient[m], gram[m * own, j]
        for i in range(slopes.shape[0]):
            slopes[i] += move * bent[i]
        slopes[j] += 2 * ridge * move
    return not alive
