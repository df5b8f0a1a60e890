"""What every benchmark writes beside its figures: machine, versions, date; and its plots."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import itertools
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import matplotlib as mpl
import typer

from proxmtl.io import write_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
DOCS = ROOT / "docs"
Only = Annotated[str, typer.Option(help="Settings whose name contains this.")]
Draws = Annotated[int, typer.Option(help="Draws of each setting.", min=1)]
Threads = Annotated[int, typer.Option(help="Threads of the BLAS.", min=1)]
PACKAGES = ("torch", "numpy", "scikit-learn", "numba")


def environment() -> dict[str, Any]:
    """Date, machine and versions; nothing that names the machine."""
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()}-core {platform.machine()} CPU, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def save(name: str, content: Mapping[str, Any]) -> Path:
    """Write ``bench/results/<name>.json`` atomically and return its path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    write_json(path, {**environment(), **content})
    return path


def runs_so_far(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Runs in ``bench/results/<name>.json`` if they were made with the same settings."""
    path = RESULTS / f"{name}.json"
    content = json.loads(path.read_text()) if path.is_file() else {}
    same = content.get("settings") == json.loads(json.dumps(settings))  # tuples become lists there
    return dict(content["runs"]) if same else {}


def missing_draws(
    runs: Mapping[str, Any], names: Iterable[str], draws: int, only: str = ""
) -> Iterator[tuple[str, int, str]]:
    """Name, number and key of each draw of the settings that ``runs`` lacks, draw by draw."""
    for seed, name in itertools.product(range(draws), list(names)):
        if only in name and f"{name} #{seed}" not in runs:
            yield name, seed, f"{name} #{seed}"


def thinned(history: Sequence[Mapping[str, float]], n: int = 120) -> list[dict[str, float]]:
    """At most about ``n`` records, evenly spread over the passes, with the first and the last."""
    if len(history) <= n:
        return [dict(record) for record in history]
    step = history[-1]["passes"] / n
    kept, due = [], 0.0
    for record in history:
        if record["passes"] >= due or record is history[-1]:
            kept.append(dict(record))
            due = record["passes"] + step
    return kept


def plot_histories(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    name: str,
    title: str,
    against: Sequence[tuple[str, str]] = (("passes", "passes over the data"),),
    level: tuple[float, str] | None = None,
) -> Path:
    """Write ``docs/benchmarks/<name>.svg``: the objective of each run against the given columns."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        1, len(against), figsize=(5.2 * len(against) + 1, 4), sharey=True, squeeze=False
    )
    for axis, (column, label) in zip(axes[0], against, strict=True):
        for run, history in histories.items():
            axis.plot([h[column] for h in history], [h["objective"] for h in history], label=run)
        if level is not None:
            axis.axhline(level[0], color="0.5", linestyle=":", label=level[1])
        axis.set(xlabel=label, xscale="log", yscale="log")
        axis.grid(visible=True, which="both", alpha=0.2)
    axes[0][0].set_ylabel("objective")
    axes[0][0].legend(frameon=False)
    figure.suptitle(title)
    figure.tight_layout()
    path = DOCS / "benchmarks" / f"{name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def passes_to(history: Sequence[Mapping[str, float]], objective: float) -> float | None:
    """Passes of the first record that is at or below an objective; ``None`` if there's none."""
    return next((h["passes"] for h in history if h["objective"] <= objective), None)
