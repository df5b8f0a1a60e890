"""One view of every tensor: fibres along an axis, as memory (outer, n, inner)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


class Fibres(NamedTuple):
    """A dense tensor as contiguous memory (outer, n, inner); fibres run along the middle."""

    tensor: torch.Tensor
    outer: int
    n: int
    inner: int


def fibres(tensor: torch.Tensor, axis: int) -> Fibres | None:
    """View of a tensor as memory (outer, n, inner); None when its strides allow no such view.

    Parameters
    ----------
    tensor : Tensor
    axis : int
        Axis of the fibres, from 0.

    Returns
    -------
    Fibres or None
        ``.tensor`` shares the memory and is contiguous.
    """
    if tensor.is_contiguous():
        shape = tensor.shape
        return Fibres(tensor, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
    if tensor.dim() == 2 and tensor.t().is_contiguous():
        return fibres(tensor.t(), 1 - axis)
    return None


def checked_axis(tensor: torch.Tensor, axis: int, name: str = "V") -> int:
    """Axis counted from 0.

    Raises
    ------
    ValueError
        When the tensor has no such axis.
    """
    n_dims = tensor.dim()
    if not -n_dims <= axis < n_dims:
        raise ValueError(f"axis is {axis} but {name} has {n_dims} dimensions")
    return axis % n_dims


def checked_float(tensor: torch.Tensor, name: str) -> None:
    """Raise TypeError unless the argument is a real floating-point tensor.

    Raises
    ------
    TypeError
        With the name of the argument and what was seen.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; pass a floating-point tensor")
    if tensor.dtype not in FLOATS:
        raise TypeError(
            f"{name} has dtype {tensor.dtype}; pass float64, float32, bfloat16 or float16"
        )


def checked_like(tensor: torch.Tensor, model: torch.Tensor, name: str, model_name: str) -> None:
    """Raise unless a tensor has the shape, dtype and device of a model.

    Raises
    ------
    TypeError
        When it is no tensor.
    ValueError
        With both names and what was seen.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name} is a {type(tensor).__name__}; pass a tensor like {model_name}")
    for what in ("shape", "dtype", "device"):
        seen, wanted = getattr(tensor, what), getattr(model, what)
        if seen != wanted:
            if what == "shape":
                seen, wanted = tuple(seen), tuple(wanted)
            raise ValueError(
                f"{name} has {what} {seen} but {model_name} has {wanted}; they must agree"
            )


def checked_scale(value: torch.Tensor | float, name: str) -> float:
    """A number as a float; raises ValueError if it is negative, infinite or NaN.

    Raises
    ------
    ValueError
        With the name of the argument and what was seen.
    """
    value = float(value)
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is {value}; it must be finite and 0 or more")
    return value


def without_graph(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, apart from any graph of autograd."""
    return tensor.detach() if tensor.requires_grad else tensor


def accumulation_dtype(tensor: torch.Tensor) -> torch.dtype:
    """float64 for float64, float32 for everything narrower."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32
