"""Gradients on features in files against reads of the same files, one after the other.

    python -m bench.scale.stream_reads --folder shards --shards 100

Shards of :mod:`stream_data` in parts of five. Of each part, a sequential read past the page cache
(O_DIRECT), one through it, and a gradient of a logistic model by StreamedDesign are timed in turn,
all from the disk: the files are dropped from the page cache before. A disk whose speed changes from
minute to minute changes it for all three.
Predicted: where products need less time than the disk, the gradient takes as long as the read.
Writes bench/results/stream_reads.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench import record
from bench.scale.stream_data import FEATURES, ROWS, evict, labels_of, made, read_all, read_direct
from proxmtl import L21, Logistic, Problem, StreamedDesign
from proxmtl.io import open_shards

PART = 5
"""Shards of a part."""


def cold(paths: list[Path], run: Callable[[], Any]) -> float:
    """Seconds of a run whose files are not in the page cache."""
    evict(paths)
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main(
    folder: Annotated[Path, typer.Option(help="Of the shards.")],
    shards: Annotated[int, typer.Option(help="Number of shards, 0.4 GB each.")] = 100,
    tasks: Annotated[int, typer.Option(help="Tasks, at most 20.")] = 2,
    memory: Annotated[int, typer.Option(help="MiB for features.")] = 256,
) -> None:
    """Time both on each part, in alternating order, and record the ratios."""
    torch.set_num_threads(1)
    paths = made(folder, shards)
    whole = open_shards(paths)  # that is larger than memory, which parts of it are not
    rows = []
    for number, start in enumerate(range(0, shards, PART)):
        part = paths[start : start + PART]
        own = whole.take(np.arange(start * ROWS, (start + len(part)) * ROWS))
        design = StreamedDesign(own, intercept=True, memory=memory << 20)
        problem = Problem.of(design, labels_of(part)[:, :tasks], L21(1e-3), loss=Logistic())
        W = problem.zeros() + 0.01
        runs: list[tuple[str, Callable[[], Any]]] = [
            ("direct", lambda p=part: read_direct(p)),
            ("read", lambda p=part: read_all(p)),
            ("gradient", lambda p=problem, w=W: p.evaluate(w)),
        ]
        with torch.no_grad():
            problem.evaluate(W)  # sizes and buffers of the first product
            times = {name: cold(part, run) for name, run in runs[number % 3 :] + runs[: number % 3]}
        size = len(part) * ROWS * FEATURES * 4 / 1e9
        row = {"gigabytes": size, **times, "of_the_disk": times["direct"] / times["gradient"]}
        print(row, flush=True)
        rows.append(row)
    total = {
        name: sum(row[name] for row in rows) for name in ("gigabytes", "direct", "read", "gradient")
    }
    record.save(
        "stream_reads",
        {
            "settings": {"shards": shards, "tasks": tasks, "memory_mib": memory, "threads": 1},
            "rows": rows,
            "total": {**total, "of_the_disk": total["direct"] / total["gradient"]},
            "median_of_the_disk": statistics.median(row["of_the_disk"] for row in rows),
        },
    )


if __name__ == "__main__":
    typer.run(main)
