"""Tensors as the flat arrays that compiled loops take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from .lanes import STREAM

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Results of at least this size are written past the caches.
_STREAMED_BYTES = 16 << 20


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
    done: bool
    address: int

    @property
    def phase(self) -> int:
        """Alignment of the result for stores past the caches; -1 where they don't pay.

        They save reading what will be overwritten. In place it has been read anyway, and what
        fits into the last cache level is better left there.
        """
        if self.x.nbytes < _STREAMED_BYTES or self.same:
            return -1
        between = self.target.data_ptr() % self.x.itemsize  # entries: no vector can be aligned
        return -1 if between else self.alignment

    @property
    def alignment(self) -> int:
        """Where the result's memory stands, in entries, within a streaming store's alignment."""
        return self.target.data_ptr() // self.x.itemsize % STREAM

    @property
    def same(self) -> bool:
        """Whether the result overwrites the input."""
        return self.address == self.target.data_ptr()

    def finish(self) -> torch.Tensor:
        """Result as the caller wants it."""
        if not self.done:
            self.result.copy_(self.target.t() if self.swapped else self.target)
        return self.result

    def aligned(self, tensor: torch.Tensor) -> NDArray[Any]:
        """Another tensor of the caller's shape as a flat array in the same order."""
        dense = (tensor.t() if self.swapped else tensor).to(self.target.dtype).contiguous()
        flat: NDArray[Any] = dense.numpy().reshape(-1)
        return flat


def paired(V: torch.Tensor, out: torch.Tensor | None) -> Pair:
    """Input and result as flat arrays; copies only what has no such view."""
    dense, swapped = V, False
    if not V.is_contiguous():
        swapped = V.dim() == 2 and V.t().is_contiguous()
        dense = V.t() if swapped else V.contiguous()
    if out is None:
        target = torch.empty_like(dense)
        result = target.t() if swapped else target
        done = True
    else:
        result = out
        oriented = out.t() if swapped else out
        done = oriented.is_contiguous()
        target = oriented if done else torch.empty_like(dense)
    return Pair(
        dense.numpy().reshape(-1),
        target.numpy().reshape(-1),
        target,
        result,
        swapped,
        done,
        dense.data_ptr(),
    )


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


def scalar(value: float) -> torch.Tensor:
    """0-d float64 tensor."""
    return torch.from_numpy(np.array(value, np.float64))  # in a third of torch.tensor's time
