"""Checks that the memory of a result does not overlap memory that is still to be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .fibres import checked_like


def checked_out(out: torch.Tensor, V: torch.Tensor, weights: torch.Tensor | float) -> None:
    """Raise unless ``out`` fits the input and overlaps neither part of it nor the weights.

    The input itself is fine: every entry is read before it is overwritten. A weight may be read
    for many entries, so weights lie apart.

    Parameters
    ----------
    out : Tensor
    V : Tensor
        The input, and the model of shape, dtype and device.
    weights : Tensor or number

    Raises
    ------
    ValueError
        With the names and what was seen.
    """
    checked_like(out, V, "out", "V")
    if out is not V and not _same(out, V):
        checked_apart(out, "out", V, "V")
    checked_apart(out, "out", weights, "weights")


def checked_apart(left: torch.Tensor, name: str, right: Any, other: str) -> None:
    """Raise ValueError if two tensors overlap in memory; arguments that are no tensors pass.

    Raises
    ------
    ValueError
        With both names.
    """
    if not isinstance(right, torch.Tensor) or left.device != right.device:
        return
    if not left.numel() or not right.numel():
        return
    # Addresses, not storages: two storages over one array of numpy share its memory.
    (start, stop), (first, last) = _extent(left), _extent(right)
    if stop <= first or last <= start:
        return
    try:
        # numpy takes any bound on its work; its stubs know two of them.
        shared = np.shares_memory(_footprint(left), _footprint(right), max_work=1000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        shared = True
    if shared:
        raise ValueError(
            f"{name} overlaps the memory of {other}, which would be overwritten while it is read; "
            "pass memory of its own"
        )


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether two tensors of one shape and dtype have each entry at the same address."""
    strides = zip(left.shape, left.stride(), right.stride(), strict=True)
    return left.data_ptr() == right.data_ptr() and all(n == 1 or s == t for n, s, t in strides)


def _extent(tensor: torch.Tensor) -> tuple[int, int]:
    """Address of the first byte of a tensor that isn't empty, and of the one after its last."""
    start = tensor.data_ptr()
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    return start, start + (last + 1) * tensor.element_size()


class _Memory:
    """Address, shape and strides of a tensor as numpy reads them."""

    def __init__(self, tensor: torch.Tensor) -> None:
        size = tensor.element_size()
        self.__array_interface__ = {
            "version": 3,
            "data": (tensor.data_ptr(), True),
            "shape": tuple(tensor.shape),
            "strides": tuple(size * stride for stride in tensor.stride()),
            "typestr": f"|V{size}",
        }


def _footprint(tensor: torch.Tensor) -> Any:
    """Array over the memory of a tensor on any device; only ever asked for its extent."""
    return np.asarray(_Memory(tensor))
