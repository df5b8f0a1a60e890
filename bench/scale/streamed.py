"""A pass over features on disk against reading them: seconds, and the peak of memory.

    python -m bench.scale.streamed --folder shards --gib 4
    python -m bench.scale.streamed --folder shards --gib 40 --memory 4096

Writes shards of random float32 features (N, 1024) into a folder, unless they are there, and times a
read of all files one after another, a gradient, and a certificate (in float64) of a
:class:`proxmtl.StreamedDesign` with the squared hinge of 1 and 8 tasks, and an iteration of FISTA.
Wall-clock seconds, the least of three: with files in the page cache, where the read is that of
memory, and with files that were dropped from it before each run (``cold``). Run it again for the
peak of memory once the shards are there. Writes bench/results/streamed.json.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench import record
from bench.scale.stream_data import evict, read_all
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


def least(run: Callable[[], Any], cold: list[Path], repeats: int = 3) -> float:
    """Wall-clock seconds of the fastest of some runs; files to drop before each."""
    times = []
    for _ in range(repeats):
        evict(cold)
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


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
    states: tuple[tuple[str, list[Path]], ...] = ("warm", []), ("cold", paths)
    read = {name: least(lambda: read_all(paths), of) for name, of in states}
    for tasks in (1, 8):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        design = StreamedDesign(open_shards(paths), intercept=True, memory=memory << 20)
        check = time.perf_counter() - begin
        generator = torch.Generator().manual_seed(0)
        labels = torch.randn(design.n_samples, tasks, generator=generator).sign()
        targets = Targets.from_labels(labels, reduction="mean", like=labels)
        problem = Problem(SquaredHinge(), design, targets, L1(1e-3))
        W = problem.zeros() + 0.01

        def gradient(p: Problem = problem, w: torch.Tensor = W) -> Any:
            return p.evaluate(w)

        def certificate(p: Problem = problem, w: torch.Tensor = W) -> Any:
            return p.certificate(w)

        row: dict[str, Any] = {"tasks": tasks, "check": check}
        for name, of in states:
            row[name] = {
                "read": read[name],
                "gradient": least(gradient, of),
                "certificate": least(certificate, of),
            }
            row[name]["read_over_gradient"] = read[name] / row[name]["gradient"]
        spent = []
        for iterations in (4, 14):  # the difference leaves out starts and certificates
            begin = time.perf_counter()
            minimize(problem, FISTA(), stop=MaxIterations(iterations))
            spent.append(time.perf_counter() - begin)
        row["iteration"] = (spent[1] - spent[0]) / 10
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        row["grown_mib"] = grown / 1024
        row["scores_mib"] = 4 * labels.numel() / 2**20
        rows.append(row)
        print(row, flush=True)
    settings = {"gib": gib, "memory_mib": memory, "threads": threads, "features": D}
    record.save("streamed", {"settings": settings, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
