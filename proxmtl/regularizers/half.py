"""Half precision is for storage: regularizers are computed in float32 for it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["COMPUTED", "in_float32"]

COMPUTED = (
    "value",
    "prox",
    "prox_gap",
    "kkt_residual",
    "snap",
    "dual_norm",
    "conjugate",
    "critical_strength",
    "active_gradient",
    "curvature_product",
)
"""Methods that take tensors and compute."""

HALF = (torch.float16, torch.bfloat16)


def in_float32(method: Callable[..., Any]) -> Callable[..., Any]:
    """Give a method float32 for float16 and bfloat16 tensors, and round what it returns.

    Squares of entries above 255, and weights above 65504, are infinite in float16; a step or a
    weight below 6e-8 is zero.
    """

    @functools.wraps(method)
    def widened(self: Any, W: Tensor, *args: Any, **kwargs: Any) -> Any:
        if W.dtype not in HALF:
            return method(self, W, *args, **kwargs)
        found = method(
            self,
            W.float(),
            *map(_wide, args),
            **{name: _wide(value) for name, value in kwargs.items()},
        )
        if isinstance(found, tuple):
            return tuple(_narrow(part, W.dtype) for part in found)
        return _narrow(found, W.dtype)

    return widened


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value


def _narrow(value: Any, dtype: torch.dtype) -> Any:
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
