"""What the processes of a distributed run tell each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from proxmtl.latent import LatentResult
from proxmtl.result import Result
from proxmtl.solvers.base import State

__all__ = ["broadcast_result", "gather_samples", "mean_over_processes"]

Outcome = TypeVar("Outcome", LatentResult, Result[Tensor])


def mean_over_processes(block: Tensor) -> Tensor:
    """Mean over the processes, the same on all."""
    total = block.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def gather_samples(features: Any, labels: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """Bring the samples of all processes to the first; the others get ``(None, None, None)``.

    They travel through the memory of the host, and need not be equally many.
    """
    device = features.device if isinstance(features, Tensor) else features[0].device
    own = tuple(_to(part, "cpu") for part in (features, labels, sample_weight))
    first = dist.get_rank() == 0
    parts: list[Any] = [None] * dist.get_world_size()
    dist.gather_object(own, parts if first else None)
    if not first:
        return None, None, None
    columns = zip(*parts, strict=True)
    return tuple(_to(_joined(column), device) for column in columns)


def broadcast_result(
    result: Outcome | None, extra: Sequence[Tensor], device: torch.device
) -> tuple[Outcome, list[Tensor]]:
    """Send the first process's result, and tensors, to all; the solver's state stays there."""
    sent: list[Any] = [None, None]
    if result is not None:
        state = result.state
        light = State(state.iteration, state.objective, state.stalled, state.passes)
        sent = [_moved(replace(result, state=light), "cpu"), [_to(part, "cpu") for part in extra]]
    dist.broadcast_object_list(sent)
    own = result if result is not None else _moved(sent[0], device)
    return own, [_to(part, device) for part in sent[1]]


def _moved(result: Any, device: Any) -> Any:
    tensors = {name: part for name, part in vars(result).items() if isinstance(part, Tensor)}
    return replace(result, **{name: _to(part, device) for name, part in tensors.items()})


def _to(part: Any, device: Any) -> Any:
    if isinstance(part, Tensor):
        return part.detach().to(device)
    return [_to(each, device) for each in part] if isinstance(part, (list, tuple)) else part


def _joined(column: Sequence[Any]) -> Any:
    """Samples of all processes end to end: rows, or the second axis of (M, N, D)."""
    first = column[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(column), dim=1 if first.ndim == 3 else 0)
    return [torch.cat([part[m] for part in column]) for m in range(len(first))]
