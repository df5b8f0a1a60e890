"""Solves with ten thousand overlapping groups and more: copies of items against the exact prox.

    python -m bench.scale.overlaps            # all; each case in a process of its own
    python -m bench.scale.overlaps --only 100000
    python -m bench.scale.overlaps --only critical

Groups of ten of 10,000 items at random, each item in one at least. *Features*: groups of features,
one task, 500 samples, squared hinge, at a share of an upper bound of the critical strength,
the slope at zero dealt out evenly to the groups of an item. *Tasks*:
groups of tasks in each of 16 rows of the parameter, 2,000 samples. PDHG, to which ``solver="auto"``
goes, and FISTA with the exact prox, for at most a minute each, to a relative duality gap of 1e-4
in float32, one thread. The critical strengths themselves are timed, too.

Predicted before the first run stands in PREDICTED. Writes bench/results/overlaps.json.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from typing import Annotated, Any

import numpy as np
import torch
import typer
from threadpoolctl import threadpool_limits

from bench import record
from proxmtl import (
    FISTA,
    PDHG,
    Groups,
    MaxSeconds,
    OverlappingGroupL2,
    Problem,
    RelativeGap,
    SquaredHinge,
    minimize,
)

PREDICTED = {
    "PDHG": "100 to 1,000 iterations of a pass and some 1e-8 s a membership and slice",
    "FISTA": "not done in a minute from 10,000 groups on, where the prox crawls",
}
ITEMS, SIZE = 10_000, 10
CASES = {
    f"{what}, {groups} groups, {share}": (what, groups, share)
    for what, groups, share in [
        ("features", 3_000, 0.5),
        ("features", 10_000, 0.5),
        ("features", 10_000, 0.1),
        ("features", 100_000, 0.5),
        ("features", 100_000, 0.1),
        ("tasks", 10_000, 0.5),
        ("tasks", 100_000, 0.5),
    ]
}
"""What the groups are of, their number, and the share of the critical strength."""
SOLVERS: dict[str, Any] = {"PDHG": PDHG, "FISTA": FISTA}
CRITICAL = [(what, groups) for what in ("features", "tasks") for groups in (10_000, 100_000)]
"""Of what the critical strength is timed."""


def groups_of(number: int, items: int = ITEMS) -> Groups:
    """Groups of ten items at random; with those of a permutation, so that each item is in one."""
    rng = np.random.default_rng(0)
    lists = rng.permutation(items).reshape(-1, SIZE).tolist()
    lists += [rng.choice(items, SIZE, replace=False).tolist() for _ in range(number - len(lists))]
    return Groups.from_lists(lists, items)


def problem(what: str, number: int, share: float, items: int = ITEMS) -> Problem:
    """The problem of a case."""
    groups = groups_of(number, items)
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    if what == "features":
        X = normal(500, items)
        scores = X[:, :50] @ normal(50, 1) + 0.5 * normal(500, 1)
    else:
        X = normal(2_000, 16)
        scores = X @ normal(16, items) / 4 + normal(2_000, items)
    Y = torch.where(scores > 0, 1.0, -1.0)
    unit = OverlappingGroupL2(groups, 1.0, axis=0 if what == "features" else -1)
    posed = Problem.of(X, Y, unit, loss=SquaredHinge(), fit_intercept=False, reduction="sum")
    rows, _ = unit.layout.rows((X.T @ Y).double())
    even = unit.decomposition_norm(rows, rows.new_zeros(len(rows), len(groups.indices)))
    return posed.with_regularizers(unit.with_strength(share * even))


def solved(case: str, solver: str, seconds: float) -> dict[str, Any]:
    """Figures of a solve."""
    posed = problem(*CASES[case])
    stop = RelativeGap(1e-4) | MaxSeconds(seconds)
    begin, cpu = time.perf_counter(), time.process_time()
    result = minimize(posed, SOLVERS[solver](), stop=stop)
    return {
        "case": case,
        "solver": solver,
        "memberships": len(posed.terms[0].groups.indices),
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - cpu,
        "iterations": result.iterations,
        "status": result.status.name,
        "objective": result.objective,
        "gap": result.gap,
        "share_of_zeros": float((result.solution == 0).double().mean()),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def critical(what: str, number: int) -> dict[str, Any]:
    """Figures of a critical strength, and how far above it the even split is."""
    posed = problem(what, number, 1.0)
    begin, cpu = time.perf_counter(), time.process_time()
    strength = posed.critical_strength()
    return {
        "memberships": len(posed.terms[0].groups.indices),
        "seconds": time.perf_counter() - begin,
        "processor_seconds": time.process_time() - cpu,
        "strength": strength,
        "even_split": posed.terms[0].strength / strength,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def main(
    only: record.Only = "",
    seconds: Annotated[float, typer.Option(help="Most of a solve.")] = 60.0,
    single: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Solve the cases by both, and record them."""
    torch.set_num_threads(1)
    if single:
        case, _, solver = single.partition(": ")
        with threadpool_limits(1):
            if case == "critical":
                what, number = solver.split(", ")
                print(json.dumps(critical(what, int(number))))
            else:
                print(json.dumps(solved(case, solver, seconds)))
        return
    settings = {"items": ITEMS, "size": SIZE, "seconds": seconds, "threads": 1}
    runs = record.runs_so_far("overlaps", settings)
    names = [f"critical: {what}, {number}" for what, number in CRITICAL]
    for name in (*names, *(f"{case}: {solver}" for case in CASES for solver in SOLVERS)):
        if only in name:
            command = [sys.executable, "-m", "bench.scale.overlaps", f"--single={name}"]
            out = subprocess.run(
                [*command, f"--seconds={seconds}"], check=True, stdout=subprocess.PIPE, text=True
            )
            runs[name] = json.loads(out.stdout)
            typer.echo(out.stdout.strip())
            record.save("overlaps", {"settings": settings, "predicted": PREDICTED, "runs": runs})


if __name__ == "__main__":
    typer.run(main)
