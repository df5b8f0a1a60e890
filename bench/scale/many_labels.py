"""Ten thousand tasks of which a row has a few labels: gradients and solves by the number of labels.

    python -m bench.scale.many_labels

Features (rows, features) in float32 that all tasks share, and labels of random pairs of a row and a
task, given as a sparse matrix. For each number of labels, in a process of its own: the median of
gradients, solves with the norm L2,1 and with a ridge to a relative gap, and the peak memory. The
peer is scikit-learn's LinearSVC (liblinear), task by task on the rows that have a label, for some
tasks, and scaled to all. The predicted time of a gradient is written down before it is measured:
features from a core's cache once for each of two products of every label; once a block of rows the
weights of all tasks, and their sums read and written, from memory.

    python -m bench.scale.many_labels --case dense
    python -m bench.scale.many_labels --case groups

Dense: labels of all pairs, int8 in a memory map, beside float16 features in shards; the predicted
time of a gradient is that of its products at the speed of one of them, and the predicted memory the
budget of the features and 13 matrices of float32 scores. It takes eight minutes at most.

Groups: prox of norms over groups of the tasks by their number, on 16 rows of normal numbers at half
their deviation; and solves. Predicted: linear in the memberships.

    python -m bench.scale.many_labels --case command --millions 0.5,1 --rows 50000 --features 64

Command: `proxmtl fit --single-task` and `proxmtl evaluate` on labels of pairs in an npz file, with
the peak memory of each beside what a dense table of the labels would take. Each case replaces its
part of bench/results/many_labels.json.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from scipy import sparse
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from bench import record
from proxmtl import (
    FISTA,
    L21,
    LBFGS,
    GroupL2,
    Groups,
    Logistic,
    MaxPasses,
    MaxSeconds,
    OverlappingGroupL2,
    Problem,
    RelativeGap,
    SquaredFrobenius,
    minimize,
)
from proxmtl.designs import StreamedDesign
from proxmtl.io import open_shards

KINDS = {
    "disjoint": (1_000, 10_000),
    "windows": (1_000, 10_000),
    "random": (1_000, 10_000, 100_000),
}
"""Groups of tasks, and their numbers."""

Numbers = Annotated[str, typer.Option(help="Numbers of labels, in millions, separated by commas.")]
CACHE, MEMORY = 1 << 19, 1 << 26
"""Numbers of float32 that stay in a core's cache, and that do not."""


