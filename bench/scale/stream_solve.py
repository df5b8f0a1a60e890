"""A solve on features that are far larger than memory: its time against that of its reads.

    python -m bench.scale.stream_solve --folder shards --shards 100

Makes shards of 131,072 rows of 768 float32 features with labels (:mod:`stream_data`), unless they
are there, 40 GB for 100 shards, and solves a logistic model with the group norm L2,1 of some tasks
by FISTA to a relative duality gap of 1e-4, in a memory budget, from the solution on a
sixteenth of the shards. A read is predicted to take
max(bytes / disk, bytes / copy, operations / rate), with the three calibrated in the same run: a
sequential read of shards that are not in the page cache, of shards that are, and a gradient in
memory. A disk whose speed changes from minute to minute is compared with by a shard that is read
past the page cache between iterations: ``of_the_disk`` is the seconds that all bytes of the solve
would have taken at these speeds, over those that it took without the pauses. With ``--passing``
shards that fit into memory are not kept there, as those that don't. Writes
bench/results/stream_solve.json, to which runs of other sizes are added.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from bench import record
from bench.scale.stream_data import FEATURES, ROWS, evict, labels_of, made, read_all, read_direct
from proxmtl import (
    FISTA,
    L21,
    Logistic,
    MaxIterations,
    Problem,
    RelativeGap,
    SharedDesign,
    StreamedDesign,
    minimize,
)
from proxmtl.io import open_shards
from proxmtl.io.row_files import FileRows
from proxmtl.row_sources import FeatureRows

START = 16
"""One of so many shards goes into a solve whose solution is the start."""
SHARD = 4 * ROWS * FEATURES
"""Bytes of the features of a shard."""


class Counted(FeatureRows):
    """Rows of another source, with the bytes that were read of it."""

    def __init__(self, source: FeatureRows) -> None:
        self.source, self.bytes = source, 0
        self.shape, self.dtype, self.memory = source.shape, source.dtype, source.memory

    def read_into(self, first: int, out: NDArray[Any]) -> None:
        self.source.read_into(first, out)
        self.bytes += out.nbytes

    def place(self, row: int) -> str:
        return self.source.place(row)


class Pace:
    """What each iteration read, in what time, and how fast the disk was just after it."""

    def __init__(self, rows: Counted, paths: list[Path]) -> None:
        self.rows, self.paths = rows, paths
        self.steps: list[dict[str, float]] = []
        self.disk, self.paused = self._disk(), 0.0
        self.bytes, self.begin = rows.bytes, time.perf_counter()

    def _disk(self) -> float:
        path = self.paths[len(self.steps) % len(self.paths)]
        return SHARD / median(lambda: read_direct([path]), 1)

    def __call__(self, progress: Any) -> None:
        """Note an iteration, and measure the disk."""
        end = time.perf_counter()
        before, self.disk = self.disk, self._disk()
        step = {
            "iteration": progress.iteration,
            "seconds": end - self.begin,
            "reads": (self.rows.bytes - self.bytes) / (self.rows.shape[0] * 4 * FEATURES),
            "at_the_disk": (self.rows.bytes - self.bytes) * (1 / before + 1 / self.disk) / 2,
        }
        self.steps.append(step)
        print({**step, "objective": progress.objective}, flush=True)
        self.bytes, self.begin = self.rows.bytes, time.perf_counter()
        self.paused += self.begin - end

    def of_the_disk(self, first: int = 0) -> float:
        """Seconds at the speed of the disk over those taken, from a step on."""
        steps = self.steps[first:]
        return sum(s["at_the_disk"] for s in steps) / sum(s["seconds"] for s in steps)


def peak() -> int:
    """Most memory that this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def median(run: Callable[[], Any], repeats: int = 5) -> float:
    """Median of the wall-clock seconds of some runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def disk(paths: list[Path]) -> float:
    """Bytes a second of a sequential read of shards past the page cache; a median."""
    return SHARD / statistics.median(median(lambda p=path: read_direct([p]), 1) for path in paths)


def calibrated(paths: list[Path], tasks: int, penalty: L21) -> dict[str, float]:
    """Rates of the model: bytes a second from disk and from the page cache, operations a second."""
    first = SharedDesign(np.load(paths[0]), intercept=True)
    problem = Problem.of(first, labels_of(paths[:1])[:, :tasks], penalty, loss=Logistic())
    W = problem.zeros() + 0.01
    with torch.no_grad():
        gradient = median(lambda: problem.evaluate(W))
    read_all(paths[:1])
    return {
        "disk": disk(paths[-9:]),
        "copy": SHARD / median(lambda: read_all(paths[:1])),
        "operations": 4 * ROWS * FEATURES * tasks / gradient,
    }


def rates_by_tasks(path: Path) -> dict[str, float]:
    """Billions of operations a second of a gradient in memory, by the number of tasks."""
    design = SharedDesign(np.load(path), intercept=True)
    labels, found = labels_of([path]), {}
    for tasks in (1, 5, 10, 20):
        problem = Problem.of(design, labels[:, :tasks], L21(1e-3), loss=Logistic())
        W = problem.zeros() + 0.01
        with torch.no_grad():
            gradient = median(lambda p=problem, w=W: p.evaluate(w))
        found[str(tasks)] = 4e-9 * ROWS * FEATURES * tasks / gradient
    return found


def predicted(rates: dict[str, float], shards: int, tasks: int) -> dict[str, float]:
    """Seconds of a read by each of the three bounds."""
    size = shards * SHARD
    return {
        "disk": size / rates["disk"],
        "copy": size / rates["copy"],
        "operations": size * tasks / rates["operations"],
    }


def main(  # noqa: PLR0917 - options of a command
    folder: Annotated[Path, typer.Option(help="Of the shards.")],
    shards: Annotated[int, typer.Option(help="Number of shards, 0.4 GB each.")] = 100,
    tasks: Annotated[int, typer.Option(help="Tasks, at most 20.")] = 5,
    memory: Annotated[int, typer.Option(help="MiB for features.")] = 256,
    strength: Annotated[float, typer.Option(help="Of L2,1, relative to the critical one.")] = 0.1,
    iterations: Annotated[int, typer.Option(help="At most.")] = 300,
    passing: Annotated[bool, typer.Option(help="Keep no shard in the page cache.")] = False,
    threads: record.Threads = 1,
) -> None:
    """Solve, and record seconds, reads and memory beside what was predicted."""
    torch.set_num_threads(threads)
    base = peak()
    paths = made(folder, shards)
    one = Problem.of(
        SharedDesign(np.load(paths[0]), intercept=True),
        labels_of(paths[:1])[:, :tasks],
        L21(1.0),
        loss=Logistic(),
    )
    penalty = L21(strength * one.critical_strength())
    del one
    calibration = calibrated(paths, tasks, penalty)
    foreseen = predicted(calibration, shards, tasks)
    print(calibration, foreseen, flush=True)
    started = None
    if few := paths[: shards // START]:
        part = StreamedDesign(open_shards(few), intercept=True, memory=memory << 20)
        labels = labels_of(few)[:, :tasks]
        started = minimize(Problem.of(part, labels, penalty, loss=Logistic()), FISTA(), tol=1e-4)
        del part
    labels = labels_of(paths)[:, :tasks]
    evict(paths)
    begin = time.perf_counter()
    files = open_shards(paths)
    for part in files.parts if passing else ():
        assert isinstance(part, FileRows)
        part.passing = True
    rows = Counted(files)
    design = StreamedDesign(rows, intercept=True, memory=memory << 20)
    check = time.perf_counter() - begin
    problem = Problem.of(design, labels, penalty, loss=Logistic())
    del labels
    before = problem.counts.passes
    pace = Pace(rows, paths)
    stop = RelativeGap(1e-4, every=5) | MaxIterations(iterations)
    result = minimize(problem, FISTA(), started and started.solution, stop, callback=pace)
    passes = problem.counts.passes - before
    steps = [step["seconds"] for step in pace.steps[1:]]
    run = {
        "gigabytes": shards * SHARD / 1e9,
        "tasks": tasks,
        "memory_mib": memory,
        "threads": threads,
        "check": check,
        "status": result.status.name,
        "relative_gap": result.certificate.relative_gap,
        "iterations": result.iterations,
        "passes": passes,
        "steps": pace.steps,
        "of_the_disk": pace.of_the_disk(),
        "iterations_of_the_disk": pace.of_the_disk(1),
        "certificates": problem.counts.certificates,
        "seconds": result.seconds - pace.paused,
        "start_seconds": started.seconds if started else 0.0,
        "iteration": float(np.median(steps)),
        "predicted": foreseen,
        "calibrated": calibration,
        "rates_by_tasks": rates_by_tasks(paths[0]),
        "disk_after": disk(paths[-9:]),
        "read_gb_s": shards * SHARD / 1e9 / float(np.median(steps)),
        "score_sized_mib": 4 * problem.data.shape.numel() / 2**20,
        "peak_mib": peak() / 2**20,
        "base_mib": base / 2**20,
    }
    run["predicted_over_iteration"] = max(foreseen.values()) / run["iteration"]
    name = f"{shards} shards, {tasks} tasks"
    settings = {"features": FEATURES, "rows_of_a_shard": ROWS, "strength": strength}
    runs = record.runs_so_far("stream_solve", settings)
    record.save("stream_solve", {"settings": settings, "runs": {**runs, name: run}})
    print(run)


if __name__ == "__main__":
    typer.run(main)
