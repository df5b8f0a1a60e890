"""Times of competing calls, taken in turns, and the ceilings of the machine measured among them.

A shared machine is never the same for a minute: what is compared is called in turns, one call of
each a round, and so are the probes of bandwidth and arithmetic that the results are divided by.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Written before each call on a GPU: flushes its caches, and takes longer than the host needs to
# launch most calls, so that the device doesn't wait for them in between.
_FLUSH_BYTES = 2**31
_MOST_ROUNDS = 200


@dataclass(frozen=True)
class Times:
    """Milliseconds at the 20th, 50th and 80th percentile of some repetitions.

    ``host`` is the median time that the host took to launch a call on a GPU.
    """

    p20: float
    p50: float
    p80: float
    repeats: int
    host: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def measure(
    calls: Mapping[str, Callable[[], Any]],
    device: torch.device,
    *,
    seconds: float = 2.0,
    at_least: int = 7,
    clock: str = "wall",
) -> dict[str, Times]:
    """Time calls in turns, about ``seconds`` for each, after one round that warms everything up.

    On a GPU calls are timed by events, with the caches flushed before each; the host's part is told
    apart. On a CPU the clock is ``"wall"``, or ``"processor"`` for one thread on a machine that
    others use too: it stands still while they run.
    """
    for call in calls.values():
        call()
    on_gpu = device.type == "cuda"
    flush = torch.empty(_FLUSH_BYTES, dtype=torch.int8, device=device) if on_gpu else None
    times: dict[str, list[float]] = {name: [] for name in calls}
    hosts: dict[str, list[float]] = {name: [] for name in calls}
    stop = time.perf_counter() + seconds * len(calls)
    rounds = 0
    while rounds < at_least or (time.perf_counter() < stop and rounds < _MOST_ROUNDS):
        for name, call in calls.items():
            if flush is None:
                times[name].append(_on_cpu(call, CLOCKS[clock]))
            else:
                taken, host = _on_gpu(call, flush)
                times[name].append(taken)
                hosts[name].append(host)
        rounds += 1
    return {name: _percentiles(taken, hosts[name]) for name, taken in times.items()}


def _percentiles(taken: list[float], hosts: list[float]) -> Times:
    ordered, last = sorted(taken), len(taken) - 1
    p20, p50, p80 = (ordered[round(q * last)] for q in (0.2, 0.5, 0.8))
    host = sorted(hosts)[len(hosts) // 2] if hosts else None
    return Times(p20, p50, p80, repeats=len(taken), host=host)


def _on_cpu(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return 1e3 * (clock() - start)


def _on_gpu(call: Callable[[], Any], flush: torch.Tensor) -> tuple[float, float]:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    flush.zero_()
    start.record()
    host = _on_cpu(call, time.perf_counter)
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end)), host


class Ceilings:
    """Probes of what the machine can do: read, copy (read and write counted), multiply.

    Products are of float32, and on a GPU of bfloat16 too: its tensor cores take them.
    """

    def __init__(
        self, device: torch.device, n_bytes: int | None = None, side: int | None = None
    ) -> None:
        on_gpu = device.type == "cuda"
        self.n_bytes = n_bytes or (2**31 if on_gpu else 2**28)
        source = torch.ones(self.n_bytes // 4, device=device)
        target = torch.empty_like(source)
        self.side = side or (8192 if on_gpu else 1536)
        a, b = torch.randn(2, self.side, self.side, device=device)
        self.calls: dict[str, Callable[[], Any]] = {
            "read": source.sum,
            "copy": lambda: target.copy_(source),
            "flops": lambda: a @ b,
        }
        if on_gpu:
            narrow = a.bfloat16(), b.bfloat16()
            self.calls["flops bfloat16"] = lambda: narrow[0] @ narrow[1]

    def rates(self, times: Mapping[str, Times]) -> dict[str, float]:
        """GB/s for reading and copying, GFLOP/s for the products."""
        moved = {"read": self.n_bytes, "copy": 2 * self.n_bytes}
        work = 2 * self.side**3
        return {name: moved.get(name, work) / 1e6 / times[name].p50 for name in self.calls}


def device_name(device: torch.device) -> str:
    """Name of the chip, usable as a file name."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"cpu-{torch.backends.cpu.get_cpu_capability()}-threads-{torch.get_num_threads()}"
    return "".join(c if c.isalnum() or c in "-." else "-" for c in name).lower()
