"""Tensors as the flat arrays that compiled loops take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    WeightedGroups = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], int]
    """Bounds and members of groups, their weights, and the step between weights."""


class Pair(NamedTuple):
    """Flat arrays of an input and of its result, in one order.

    That is the order of the tensor ``target``: the caller's, or, where ``swapped``, the order of
    its transpose. ``finish`` hands the result over in the caller's strides.
    """

    x: NDArray[Any]
    out: NDArray[Any]
    target: torch.Tensor
    result: torch.Tensor
    swapped: bool

    def finish(self) -> torch.Tensor:
        """Result as the caller wants it."""
        ours = self.target.t() if self.swapped else self.target
        if ours.data_ptr() != self.result.data_ptr():
            self.result.copy_(ours)
        return self.result


def paired(V: torch.Tensor, out: torch.Tensor | None) -> Pair:
    """Input and result as flat arrays; copies only what has no such view."""
    dense, swapped = V, False
    if not V.is_contiguous():
        swapped = V.dim() == 2 and V.t().is_contiguous()
        dense = V.t() if swapped else V.contiguous()
    target = None if out is None else out.t() if swapped else out
    if target is None or not target.is_contiguous():
        target = torch.empty_like(dense)
    result = out if out is not None else target.t() if swapped else target
    return Pair(dense.numpy().reshape(-1), target.numpy().reshape(-1), target, result, swapped)


def cpu_floats(tensor: torch.Tensor) -> tuple[bool, str]:
    """Whether a tensor is one that compiled loops can read."""
    if tensor.device.type != "cpu":
        return False, f"It serves CPU tensors, and these are on {tensor.device}."
    if tensor.dtype not in (torch.float32, torch.float64):
        return False, f"It serves float32 and float64, and these are {tensor.dtype}."
    return True, ""


def group_weights(weights: torch.Tensor) -> tuple[NDArray[np.float64], int]:
    """Contiguous weights as a float64 array, and the step between groups: 0 when all share one."""
    wide = weights if weights.dtype == torch.float64 else weights.to(torch.float64)
    return wide.numpy(), int(wide.numel() > 1)


def weighted_groups(args: Any) -> WeightedGroups:
    """Groups and weights of a call, as one tuple for compiled loops."""
    return (*args.groups.arrays, *group_weights(args.weights))


def scalar(value: float) -> torch.Tensor:
    """0-d float64 tensor."""
    return torch.from_numpy(np.array(value, np.float64))  # in a third of torch.tensor's time