def data(rows: int, features: int, tasks: int, labels: int) -> tuple[Any, Any]:
    """Features, and labels of random pairs by weights that forty features have."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, features), dtype=np.float32)
    W = np.zeros((tasks, features), np.float32)
    W[:, :40] = rng.standard_normal((tasks, 40), dtype=np.float32) / np.sqrt(40)
    place = np.unique(rng.integers(0, rows * tasks, labels))
    row, task = place // tasks, place % tasks
    y = np.empty(len(place), np.int8)
    for part in np.array_split(np.arange(len(place)), max(1, len(place) >> 18)):
        score = np.einsum("ij,ij->i", X[row[part], :40], W[task[part], :40])
        y[part] = np.where(score + rng.standard_normal(len(part)) > 0, 1, -1)
    return X, sparse.csr_array((y, (row, task)), shape=(rows, tasks))


def speed(numbers: int) -> float:
    """Bytes a second that a sum over a float32 array reads."""
    x, best = torch.ones(numbers), 0.0
    for _ in range(5):
        repeats = max(1, MEMORY // numbers)
        start = time.perf_counter()
        for _ in range(repeats):
            x.sum()
        best = max(best, 4 * numbers * repeats / (time.perf_counter() - start))
    return best


def one(rows: int, features: int, tasks: int, labels: int, gap: float) -> dict[str, Any]:
    """Figures for one number of labels."""
    X, Y = data(rows, features, tasks, labels)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    problem = Problem.of(X, Y, SquaredFrobenius(1e-6), fit_intercept=False)
    posed = time.perf_counter() - start
    design: Any = problem.design
    blocks = len(design._bounds) - 1  # noqa: SLF001 - for the model of the time
    swept = blocks * tasks * features * (4 + 2 * 8)
    reads = 2 * Y.nnz * features * 4
    predicted = reads / speed(CACHE) + swept / speed(MEMORY)
    print(f"{Y.nnz:,} labels: predicted {predicted:.2f} s a gradient", file=sys.stderr, flush=True)
    W = 0.01 * torch.randn(features, tasks, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        problem.smooth_value_and_grad(W)
        seconds.append(time.perf_counter() - start)
    found: dict[str, Any] = {
        "labels": Y.nnz,
        "posed_seconds": posed,
        "blocks": blocks,
        "predicted_seconds_of_a_gradient": predicted,
        "seconds_of_a_gradient": statistics.median(seconds),
        "least_seconds_of_a_gradient": min(seconds),
    }
    critical = problem.with_regularizers(L21(1.0)).critical_strength()
    # as much as half a label's curvature: tasks have few labels
    ridge = 0.25 / tasks
    for name, penalty, solver in (
        ("l21", L21(0.4 * critical), FISTA()),
        ("ridge", SquaredFrobenius(ridge), LBFGS(tolerance=0.7 * gap)),
    ):
        posed_again = problem.with_regularizers(penalty)
        start = time.perf_counter()
        result = minimize(posed_again, solver, stop=RelativeGap(gap) | MaxPasses(100))
        found[name] = {
            "seconds": time.perf_counter() - start,
            "passes": result.passes,
            "relative_gap": result.certificate.relative_gap,
            "status": result.status.name,
            "rows_in_use": float((result.coef != 0).any(1).sum()),
        }
        print(name, found[name], file=sys.stderr, flush=True)
    found["scikit_learn"] = peer(X, Y.tocsc(), ridge, result.coef.numpy())
    found["data_kilobytes"] = before
    found["peak_kilobytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found


def peer(X: Any, Y: Any, ridge: float, coef: Any, some: int = 20) -> dict[str, float]:
    """LinearSVC of the same ridge for some tasks, scaled to all."""
    tasks = np.linspace(0, Y.shape[1] - 1, some).astype(int)
    seconds, apart = 0.0, []
    for m in tasks:
        here = slice(Y.indptr[m], Y.indptr[m + 1])
        start = time.perf_counter()
        own = X[Y.indices[here]]
        model = LinearSVC(C=1 / (4 * ridge * Y.nnz), fit_intercept=False, dual=False, tol=1e-4)
        model.fit(own, Y.data[here])
        seconds += time.perf_counter() - start
        size = float(np.linalg.norm(model.coef_))
        apart.append(float(np.linalg.norm(model.coef_[0] - coef[:, m])) / size)
    return {
        "tasks": some,
        "seconds_scaled_to_all": seconds * Y.shape[1] / some,
        "largest_relative_distance": max(apart),
    }


def alone(flags: list[str]) -> Any:
    """What this script prints with some flags, in a process of its own."""
    command = [sys.executable, "-m", "bench.scale.many_labels", *flags]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def keep(case: str, found: dict[str, Any]) -> None:
    """Replace one case's part of the record."""
    path = record.RESULTS / "many_labels.json"
    cases = json.loads(path.read_text())["cases"] if path.exists() else {}
    date = record.environment()["date"]
    print(record.save("many_labels", {"cases": {**cases, case: {**found, "date": date}}}))


