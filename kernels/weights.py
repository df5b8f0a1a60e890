"""Weights of norms, checked once per tensor and remembered."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

_known: dict[int, tuple[Any, int]] = {}


def checked_weights(
    weights: torch.Tensor | float, shape: Sequence[int], device: torch.device
) -> torch.Tensor:
    """Weights as a tensor of this shape or, when all are the same number, (1,).

    Parameters
    ----------
    weights : Tensor, or number
        Finite, not negative; a tensor must broadcast to the shape. Its entries are looked at once
        per tensor (on a GPU that waits for the device).
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
        if not 0 <= number < float("inf"):
            raise ValueError(f"weights is {number}; it must be finite and 0 or more")
        return torch.full((1,), number, dtype=torch.float64, device=device)
    if not weights.is_floating_point():
        raise TypeError(f"weights has dtype {weights.dtype}; pass floating-point numbers")
    _check_sign(weights)
    given = weights.detach().to(device)
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


def group_weights(
    weights: torch.Tensor | float, n_groups: int, device: torch.device
) -> torch.Tensor:
    """Checked weights of groups as contiguous memory, (G,) or, shared by all, (1,)."""
    return checked_weights(weights, (n_groups,), device).contiguous()


def _check_sign(weights: torch.Tensor) -> None:
    key = id(weights)
    tracked = not weights.is_inference()
    if tracked:
        entry = _known.get(key)
        version = weights._version  # noqa: SLF001 - torch has no public name for it
        if entry is not None and entry[0]() is weights and entry[1] == version:
            return
    if weights.is_cuda and torch.cuda.is_current_stream_capturing():
        return
    if weights.numel() and not bool(((weights >= 0) & (weights < float("inf"))).all()):
        raise ValueError(
            "weights has a negative, infinite or NaN entry; every one must be finite and 0 or more"
        )
    if tracked:

        def forget(_: Any, key: int = key) -> None:
            _known.pop(key, None)

        _known[key] = (weakref.ref(weights, forget), version)
