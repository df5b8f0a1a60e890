"""Coordinate descent on quadratic models, one torch call after another for each coordinate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.coordinate_descent import SEED, CoordinateStep, shuffle

if TYPE_CHECKING:
    from proxmtl.kernels.ops.coordinate_descent import CoordinateDescentArgs

supports = always

ROUNDING = 4 * torch.finfo(torch.float64).eps


def run(args: CoordinateDescentArgs) -> CoordinateStep:
    """Step of every task."""
    along, shift = torch.zeros_like(args.slopes), args.slopes.new_zeros(len(args.slopes))
    weights = args.weights.clone()
    read = torch.zeros(len(args.slopes), 2, dtype=torch.int64, device=args.device)
    for m in range(len(args.slopes)):
        task = _Task(args, m)
        task.descend()
        weights[task.part] = weights.new_tensor(task.w)
        along[m], shift[m] = task.along(), task.constant
        read[m] = read.new_tensor(task.read)
    return CoordinateStep(weights, shift, along, read)


class _Task:
    """Model of a task, and the point that coordinate descent has reached."""

    def __init__(self, args: CoordinateDescentArgs, m: int) -> None:
        self.args = args
        self.part = slice(int(args.bounds[m]), int(args.bounds[m + 1]))
        self.r, self.h = args.slopes[m], args.curvatures[m]
        self.slope, self.total = float(self.r.sum()), float(self.h.sum())
        self.balances = args.unit > 0 and self.total > 0
        self.constant = -self.slope / self.total if self.balances else 0.0
        self.bent = self.r.clone()
        self.penalty: list[float] = args.penalty[self.part].tolist()
        self.origin: list[float] = args.origin[self.part].tolist()
        self.w: list[float] = args.weights[self.part].tolist()
        self.before = list(self.w)
        self.rows, self.values = [], []
        starts, rows, values = args.features
        for j in args.columns[self.part].tolist():
            own = slice(int(starts[j]), int(starts[j + 1]))
            self.rows.append(rows[own].long())
            self.values.append(values[own].to(torch.float64))
        squares = (args.unit * self.slope) ** 2
        self.cross: list[float] = []
        self.bend: list[float] = []
        for j, (place, x) in enumerate(zip(self.rows, self.values, strict=True)):
            gradient = float(x @ self.r[place]) - self.origin[j] * self.slope
            weighted = x * self.h[place]
            self.cross.append(float(weighted.sum()))
            self.bend.append(self._curvature(j, float(weighted @ x), len(x)))
            squares += self._violation(j, gradient + 2 * args.ridge * self.w[j]) ** 2
        self.wanted = args.reduction * math.sqrt(squares)
        self.read = [sum(map(len, self.rows)), 0]
        used = (self.h > 0) | (self.r != 0)
        self.whole = self.rows, self.values
        parts = [used[place] for place in self.rows]
        self.rows = [place[part] for place, part in zip(self.rows, parts, strict=True)]
        self.values = [x[part] for x, part in zip(self.values, parts, strict=True)]

    def descend(self) -> None:
        """Sweep until the subgradients are small enough, or the sweeps or the limit are over."""
        args = self.args
        full, resting, over = True, [False] * len(self.w), False
        order, state = list(range(len(self.w))), SEED
        for _ in range(args.sweeps):
            squares = 0.0
            state = shuffle(order, state)
            for j in order:
                place = self.rows[j]
                if resting[j] and not full:
                    continue
                over = sum(self.read) + 2 * len(place) > args.limit
                if over:
                    break
                gradient = self._gradient(j) + 2 * args.ridge * self.w[j]
                violation = self._violation(j, gradient)
                squares += violation**2
                resting[j] = self.w[j] == 0 and violation == 0
                self._move(j, self._minimiser(j, gradient))
            done = math.sqrt(squares) <= self.wanted
            if over or (full and done):
                break
            full = done

    def along(self) -> torch.Tensor:
        """What the step adds to the scores."""
        out = torch.full_like(self.r, self.constant)
        for place, x, new, old in zip(*self.whole, self.w, self.before, strict=True):
            if new != old:
                out[place] += (new - old) * x
                self.read[1] += len(x)
        return out

    def _gradient(self, j: int) -> float:
        x = self.values[j]
        self.read[0] += len(x)
        gradient = float(x @ self.bent[self.rows[j]]) + self.constant * self.cross[j]
        if self.args.unit > 0:
            return gradient
        return gradient - self.origin[j] * (self.slope + self.constant * self.total)

    def _move(self, j: int, new: float) -> None:
        move, place, x = new - self.w[j], self.rows[j], self.values[j]
        if move == 0:
            return
        self.w[j] = new
        self.bent[place] += move * x * self.h[place]
        self.read[1] += len(x)
        self.slope += move * self.cross[j]
        if self.args.unit == 0:
            self.constant -= move * self.origin[j]
        elif self.total > 0:
            self.constant = -self.slope / self.total

    def _violation(self, j: int, gradient: float) -> float:
        if self.w[j] == 0:
            return max(abs(gradient) - self.penalty[j], 0.0)
        return abs(gradient + math.copysign(self.penalty[j], self.w[j]))

    def _minimiser(self, j: int, gradient: float) -> float:
        bend, penalty, w = self.bend[j] + 2 * self.args.ridge, self.penalty[j], self.w[j]
        if bend > 0:
            aim = bend * w - gradient
            return math.copysign(max(abs(aim) - penalty, 0.0), aim) / bend
        return 0.0 if penalty > 0 and abs(gradient) <= penalty else w

    def _curvature(self, j: int, second: float, n: int) -> float:
        cross, origin = self.cross[j], self.origin[j]
        if self.args.unit > 0:
            found = second - cross * (cross / self.total) if self.total > 0 else 0.0
        else:
            found = second - origin * (2 * cross - origin * self.total)
        return found if found > ROUNDING * (n + 2) * second else 0.0
