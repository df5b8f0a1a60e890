"""What the launchers of the proximal kernels share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from triton import knobs

from proxmtl.kernels.fibres import fibres

if TYPE_CHECKING:
    from proxmtl.kernels.group_index import GroupIndex


class Dense(NamedTuple):
    """An input and the memory of its result, both contiguous (outer, n, inner)."""

    x: torch.Tensor
    out: torch.Tensor
    outer: int
    n: int
    inner: int
    result: torch.Tensor
    swapped: bool

    def finish(self) -> torch.Tensor:
        """Result as the caller wants it."""
        written = self.out.t() if self.swapped else self.out
        if self.result is written or self.result.data_ptr() == self.out.data_ptr():
            return self.result
        return self.result.copy_(written)

    def aligned(self, tensor: torch.Tensor) -> torch.Tensor:
        """Another tensor of the caller's shape in the same memory order."""
        return (tensor.t() if self.swapped else tensor).contiguous()


def dense(V: torch.Tensor, axis: int, out: torch.Tensor | None) -> Dense:
    """Input and result in one memory order; copies only what has no such view."""
    swapped = V.dim() == 2 and not V.is_contiguous() and V.t().is_contiguous()
    source = fibres(V if swapped else V.contiguous(), axis)
    assert source is not None
    if out is None:
        target = torch.empty_like(source.tensor)
        result = target.t() if swapped else target
    else:
        result = out
        oriented = out.t() if swapped else out
        target = oriented if oriented.is_contiguous() else torch.empty_like(source.tensor)
    return Dense(source.tensor, target, *source[1:], result, swapped)


def gpu_floats(tensor: torch.Tensor) -> tuple[bool, str]:
    """Whether a tensor is one that Triton kernels can read."""
    if tensor.device.type == "cuda" or (tensor.device.type == "cpu" and knobs.runtime.interpret):
        return True, ""
    return False, (
        f"It serves CUDA tensors, and these are on {tensor.device} (CPU tensors only when "
        "TRITON_INTERPRET=1 is set before triton is imported)."
    )


def short_groups(groups: GroupIndex, longest: int) -> tuple[bool, str]:
    """Whether every group fits into one program."""
    if groups.max_size <= longest:
        return True, ""
    return False, (
        f"A program holds a whole group, up to {longest} members, and one has {groups.max_size}."
    )


def partial_sums(programs: int, columns: int, like: torch.Tensor) -> torch.Tensor:
    """Room for the sums of each program, added up afterwards in a fixed order."""
    return torch.empty(programs, columns, dtype=torch.float64, device=like.device)


def blocks(n_entries: int, block: int) -> int:
    """Number of programs for that many entries."""
    return -(-n_entries // block)
