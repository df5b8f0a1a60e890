"""A pass over features on disk against reading them: seconds, and the peak of memory.

    python bench/streamed.py --folder /tmp/shards --gib 4
    python bench/streamed.py --folder /tmp/shards --gib 40 --memory 4096

Writes shards of random float32 features (N, 1024) into a folder, unless they are there, and times a
read of all files one after another, a gradient, and a certificate (in float64) of a
:class:`proxmtl.StreamedDesign` with the squared hinge of 1 and 23 tasks, and 10 iterations of
FISTA.
Wall-clock seconds, the least of three; with files that fit into the page cache the read is that of
memory. Writes bench/results/streamed.json.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
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
    SquaredHinge,
    StreamedDesign,
    Targets,
    minimize,
)
from proxmtl.io import open_shards

D, ROWS = 1024, 1 << 17
"""Features, and rows of a shard: 512 MiB."""


def shards(folder: Path, gib: float) -> list[Path]:
    """Files of random features; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"part-{k:05}.npy" for k in range(max(1, round(2 * gib)))]
    for number, path in enumerate(paths):
        if not path.exists():
            rng = np.random.default_rng(number)
            np.save(path, rng.standard_normal((ROWS, D), dtype=np.float32))
    return paths


def least(run: Callable[[], Any], repeats: int = 3) -> float:
    """Wall-clock seconds of the fastest of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def read_all(paths: list[Path]) -> None:
    """Read every file into one buffer."""
    buffer = bytearray(64 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def main(
    folder: Annotated[Path, typer.Option(help="Of the shards.")],
    gib: Annotated[float, typer.Option(help="Size of all shards.")] = 4.0,
    memory: Annotated[int, typer.Option(help="MiB for features.")] = 256,
    threads: record.Threads = 1,
) -> None:
    """Time passes and reads and record them."""
    torch.set_num_threads(threads)
    paths = shards(folder, gib)
    rows = []
    read = least(lambda: read_all(paths))
    for tasks in (1, 23):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        design = StreamedDesign(open_shards(paths), intercept=True, memory=memory << 20)
        check = time.perf_counter() - begin
        generator = torch.Generator().manual_seed(0)
        labels = torch.randn(design.n_samples, tasks, generator=generator).sign()
        targets = Targets.from_labels(labels, reduction="mean", like=labels)
        problem = Problem(SquaredHinge(), design, targets, L1(1e-3))
        W = problem.zeros() + 0.01
        row = {
            "tasks": tasks,
            "read": read,
            "check": check,
            "gradient": least(lambda p=problem, w=W: p.evaluate(w)),  # type: ignore[misc]
            "certificate": least(lambda p=problem, w=W: p.certificate(w)),  # type: ignore[misc]
        }
        begin = time.perf_counter()
        result = minimize(problem, FISTA(), stop=MaxIterations(10))
        row["iteration"] = (time.perf_counter() - begin) / (result.iterations + 2)
        row["read_over_gradient"] = row["read"] / row["gradient"]
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        row["grown_mib"] = grown / 1024
        row["scores_mib"] = 4 * labels.numel() / 2**20
        rows.append(row)
        print(row, flush=True)
    settings = {"gib": gib, "memory_mib": memory, "threads": threads, "features": D}
    record.save("streamed", {"settings": settings, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