def shards(folder: Path, rows: int, features: int, tasks: int) -> np.ndarray[Any, Any]:
    """Write features in ten shards, and labels in int8 beside them; returns their memory map."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((40, tasks), dtype=np.float32) / np.float32(np.sqrt(40))
    path = folder / "labels.npy"
    Y = np.lib.format.open_memmap(path, "w+", np.int8, (rows, tasks))
    (folder / "features").mkdir()
    for number, part in enumerate(np.array_split(np.arange(rows), 10)):
        X = rng.standard_normal((len(part), features), dtype=np.float32)
        np.save(folder / "features" / f"part-{number}.npy", X.astype(np.float16))
        noise = rng.standard_normal((len(part), tasks), dtype=np.float32)
        Y[part[0] : part[-1] + 1] = np.where(X[:, :40] @ W + noise > 0, 1, -1)
    Y.flush()
    return np.load(path, mmap_mode="r")


def dense(rows: int, features: int, tasks: int, gap: float) -> dict[str, Any]:
    """Figures for labels of all pairs, streamed."""
    block, some = torch.ones(4096, features), torch.ones(features, tasks)
    best = min(timed(lambda: block @ some) for _ in range(9))
    products = 2 * rows / len(block) * best
    budget = 256 << 20
    predicted = budget + 13 * 4 * rows * tasks
    print(f"predicted {products:.1f} s, {predicted >> 20} MiB", file=sys.stderr, flush=True)
    with TemporaryDirectory(prefix="labels2-") as name:
        Y = shards(Path(name), rows, features, tasks)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        source = open_shards(Path(name) / "features", memory=budget)
        design = StreamedDesign(source, memory=budget)
        start = time.perf_counter()
        problem = Problem.of(design, Y, L21(1.0), loss=Logistic())
        posing = time.perf_counter() - start
        posed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        W = 0.01 * torch.randn(features, tasks, generator=torch.Generator().manual_seed(0))
        seconds = [timed(lambda: problem.smooth_value_and_grad(W)) for _ in range(2)]
        print("gradients", seconds, file=sys.stderr, flush=True)
        problem = problem.with_regularizers(L21(0.3 * problem.critical_strength()))
        start = time.perf_counter()
        stop = RelativeGap(gap) | MaxPasses(40) | MaxSeconds(200)  # eight minutes in all
        result = minimize(problem, FISTA(), stop=stop)
        return {
            "settings": {"rows": rows, "features": features, "tasks": tasks, "gap": gap},
            "predicted_seconds_of_a_gradient": products,
            "seconds_of_a_gradient": seconds,
            "posed_seconds": posing,
            "predicted_bytes": predicted,
            "kilobytes": {"before": before, "posed": posed, "peak": peak()},
            "solve": described(result, start),
        }


def timed(function: Any) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak() -> int:
    """Most memory of this process so far, kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def described(result: Any, start: float) -> dict[str, Any]:
    """Figures of a solve that began at a time."""
    return {
        "seconds": time.perf_counter() - start,
        "passes": result.passes,
        "relative_gap": result.certificate.relative_gap,
        "status": result.status.name,
        "share_of_zeros": float((result.coef == 0).double().mean()),
    }


