"""Ours and the field's on the same problems: seconds to 1e-3, 1e-6 and 1e-8, and profiles.

    make bench-peers                                        # what is not in the results yet
    make bench-peers PEERS='--minutes 4 b1-lasso-0.1'       # some cases, within some time
    make bench-peers PEERS='--threads 2 --again'

Relative suboptimality is against the best objective that any contender reached in the same race; it
is computed in NumPy for all, after a check that this is the objective that ours certifies.
Contenders take turns, another one first in each round. Processor time with one thread, wall time
with more. A contender that has used up its limit makes no further run in a round. Peers that are
not installed are left out. Writes bench/results/peers.json (peers_2.json with two threads), where
cases that were run before stay, and docs/benchmarks/peers.svg: the share of its cases that a
contender solves to 1e-6 within a multiple of the best time (Dolan and Moré 2002).
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from typing import Annotated, Any

import matplotlib as mpl
import numba
import torch
import typer

from bench import record
from bench.solvers.engine.cases import CASES
from bench.solvers.engine.contenders import OURS, race, timed

ACCURACIES = (1e-3, 1e-6, 1e-8)
PROFILED = 1
"""Place of the accuracy of the profiles."""
PEERS = (
    "scikit-learn",
    "liblinear-multicore",
    "celer",
    "skglm",
    "adelie",
    "copt",
    "cyanure",
    "pyproximal",
    "spams-bin",
)


def main(
    cases: Annotated[list[str] | None, typer.Argument(help="Names; default all.")] = None,
    *,
    limit: Annotated[float, typer.Option(help="Seconds of a contender in a round.")] = 5.0,
    rounds: Annotated[int, typer.Option(help="Runs of each contender.", min=1)] = 3,
    threads: record.Threads = 1,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out peers with this word.")] = None,
    minutes: Annotated[float, typer.Option(help="No case begins after these.")] = 60.0,
    again: Annotated[bool, typer.Option(help="Run what is in the results, too.")] = False,
) -> None:
    """Race the contenders and record the times."""
    torch.set_num_threads(threads)
    numba.set_num_threads(threads)
    unknown = set(cases or ()) - set(CASES)
    if unknown:
        raise typer.BadParameter(f"{sorted(unknown)}; choose among {sorted(CASES)}")
    begin = time.monotonic()
    name = "peers" if threads == 1 else f"peers_{threads}"
    path = record.RESULTS / f"{name}.json"
    rows: dict[str, Any] = json.loads(path.read_text())["cases"] if path.is_file() else {}
    for key in cases or CASES:
        late = time.monotonic() - begin > 60 * minutes
        if late or (key in rows and not again):
            continue
        case = CASES[key]()
        case.threads = threads
        curves, best, failed = race(case, limit, rounds, skip or [])
        times = timed(curves, best, ACCURACIES)
        found = {"title": case.name, "strength": case.strength, "best": best}
        rows[key] = {**found, "times": times, "failed": failed}
        print(*table(rows[key]), sep="\n", flush=True)
        about = {"accuracies": ACCURACIES, "limit": limit, "rounds": rounds, "threads": threads}
        peers = {name: version(name) for name in PEERS}
        record.save(name, {**about, "peers": peers, "cases": rows})
    if rows:
        plot(rows, name)


def table(row: dict[str, Any]) -> list[str]:
    """Lines of a case; in brackets how many times as long as ours, and the spread of that."""
    lines = [f"| *{row['title']}* | | | |"]
    for name, times in row["times"].items():
        lines.append(f"| {name} | {' | '.join(map(_cell, times))} |")
    return lines + [f"| {name}: {error} | | | |" for name, error in row["failed"].items()]


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return "–"
    if "ratio" not in found:
        return f"{found['seconds']:.2g}"
    low, high = found["spread"]
    ratio = "" if low == high == 1 else f" ({found['ratio']:.2g}x, {low:.2g}–{high:.2g})"
    return f"{found['seconds']:.2g}{ratio}"


def plot(rows: dict[str, Any], name: str) -> None:
    """Performance profiles, each contender on the cases in which it runs."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    ratios: dict[str, list[float]] = {}
    for row in rows.values():
        times = {who: found[PROFILED] for who, found in row["times"].items()}
        known = [found["seconds"] for found in times.values() if found is not None]
        for who, found in times.items():
            ratio = found["seconds"] / min(known) if found is not None else float("inf")
            ratios.setdefault(who, []).append(ratio)
    figure, axis = plt.subplots(figsize=(7, 4.4))
    for who, found in sorted(ratios.items(), key=lambda item: -len(item[1])):
        solved = sorted(ratio for ratio in found if ratio < float("inf"))
        shares = [number / len(found) for number in range(len(solved) + 1)]
        width = 2.5 if who == OURS else 1.2
        label = f"{who} ({len(found)})"
        axis.step([1, *solved, 100], [*shares, shares[-1]], where="post", label=label, lw=width)
    axis.set(
        xscale="log",
        xlim=(1, 100),
        ylim=(0, 1.02),
        xlabel="time to 1e-6, as a multiple of the best",
        ylabel="share of its cases",
    )
    axis.grid(visible=True, which="both", alpha=0.2)
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(record.DOCS / "benchmarks" / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def version(name: str) -> str | None:
    """Version of an installed peer; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    typer.run(main)
