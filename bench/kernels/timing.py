"""Times, and the bandwidth of the memory they are measured against in the same run."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

# Larger than the last cache level of any machine here, so that each repetition starts cold.
_FLUSH_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Times:
    """Milliseconds at the 20th, 50th and 80th percentile of some repetitions."""

    p20: float
    p50: float
    p80: float
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    call: Callable[[], Any], device: torch.device, *, seconds: float = 2.0, at_least: int = 7
) -> Times:
    """Repeat a call for about ``seconds``, after one that warms caches and compilers up.

    On a GPU each repetition is timed by events, with the caches flushed before it.
    """
    call()
    one = _on_gpu if device.type == "cuda" else _on_cpu
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=device)
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < at_least or (time.perf_counter() < stop and len(times) < 200):
        times.append(one(call, flush))
    times.sort()
    p20, p50, p80 = (
        times[min(len(times) - 1, round(q * (len(times) - 1)))] for q in (0.2, 0.5, 0.8)
    )
    return Times(p20, p50, p80, len(times))


def _on_cpu(call: Callable[[], Any], flush: torch.Tensor) -> float:
    flush.zero_()
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def _on_gpu(call: Callable[[], Any], flush: torch.Tensor) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    flush.zero_()
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def bandwidth(device: torch.device, n_bytes: int = 2**29) -> dict[str, float]:
    """GB/s of reading and of copying (read and write counted) contiguous float32."""
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    read = measure(source.sum, device, seconds=1.0)
    copy = measure(lambda: target.copy_(source), device, seconds=1.0)
    return {"read": n_bytes / 1e6 / read.p50, "copy": 2 * n_bytes / 1e6 / copy.p50}


def device_name(device: torch.device) -> str:
    """Name of the chip, usable as a file name."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"cpu-{torch.backends.cpu.get_cpu_capability()}-{torch.get_num_threads()}threads"
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name).lower()
