"""Weights of norms: checked in every call, on a GPU once for each tensor."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.weak import WeakTensorKeyDictionary

from .fibres import without_graph

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

# Weights that are compared one by one faster than torch finds the least and the largest.
_FEW = 16
# Version of each tensor on a GPU whose entries have been looked at.
_checked: MutableMapping[torch.Tensor, int] = WeakTensorKeyDictionary()


def checked_weights(
    weights: torch.Tensor | float, shape: Sequence[int], device: torch.device
) -> torch.Tensor:
    """Weights as a tensor of this shape or, when all are the same number, (1,).

    Parameters
    ----------
    weights : Tensor, or number
        Finite, not negative; a tensor must broadcast to the shape. Entries on a GPU are looked at
        once for each tensor, as that waits for the device.
    shape : sequence of int
    device : torch.device
        Where they are needed.

    Returns
    -------
    Tensor
        In the dtype given; float64 for a number.

    Raises
    ------
    TypeError
        When they aren't real numbers.
    ValueError
        When the shape doesn't fit or one is negative, infinite or NaN.
    """
    if not isinstance(weights, torch.Tensor):
        number = float(weights)
        if not 0 <= number < math.inf:
            raise ValueError(f"weights is {number}; it must be finite and 0 or more")
        return _shared(number) if device.type == "cpu" else _shared(number).to(device)
    if not weights.is_floating_point():
        raise TypeError(f"weights has dtype {weights.dtype}; pass floating-point numbers")
    _check_sign(weights)
    given = without_graph(weights)
    if given.device != device:
        given = given.to(device)
    if given.shape == torch.Size(shape) and given.numel() != 1:
        return given
    try:
        spread = given.broadcast_to(tuple(shape))
    except RuntimeError:
        raise ValueError(
            f"weights has shape {tuple(weights.shape)}; pass one number, or a shape that "
            f"broadcasts to {tuple(shape)}"
        ) from None
    return given.reshape(1) if given.numel() == 1 else spread


@lru_cache(maxsize=128)
def _shared(number: float) -> torch.Tensor:
    return torch.from_numpy(np.array([number]))


def group_weights(
    weights: torch.Tensor | float, n_groups: int, device: torch.device
) -> torch.Tensor:
    """Checked weights of groups as contiguous memory, (G,) or, shared by all, (1,)."""
    return checked_weights(weights, (n_groups,), device).contiguous()


def _check_sign(weights: torch.Tensor) -> None:
    if not weights.is_cuda:
        _look(weights)
    elif not torch.cuda.is_current_stream_capturing():
        version = None if weights.is_inference() else weights._version  # noqa: SLF001
        if version is None or _checked.get(weights) != version:
            _look(weights)
        if version is not None:
            _checked[weights] = version


def _look(weights: torch.Tensor) -> None:
    if not weights.numel():
        return
    few = weights.dim() == 1 and len(weights) <= _FEW
    numbers = weights.tolist() if few else [end.item() for end in weights.detach().aminmax()]
    if not all(0 <= number < math.inf for number in numbers):
        raise ValueError(
            "weights has a negative, infinite or NaN entry; every one must be finite and 0 or more"
        )
