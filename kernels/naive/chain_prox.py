"""Prox of total variation along chains: the derivative kept as plain lines, none dropped early."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from proxmtl.kernels.dispatch import always

from .loops import along, number, to_float64, written

if TYPE_CHECKING:
    import torch

    from proxmtl.kernels.ops.chain_prox import ChainArgs

Line = tuple[float, float, float, float]
"""Left end, right end, slope and offset of one piece of a rising piecewise linear function."""

supports = always


def run(args: ChainArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Prox of every fibre, and the penalty there."""
    array = to_float64(args.V)
    shape = list(array.shape)
    shape[args.axis] = max(shape[args.axis] - 1, 0)
    weights = np.array(np.broadcast_to(to_float64(args.weights), shape))
    value = 0.0
    for row, edges in zip(along(array, args.axis), along(weights, args.axis), strict=True):
        if row.size:
            row[:] = _prox(row.tolist(), [args.step * float(w) for w in edges])
        value += sum(
            float(w) * abs(float(b) - float(a))
            for w, a, b in zip(edges, row[:-1], row[1:], strict=True)
        )
    return written(array, args.V, None), number(value, args.V)


def _prox(v: list[float], radius: list[float]) -> list[float]:
    if not np.isfinite(v).all():
        return [float("nan")] * len(v)
    inf = float("inf")
    lines: list[Line] = [(-inf, inf, 1.0, -v[0])]
    bounds = []
    for k, w in enumerate(radius):
        low, high = _root(lines, -w), _root(lines, w)
        bounds.append((low, high))
        inside = [(max(a, low), min(b, high), s, c) for a, b, s, c in lines if b > low and a < high]
        clipped = [(-inf, low, 0.0, -w), *inside, (high, inf, 0.0, w)]
        lines = [(a, b, s + 1.0, c - v[k + 1]) for a, b, s, c in clipped]
    x = [_root(lines, 0.0)]
    for low, high in reversed(bounds):
        x.append(min(max(x[-1], low), high))
    return x[::-1]


def _root(lines: list[Line], level: float) -> float:
    """Where the function first reaches a level."""
    for _, right, slope, offset in lines:
        if right == float("inf") or slope * right + offset >= level:
            return (level - offset) / slope
    raise AssertionError  # the last piece has no right end
