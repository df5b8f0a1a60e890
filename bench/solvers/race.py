"""Our solvers and the field's on the same problems: seconds to 1e-3, 1e-6 and 1e-8.

    python -m bench.solvers.race b1-tall-0.1 b3-0.1    # some cases
    python -m bench.solvers.race --limit 20            # all, 20 s a contender at most

Relative suboptimality is against the best objective that any contender reached in the same race.
Processor time of one thread. Peers that are not installed are left out. Writes
bench/results/engine.json, cases that were not run now are kept, and prints the table of
docs/benchmarks/results.md.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Annotated, Any

import numba
import torch
import typer

from bench import record
from bench.solvers.engine.cases import CASES
from bench.solvers.engine.contenders import race, reach

ACCURACIES = (1e-3, 1e-6, 1e-8)
PEERS = ("scikit-learn", "skglm", "celer", "copt", "adelie", "pyproximal", "spams-bin")


def main(
    cases: Annotated[list[str] | None, typer.Argument(help="Names; default all.")] = None,
    limit: Annotated[float, typer.Option(help="Seconds for one contender on one case.")] = 10.0,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out peers with this word.")] = None,
) -> None:
    """Race the contenders and record the times."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    unknown = set(cases or ()) - set(CASES)
    if unknown:
        raise typer.BadParameter(f"{sorted(unknown)}; choose among {sorted(CASES)}")
    path = record.RESULTS / "engine.json"
    rows: dict[str, Any] = json.loads(path.read_text())["cases"] if path.is_file() else {}
    for key in cases or CASES:
        case = CASES[key]()
        curves, best = race(case, limit, skip or [])
        times = {
            name: [reach(curve, best, accuracy) for accuracy in ACCURACIES]
            for name, curve in curves.items()
        }
        rows[key] = {"title": case.name, "strength": case.strength, "best": best, "seconds": times}
        print("\n".join(table(rows[key])), flush=True)
        versions = {name: version(name) for name in PEERS}
        record.save("engine", {"accuracies": ACCURACIES, "peers": versions, "cases": rows})


def table(row: dict[str, Any]) -> list[str]:
    """Lines of a case; in brackets how many times as long as ProxNewton."""
    lines = [f"| *{row['title']}* | | | |"]
    reference = row["seconds"]["ProxNewton"]
    for name, times in row["seconds"].items():
        cells = [_cell(t, r) for t, r in zip(times, reference, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(seconds: float | None, reference: float | None) -> str:
    if seconds is None:
        return "–"
    ratio = "" if reference is None else f" ({seconds / reference:.2g}x)"
    return f"{seconds:.3g}{ratio}"


def version(name: str) -> str | None:
    """Version of an installed peer; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    typer.run(main)