def groups_of(kind: str, number: int, tasks: int) -> Groups:
    """Groups of tasks: disjoint ones, windows of ten, or ten at random."""
    rng = np.random.default_rng(0)
    if kind == "disjoint":
        lists = [part.tolist() for part in np.array_split(np.arange(tasks), number)]
    elif kind == "windows":
        step = max(1, tasks // number)
        lists = [[(step * g + j) % tasks for j in range(10)] for g in range(number)]
    else:
        # every task is in a group, or there is no strength at which all are zero
        lists = rng.permutation(tasks).reshape(-1, 10).tolist()
        lists += [rng.choice(tasks, 10, replace=False).tolist() for _ in range(number - len(lists))]
    return Groups.from_lists(lists, tasks)


def grouped(kind: str, number: int, tasks: int, gap: float) -> dict[str, Any]:
    """Figures for one set of groups."""
    groups = groups_of(kind, number, tasks)
    norm: Any = GroupL2 if kind == "disjoint" else OverlappingGroupL2
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(16, tasks, generator=generator)
    penalty = norm(groups, 0.5)
    penalty.prox(W[:1], 1e-3)  # compiled
    first, start = time.process_time(), time.perf_counter()
    out = penalty.prox(W, 1.0)[0]
    found: dict[str, Any] = {
        "kind": kind,
        "groups": number,
        "memberships": len(groups.indices),
        "seconds_of_a_prox": time.perf_counter() - start,
        "processor_seconds_of_a_prox": time.process_time() - first,
        "share_of_zeros": float((out == 0).double().mean()),
    }
    if found["seconds_of_a_prox"] < 1:
        X = torch.randn(2000, 16, generator=generator)
        Y = X @ W / 4 + torch.randn(2000, tasks, generator=generator) > 0
        problem = Problem.of(X, Y, norm(groups, 1.0), fit_intercept=False)
        critical = problem.critical_strength()
        problem = problem.with_regularizers(norm(groups, 0.2 * critical))
        start = time.perf_counter()
        result = minimize(problem, FISTA(), stop=RelativeGap(gap) | MaxSeconds(120))
        found["solve"] = described(result, start)
    found["peak_kilobytes"] = peak()
    return found


def commanded(rows: int, features: int, tasks: int, labels: int) -> dict[str, Any]:
    """Seconds and peak memory of `fit` and `evaluate` on labels of pairs, in an npz file."""
    X, Y = data(rows, features, tasks, labels)
    found: dict[str, Any] = {"labels": Y.nnz, "megabytes_of_a_table": 8e-6 * rows * tasks}
    with TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "x.npy", X)
        sparse.save_npz(folder / "y.npz", Y)
        fit = ["fit", "x.npy", "-l", "y.npz", "-o", "run", "--single-task", "0.1", "--tol", "1e-3"]
        calls = {"fit": [*fit, "--min-positives", "5"], "evaluate": ["evaluate", "run", "x.npy"]}
        calls["evaluate"] += ["-l", "y.npz"]
        for command, words in calls.items():
            start = time.perf_counter()
            run = [sys.executable, "-m", "proxmtl", *words]
            process = subprocess.Popen(run, cwd=folder, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            found[command] = {
                "status": os.waitstatus_to_exitcode(status),
                "seconds": time.perf_counter() - start,
                "processor_seconds": used.ru_utime + used.ru_stime,
                "peak_mib": used.ru_maxrss >> 10,
            }
    return found


def main(  # noqa: PLR0917 - options
    millions: Numbers = "1,2,4,8",
    rows: int = 200_000,
    features: int = 256,
    tasks: int = 10_000,
    gap: float = 1e-3,
    threads: int = 1,
    single: Annotated[int, typer.Option(help="One number of labels, printed as JSON.")] = 0,
    case: Literal["pairs", "dense", "groups", "command"] = "pairs",
    kind: Annotated[str, typer.Option(help="Groups of one kind, printed as JSON.")] = "",
) -> None:
    """Measure a case; each number of labels or groups in a process of its own."""
    torch.set_num_threads(threads)
    if single:
        with threadpool_limits(threads):
            found = (
                grouped(kind, single, tasks, 1e-3)
                if kind
                else one(rows, features, tasks, single, gap)
            )
        print(json.dumps(found))
        return
    if case == "dense":
        with threadpool_limits(threads):
            keep("dense", dense(1_000_000, 768, 200, 1e-2))
        return
    if case == "groups":
        runs = []
        for name, numbers in KINDS.items():
            for number in numbers:
                flags = [f"--single={number}", f"--kind={name}"]
                runs.append(alone([*flags, f"--tasks={tasks}", f"--threads={threads}"]))
                print(runs[-1], file=sys.stderr, flush=True)
        keep("groups", {"tasks": tasks, "runs": runs})
        return
    if case == "command":
        numbers = [round(1e6 * float(number)) for number in millions.split(",")]
        runs = [commanded(rows, features, tasks, labels) for labels in numbers]
        settings = {"rows": rows, "features": features, "tasks": tasks}
        keep("command", {"settings": settings, "runs": runs})
        return
    runs = []
    for number in millions.split(","):
        labels = round(1e6 * float(number))
        options = {"rows": rows, "features": features, "tasks": tasks, "gap": gap}
        flags = [f"--{name}={value}" for name, value in {**options, "threads": threads}.items()]
        runs.append(alone([f"--single={labels}", *flags]))
    keep("pairs", {"settings": {**options, "threads": threads}, "runs": runs})


if __name__ == "__main__":
    typer.run(main)
