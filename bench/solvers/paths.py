"""What a regularization path takes, in solves at its smallest strength.

    python -m bench.solvers.paths                  # what is not in the results yet
    python -m bench.solvers.paths --only b3 --again

The problems of `bench/solvers/engine/cases.py`. A path has 30 strengths, from the critical one down
to the case's fraction of it, each solved and certified to a relative gap of 1e-6 by the default
solver; the solve is `minimize` at the last of them, from zero. Both begin with a problem of which
nothing is computed yet. Processor seconds of one thread, medians of rounds in turns. Writes
bench/results/paths.json and prints the table of docs/benchmarks/performance.md.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated, Any

import torch
import typer
from threadpoolctl import threadpool_limits

import proxmtl as pm
from bench import record
from bench.solvers.engine.cases import CASES, Case

STRENGTHS = 30
NAMES = (
    "b1-tall-0.01",
    "b1-wide-0.1",
    "b1-lasso-0.01",
    "b3-0.1",
    "b4-squared-0.1",
    "b4-logistic-0.1",
    "text-svm-0.01",
)


def measured(case: Case, rounds: int) -> dict[str, Any]:
    """Seconds and passes of a path and of a solve."""
    pm.solve_path(case.problem(), n=3, ratio=0.8)  # imports and compiles what it needs
    seconds: dict[str, list[float]] = {"path": [], "solve": []}
    for _ in range(rounds):
        problem = case.problem()
        begin = time.process_time()
        path = pm.solve_path(problem, n=STRENGTHS, ratio=case.fraction)
        seconds["path"].append(time.process_time() - begin)
        problem = case.problem(path.strengths[-1])
        begin = time.process_time()
        last = pm.minimize(problem)
        seconds["solve"].append(time.process_time() - begin)
    ratios = [a / b for a, b in zip(seconds["path"], seconds["solve"], strict=True)]
    return {
        "solver": last.solver,
        "seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "passes": {"path": path.passes, "solve": last.passes},
        "iterations": {"path": sum(p.iterations for p in path.points), "solve": last.iterations},
        "converged": sum(point.status.ok for point in path.points),
        "rows": int((path.solutions[-1] != 0).any(1).sum()),
    }


def main(
    only: record.Only = "",
    rounds: Annotated[int, typer.Option(help="Rounds of each case.", min=1)] = 3,
    again: Annotated[bool, typer.Option(help="Measure anew what is in the results.")] = False,
) -> None:
    """Measure, save after each case, and print the table."""
    torch.set_num_threads(1)
    settings = {"strengths": STRENGTHS, "rounds": rounds}
    runs = record.runs_so_far("paths", settings)
    with threadpool_limits(1):
        for key in NAMES:
            case = CASES[key]()
            if only in key and (again or case.name not in runs):
                runs[case.name] = measured(case, rounds)
                record.save("paths", {"settings": settings, "runs": runs})
                print(case.name, runs[case.name], flush=True)
    print(table(runs))


def table(runs: dict[str, Any]) -> str:
    """The table of docs/benchmarks/performance.md."""
    lines = [
        "| path down to the fraction | solver | path, s | passes | solve, s | passes | times |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, run in runs.items():
        path, solve = (
            f"{run['seconds'][kind]:.2g} | {run['passes'][kind]:.0f}" for kind in ("path", "solve")
        )
        lines.append(f"| {name} | `{run['solver']}` | {path} | {solve} | {run['ratio']:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
