# ruff: noqa: ANN001, ANN201 - compiled by Triton, which has its own types
# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""Loss and slope of one sample, shared by the GPU kernels of `hinge_value_and_grad`."""

import triton
import triton.language as tl

SQUARED_HINGE = tl.constexpr(0)
LOGISTIC = tl.constexpr(1)
SQUARED = tl.constexpr(2)


@triton.jit
def sample(z, y, c, LOSS: tl.constexpr):
    """Loss c φ(z; y) and slope c φ'(z; y), zero for a missing label; NaN stays NaN."""
    if LOSS == SQUARED:
        difference = z - y
        value = 0.5 * difference * difference
        slope = difference
        missing = c == 0
    else:
        t = y * z
        missing = (c == 0) | (y == 0)
        if LOSS == SQUARED_HINGE:
            slack = 1.0 - t
            slack = tl.where(slack <= 0, 0.0, slack)
            value = 0.5 * slack * slack
            slope = -y * slack
        else:
            small = tl.exp(-tl.abs(t))  # never overflows
            value = tl.where(t > 0, 0.0, -t) + log1p(small)
            slope = -y * tl.where(t > 0, small, 1.0) / (1.0 + small)
    return tl.where(missing, 0.0, c * value), tl.where(missing, 0.0, c * slope)


@triton.jit
def log1p(u):
    """log(1 + u) for u in [0, 1] to a few ulp, without a device library (Kahan's correction)."""
    rounded = 1.0 + u
    lost = rounded - 1.0
    safe = tl.where(lost == 0, 1.0, lost)
    return tl.where(lost == 0, u, tl.log(rounded) * (u / safe))
