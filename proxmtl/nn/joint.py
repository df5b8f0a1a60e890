"""What the processes of a distributed run tell each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from proxmtl.latent import LatentResult
from proxmtl.result import Result
from proxmtl.state import State

__all__ = ["mean_over_processes", "solve_on_first"]

Outcome = TypeVar("Outcome", LatentResult, Result[Tensor])


def mean_over_processes(block: Tensor) -> Tensor:
    """Mean over the processes, the same on all."""
    total = block.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def solve_on_first(
    samples: Callable[[], tuple[Any, ...]],
    solve: Callable[..., Outcome],
    counts: Sequence[Tensor],
    device: torch.device,
) -> Outcome:
    """Solve on the samples of all processes, on the first, and send the result to all.

    Samples travel through the memory of the host, and need not be equally many. The solver's state
    stays on the first process.

    Parameters
    ----------
    samples : callable
        This process's features, labels and weights; it may refuse them.
    solve : callable
        What the first calls with those of all.
    counts : sequence of Tensor
        What the solve changed beside its result: copied into the same tensors of the others.
    device : torch.device
        Of the result on the others.

    Raises
    ------
    Exception
        What a process raised, on that process; on the others a ``ValueError``, or else a
        ``RuntimeError``, that says which process and what. No process is left waiting.
    """
    own = _attempt(samples)
    told = _told(own) if isinstance(own, Exception) else _to(own, "cpu")
    first = dist.get_rank() == 0
    parts: list[Any] = [None] * dist.get_world_size()
    dist.gather_object(told, parts if first else None)
    sent: list[Any] = [None, None]
    if first:
        sent[0] = next((part for part in parts if isinstance(part, Exception)), None)
        if sent[0] is None:
            own = _attempt(lambda: solve(*_together(parts, own[0])))
            if isinstance(own, Exception):
                sent[0] = _told(own)
            else:
                sent = [_light(own), _to(list(counts), "cpu")]
    dist.broadcast_object_list(sent)
    if isinstance(sent[0], Exception):
        raise own if isinstance(own, Exception) else sent[0]
    if not first:
        own = _moved(sent[0], device)
        for count, other in zip(counts, sent[1], strict=True):
            count.copy_(other)
    result: Outcome = own
    return result


def _attempt(work: Callable[[], Any]) -> Any:
    """What it returns, or the exception that it raised: the other processes wait for either."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 (raised again on all processes)
        return error


def _told(error: Exception) -> Exception:
    """An exception as other processes hear of it: of a type that survives the way."""
    where = f"process {dist.get_rank()}: "
    if isinstance(error, ValueError):
        return ValueError(f"{where}{error}")
    return RuntimeError(f"{where}{type(error).__name__}: {error}")


def _light(result: Any) -> Any:
    """A result without the state of its solver, on the host."""
    state = result.state
    light = State(state.iteration, state.objective, state.stalled, state.passes)
    return _moved(replace(result, state=light), "cpu")


def _moved(result: Any, device: Any) -> Any:
    tensors = {name: part for name, part in vars(result).items() if isinstance(part, Tensor)}
    return replace(result, **{name: _to(part, device) for name, part in tensors.items()})


def _to(part: Any, device: Any) -> Any:
    if isinstance(part, Tensor):
        return part.detach().to(device)
    return [_to(each, device) for each in part] if isinstance(part, (list, tuple)) else part


def _together(parts: Sequence[Any], features: Any) -> list[Any]:
    """Samples of all processes, where the first has its features."""
    device = features.device if isinstance(features, Tensor) else features[0].device
    columns = list(zip(*parts, strict=True))
    if len({weight is None for weight in columns[-1]}) > 1:
        raise ValueError("sample_weight: only some processes give one; give it on all, or on none.")
    return [_to(_joined(column), device) for column in columns]


def _joined(column: Sequence[Any]) -> Any:
    """Samples of all processes end to end: rows, or the second axis of (M, N, D)."""
    first = column[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(column), dim=1 if first.ndim == 3 else 0)
    return [torch.cat([part[m] for part in column]) for m in range(len(first))]
