"""Oracle of `hinge_value_and_grad`: one sample at a time, in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmtl.kernels.ops.hinge_args import HingeArgs, HingeResult

supports = always


def run(args: HingeArgs) -> HingeResult:
    """Σ_i c_i φ(x_iᵀ w + b; y_i) and its gradient, sample after sample."""
    phi = _LOSSES[args.loss]
    value = torch.zeros(args.n_tasks, dtype=torch.float64)
    grad = torch.zeros(args.n_tasks, args.n_features, dtype=torch.float64)
    grad_bias = torch.zeros(args.n_tasks, dtype=torch.float64)
    scores = args.empty_scores()
    for m, (x_task, y_task, c_task) in enumerate(args.tasks()):
        w = args.weights[m].double().cpu()
        b = 0.0 if args.bias is None else float(args.bias[m])
        for i in range(len(x_task)):
            x, y = x_task[i].double().cpu(), float(y_task[i])
            c = 1.0 if c_task is None else float(c_task[i])
            z = float((x * w).sum()) + b
            loss, slope = phi(z, y)
            if c == 0.0 or (y == 0.0 and args.loss != "squared"):
                loss = slope = c = 0.0
            value[m] += c * loss
            grad[m] += c * slope * x
            grad_bias[m] += c * slope
            if args.kind == "ragged":
                scores[m][i] = z
            else:
                scores[0][m, i] = z
    return args.result(
        value.to(args.device),
        grad.to(args.device, args.dtype),
        grad_bias.to(args.device, args.dtype),
        scores,
    )


def squared_hinge(z: float, y: float) -> tuple[float, float]:
    """½ max(0, 1 − y z)² and −y max(0, 1 − y z)."""
    slack = 1.0 - y * z
    slack = 0.0 if slack <= 0.0 else slack  # noqa: FURB136 - max(0.0, nan) is 0.0
    return 0.5 * slack * slack, -y * slack


def logistic(z: float, y: float) -> tuple[float, float]:
    """log(1 + e^{−y z}) and −y / (1 + e^{y z})."""
    t = y * z
    if math.isnan(t):
        return t, t
    small = math.exp(-abs(t))  # never overflows
    return max(-t, 0.0) + math.log1p(small), -y * (small if t > 0 else 1.0) / (1.0 + small)


def squared(z: float, y: float) -> tuple[float, float]:
    """½ (z − y)² and z − y."""
    return 0.5 * (z - y) ** 2, z - y


_LOSSES: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "squared_hinge": squared_hinge,
    "logistic": logistic,
    "squared": squared,
}
