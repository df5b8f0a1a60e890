"""Block coordinate descent, one torch call after another for each block."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.coordinate_descent import SEED, shuffle

if TYPE_CHECKING:
    from proxmtl.kernels.ops.block_descent import BlockDescentArgs

supports = always


def run(args: BlockDescentArgs) -> torch.Tensor:
    """Weights after the step."""
    descent = _Descent(args)
    descent.run()
    return descent.w


class _Descent:
    """The point that the descent has reached, and the gradient of the model there, (M, n)."""

    def __init__(self, args: BlockDescentArgs) -> None:
        self.args, self.w = args, args.weights.clone()
        self.gram = args.gram.expand(len(args.slopes), *args.gram.shape[1:])
        self.members = [torch.nonzero(args.groups == g).flatten() for g in range(len(args.penalty))]
        self.penalty: list[list[float]] = args.penalty.tolist()
        self.gradient = args.slopes + 2 * args.ridge * self.w
        self.bends = self.gram.diagonal(dim1=1, dim2=2) + 2 * args.ridge

    def run(self) -> None:
        """Sweep until the subgradients are small enough, or the sweeps are over."""
        args, n = self.args, self.w.shape[1]
        blocks = [(g, j) for j in range(n) for g in range(len(self.members))]
        wanted = args.reduction * math.sqrt(sum(self._violation(g, j) ** 2 for g, j in blocks))
        resting, full, state, order = dict.fromkeys(blocks, False), True, SEED, list(range(n))
        for _ in range(args.sweeps):
            squares = 0.0
            state = shuffle(order, state)
            for j in order:
                for g, tasks in enumerate(self.members):
                    if not len(tasks) or (resting[g, j] and not full):
                        continue
                    violation = self._violation(g, j)
                    squares += violation**2
                    resting[g, j] = violation == 0 and not bool(self.w[tasks, j].any())
                    self._move(tasks, j, self.penalty[g][j])
            done = math.sqrt(squares) <= wanted
            if full and done:
                break
            full = done

    def _violation(self, g: int, j: int) -> float:
        tasks, p = self.members[g], self.penalty[g][j]
        slope, w = self.gradient[tasks, j], self.w[tasks, j]
        size = float(w.norm())
        if size == 0:
            return max(float(slope.norm()) - p, 0.0)
        return float((slope + p * w / size).norm())

    def _move(self, tasks: torch.Tensor, j: int, p: float) -> None:
        slope, old = self.gradient[tasks, j], self.w[tasks, j]
        bend = float(self.bends[tasks, j].max())
        new = old
        if bend > 0:
            aim = bend * old - slope
            size = float(aim.norm())
            new = aim * (max(0.0, 1 - p / size) if size > 0 else 1.0) / bend
        elif p > 0 and float(slope.norm()) <= p:
            new = torch.zeros_like(old)
        move = new - old
        if not bool(move.any()):
            return
        self.w[tasks, j] = new
        self.gradient[tasks] += move[:, None] * self.gram[tasks, j]
        self.gradient[tasks, j] += 2 * self.args.ridge * move
