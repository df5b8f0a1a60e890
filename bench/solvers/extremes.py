"""What estimators and kernels do with extreme data: the table of docs/reference/reliability.md.

Runs every estimator and every kernel backend that works here on the cases that the tests share
(``tests/extreme_cases.py``, ``tests/extreme_kernels.py``), and records the outcomes in
``bench/results/reliability_extremes.json``, which ``reliability.py`` turns into the table.

    python -m bench.solvers.extremes
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer

from bench.record import save

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

import extreme_cases  # noqa: E402 - of the tests, found through the path
import extreme_kernels  # noqa: E402

from proxmtl.kernels import backends  # noqa: E402

Run = tuple[str, str, str, bool | str]
"""Part, case, estimator or operation, and standardised or the backend."""


def main(
    only: Annotated[str, typer.Option(help="cases whose name contains this")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="processes")] = 2,
) -> None:
    """Run all cases and record the outcomes; exit with 1 if one is not as it should be."""
    runs = [run for run in _runs() if only in run[1]]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        rows = list(pool.map(_row, runs, chunksize=10))
    if not only:
        save("reliability_extremes", {"cases": rows})
    wrong = [row for row in rows if not row["expected"]]
    typer.echo(f"{len(rows)} outcomes, {len(wrong)} of them not as they should be")
    for row in wrong:
        typer.echo(f"{row['case']}, {row['subject']}: {row['outcome']}")
    raise typer.Exit(bool(wrong))


def _runs() -> list[Run]:
    here = [name for name, works in backends().items() if works]
    if not torch.cuda.is_available():
        here = [name for name in here if name != "triton"]  # its kernels are for GPUs
    runs: list[Run] = [
        ("estimators", case, name, standardize)
        for case in extreme_cases.cases()
        for name in extreme_cases.LARGE.get(case, extreme_cases.KINDS)
        for standardize in (True, False)
    ]
    runs += [
        ("kernels", name, operation, backend)
        for name, case in extreme_kernels.cases().items()
        for operation in extreme_kernels.OPERATIONS
        for backend in here
        if case.of is None or backend != "naive"  # loops
    ]
    return runs


def _row(run: Run) -> dict[str, object]:
    torch.set_num_threads(1)
    part, name, subject, how = run
    if isinstance(how, str):
        parameter = extreme_kernels.cases()[name]
        found = extreme_kernels.outcome(subject, parameter, how)
        expected, subject = parameter.expects(found), f"{subject} ({how})"
    else:
        case = extreme_cases.cases()[name]
        found = extreme_cases.outcome(subject, case, standardize=how)
        expected = case.expects(found, standardize=how)
        subject = subject if how else f"{subject}, not standardized"
    return {
        "case": name,
        "part": part,
        "subject": subject,
        "outcome": found,
        "expected": expected,
    }


if __name__ == "__main__":
    typer.run(main)
