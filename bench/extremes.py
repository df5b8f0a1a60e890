"""What estimators and kernels do with extreme data: the table of docs/reliability.md.

Runs every estimator and every kernel backend that works here on the cases that the tests share
(``tests/extreme_cases.py``, ``tests/extreme_kernels.py``), and records the outcomes in
``bench/results/reliability_extremes.json``, which ``bench/reliability.py`` turns into the table.

    python bench/extremes.py
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import torch
import typer
from record import save

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import extreme_cases  # noqa: E402 - of the tests, found through the path
import extreme_kernels  # noqa: E402

from proxmtl.kernels import backends  # noqa: E402


def main(
    only: Annotated[str, typer.Option(help="cases whose name contains this")] = "",
    threads: int = 1,
) -> None:
    """Run all cases and record the outcomes; exit with 1 if one is not as it should be."""
    torch.set_num_threads(threads)
    rows = [*_estimators(only), *_kernels(only)]
    if not only:
        save("reliability_extremes", {"cases": rows})
    wrong = [row for row in rows if not row["expected"]]
    typer.echo(f"{len(rows)} outcomes, {len(wrong)} of them not as they should be")
    for row in wrong:
        typer.echo(f"{row['case']}, {row['subject']}: {row['outcome']}")
    raise typer.Exit(bool(wrong))


def _estimators(only: str) -> list[dict[str, object]]:
    rows = []
    for case in extreme_cases.cases().values():
        if only not in case.name:
            continue
        for name in extreme_cases.LARGE.get(case.name, extreme_cases.KINDS):
            for standardize in (True, False):
                found = extreme_cases.outcome(name, case, standardize=standardize)
                rows.append(
                    {
                        "case": case.name,
                        "part": "estimators",
                        "subject": name if standardize else f"{name}, not standardized",
                        "outcome": found,
                        "expected": case.expects(found, standardize=standardize),
                    }
                )
    return rows


def _kernels(only: str) -> list[dict[str, object]]:
    here = [name for name, works in backends().items() if works]
    if not torch.cuda.is_available():
        here = [name for name in here if name != "triton"]  # its kernels are for GPUs
    rows = []
    for case in extreme_kernels.cases().values():
        if only not in case.name:
            continue
        for operation in extreme_kernels.OPERATIONS:
            for backend in here:
                found = extreme_kernels.outcome(operation, case, backend)
                rows.append(
                    {
                        "case": case.name,
                        "part": "kernels",
                        "subject": f"{operation} ({backend})",
                        "outcome": found,
                        "expected": case.expects(found),
                    }
                )
    return rows


if __name__ == "__main__":
    typer.run(main)
