"""Samples divided among processes: an iteration of two ranks against one, predicted and measured.

    python bench/ranks.py                # one and two processes, one thread each

Random float32 features, squared hinge, L1, FISTA. Each process makes its own rows, in memory.

- *Strong scaling*: the same samples in all, divided among 1 and 2 processes;
- *weak scaling*: the same samples for each process.

Figures are medians of wall-clock seconds of 40 iterations, without certificates. The prediction
for P processes is ``T + (m - 1) t_0 + t_g``: the measured time ``T`` of an iteration on the rows of
one rank, while the other ranks compute on theirs and none waits for another, and ``m`` exchanges,
of which one takes the measured time ``t_g`` of a sum as long as the gradient, and the others that
of a sum of one number, ``t_0``. Writes bench/results/ranks.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import record
import torch
import typer

from proxmtl import (
    FISTA,
    L1,
    MaxIterations,
    Problem,
    ProcessRanks,
    ShardedDesign,
    SharedDesign,
    minimize,
)
from proxmtl.ranks import ALONE, Ranks

CASES = {
    "200,000 x 512, 8 tasks": (200_000, 512, 8),
    "60,000 x 1,024, 23 tasks": (60_000, 1024, 23),
    "20,000 x 1,024, 1 task": (20_000, 1024, 1),
}
ITERATIONS = 40
EXCHANGES = 3
"""Of an iteration of FISTA: loss and gradient, the test of the step, and the clock."""


def problem(ranks: Ranks, rows: int, width: int, tasks: int) -> Problem:
    generator = torch.Generator().manual_seed(ranks.rank)
    X = torch.randn(rows, width, generator=generator)
    W = torch.randn(width, tasks, generator=torch.Generator().manual_seed(99))
    Y = torch.sign(X @ W + 3 * torch.randn(rows, tasks, generator=generator))
    design = ShardedDesign(SharedDesign(X, intercept=True), ranks)
    return Problem.of(design, Y, L1(1e-4), reduction="mean")


def iteration(posed: Problem) -> float:
    """Median seconds of an iteration."""
    times: list[float] = []
    minimize(
        posed,
        FISTA(),
        stop=MaxIterations(ITERATIONS),
        callback=lambda _: times.append(time.perf_counter()),
    )
    return float(np.median(np.diff(times)))


def apart(ranks: Ranks, rows: int, width: int, tasks: int) -> float:
    """Seconds of an iteration on this rank's rows alone, while the others do the same."""
    posed = problem(ALONE, rows, width, tasks)
    ranks.largest(0.0)  # all begin at once
    return ranks.largest(iteration(posed))


def exchange(ranks: Ranks, numbers: int) -> float:
    """Median seconds of a sum of so many numbers."""
    part, times = torch.ones(numbers), []
    for _ in range(40):
        begin = time.perf_counter()
        ranks.total(part)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def measure(out: Path) -> None:
    """Figures of this rank; the first one writes them."""
    torch.set_num_threads(1)
    ranks = ProcessRanks.join()
    found: dict[str, Any] = {}
    for name, (rows, width, tasks) in CASES.items():
        numbers = (width + 1) * tasks
        found[name] = {
            "strong": iteration(problem(ranks, rows // ranks.size, width, tasks)),
            "weak": iteration(problem(ranks, rows, width, tasks)),
            "exchange": exchange(ranks, 1),
            "gradient exchange": exchange(ranks, numbers),
            "apart": apart(ranks, rows // ranks.size, width, tasks),
        }
    if ranks.rank == 0:
        out.write_text(json.dumps(found), encoding="utf-8")


def launched(processes: int, out: Path) -> dict[str, Any]:
    """Figures of a group of processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={processes}", __file__, "--measure", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def main(
    measure_into: Annotated[Path | None, typer.Option("--measure", hidden=True)] = None,
) -> None:
    """Compare one and two processes."""
    if measure_into is not None:
        measure(measure_into)
        return
    with tempfile.TemporaryDirectory() as folder:
        runs = [launched(processes, Path(folder) / f"{processes}.json") for processes in (1, 2)]
    rows = []
    for name in CASES:
        one, two = (found[name] for found in runs)
        # the callback that takes the times is one exchange more
        talk = EXCHANGES * two["exchange"] + two["gradient exchange"]
        rows.append(
            {
                "case": name,
                "one": one["strong"],
                "two": two["strong"],
                "speedup": one["strong"] / two["strong"],
                "predicted": two["apart"] + talk,
                "apart": two["apart"],
                "weak": two["weak"] / one["weak"],
                "exchange": two["exchange"],
                "gradient exchange": two["gradient exchange"],
            }
        )
        print(json.dumps(rows[-1]))
    record.save("ranks", {"rows": rows})


if __name__ == "__main__":
    typer.run(main)
