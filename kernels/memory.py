"""Where results may go: not into part of the memory that is still to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .fibres import checked_like

if TYPE_CHECKING:
    import torch


def checked_out(out: torch.Tensor, name: str, inputs: dict[str, torch.Tensor]) -> None:
    """Refuse a result's memory that doesn't fit, or that holds part of an input.

    An input itself is fine: every entry is read before it is overwritten.

    Parameters
    ----------
    out : Tensor
    name : str
        What the caller calls it.
    inputs : dict of str to Tensor
        Operands by name; the first is the model of shape, dtype and device.

    Raises
    ------
    ValueError
        With the names and what was seen.
    """
    model = next(iter(inputs))
    checked_like(out, inputs[model], name, model)
    memory = out.untyped_storage().data_ptr()
    for each, tensor in inputs.items():
        if tensor is out or tensor.untyped_storage().data_ptr() != memory:
            continue
        if out.data_ptr() != tensor.data_ptr() or out.stride() != tensor.stride():
            checked_apart(out, name, tensor, each)


def checked_apart(left: torch.Tensor, name: str, right: torch.Tensor, other: str) -> None:
    """Refuse two tensors that share an entry.

    Raises
    ------
    ValueError
        With both names.
    """
    if left.untyped_storage().data_ptr() != right.untyped_storage().data_ptr():
        return
    if not left.numel() or not right.numel():
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
