"""Rows of the tables in docs/benchmarks/results.md, each with its own search of nine candidates.

Hyperparameters are chosen by mean AP on a validation quarter of the training part; the test part
is used once, by the refitted winner. W = L S depends on the strengths only through
``a = mu gamma`` and ``b = mu^2 lambda``, so the latent rows search over these two.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress as Bar
from sklearn.model_selection import GridSearchCV

from bench import record
from proxmtl.estimators import LatentMTLClassifier, SingleTaskClassifier
from proxmtl.experiments import TOTAL, Comparison, FitProgress, Holdout, compare, mean_ap

if TYPE_CHECKING:
    import numpy as np

    from proxmtl import Groups

Splits = Annotated[int, typer.Option(help="number of random splits")]
Passes = Annotated[float, typer.Option(help="budget of each fit")]
Algorithm = Annotated[str, typer.Option(help="of the latent rows: auto, panoc or palm")]
Seed = Annotated[int, typer.Option(help="of the splits")]

SINGLE, UNGROUPED, GROUPED = "single-task", "latent, no groups", "latent, groups"


def invariants(a: Sequence[float], b: Sequence[float]) -> list[dict[str, list[float]]]:
    """Grid over ``(mu gamma, mu^2 lambda)``: of all equivalent strengths, ``mu = gamma``."""
    return [
        {
            "group_strength": [x**0.5],
            "l1_strength": [x**0.5],
            "frobenius_strength": [y / x],
        }
        for x, y in itertools.product(a, b)
    ]


def rows(
    groups: Groups,
    ridges: Sequence[float],
    grids: dict[str, list[dict[str, list[float]]]],
    *,
    algorithm: str,
    max_passes: float,
    tol: float,
) -> dict[str, GridSearchCV]:
    """The three rows; each search has the same number of candidates."""
    estimators = {
        SINGLE: (
            SingleTaskClassifier(max_passes=max_passes, tol=tol),
            {"l2_strength": list(ridges)},
        ),
        UNGROUPED: (
            LatentMTLClassifier(groups=None, algorithm=algorithm, max_passes=max_passes, tol=tol),
            grids[UNGROUPED],
        ),
        GROUPED: (
            LatentMTLClassifier(groups=groups, algorithm=algorithm, max_passes=max_passes, tol=tol),
            grids[GROUPED],
        ),
    }
    return {
        name: GridSearchCV(estimator, grid, scoring=mean_ap, cv=Holdout(0.25), error_score="raise")
        for name, (estimator, grid) in estimators.items()
    }


def run(
    estimators: dict[str, GridSearchCV],
    X: np.ndarray,
    Y: np.ndarray,
    *,
    groups: Groups,
    names: Sequence[str],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Comparison:
    """Fit all rows on all splits, with a progress bar."""
    with Bar() as bar:
        task = bar.add_task("fits", total=len(estimators) * len(splits))

        def advance(progress: FitProgress) -> None:
            bar.update(task, completed=progress.done)
            bar.print(f"{progress.row}, split {progress.split}: {progress.seconds:.0f} s")

        return compare(estimators, X, Y, groups, names, splits, advance)


def compared(
    name: str,
    settings: dict[str, Any],
    grids: dict[str, Sequence[float]],
    X: np.ndarray,
    Y: np.ndarray,
    **data: Any,
) -> None:
    """Fit the three rows with the ``algorithm`` and ``passes`` of the settings; record and print.

    ``grids`` has the ridges and the two invariants of the latent rows, under their names; ``data``
    is that of :func:`run`.
    """
    ridges, A, B = grids.values()
    grid = invariants(A, B)
    estimators = rows(
        data["groups"],
        ridges,
        {UNGROUPED: grid, GROUPED: grid},
        algorithm=settings["algorithm"],
        max_passes=settings["passes"],
        tol=1e-3,
    )
    result = run(estimators, X, Y, **data)
    print(record.save(name, {"settings": settings, "grids": grids, **report(result)}))


def paired(result: Comparison, metric: str, row: str, baseline: str) -> dict[str, float]:
    """Difference of two rows' totals, split by split: mean, std, and the splits won by ``row``."""
    total = result.per_group[result.per_group["group"] == TOTAL]
    table = total.pivot_table(metric, "split", "row")
    difference = table[row] - table[baseline]
    return {
        "mean": float(difference.mean()),
        "std": float(difference.std(ddof=1)),
        "won": int((difference > 0).sum()),
        "splits": len(difference),
    }


def report(result: Comparison) -> dict[str, Any]:
    """Print tables and paired differences; return what the results file holds."""
    for metric in ("accuracy", "ap"):
        print(f"\n{metric}\n{markdown(result, metric)}")
    differences = {
        f"{row} - {baseline}": {
            metric: paired(result, metric, row, baseline) for metric in ("accuracy", "ap", "auc")
        }
        for row, baseline in ((UNGROUPED, SINGLE), (GROUPED, SINGLE), (GROUPED, UNGROUPED))
    }
    for name, by_metric in differences.items():
        print(
            name,
            {k: f"{100 * v['mean']:+.2f} ± {100 * v['std']:.2f}" for k, v in by_metric.items()},
        )
    return {"differences": differences, **result.to_dict()}


def markdown(result: Comparison, metric: str) -> str:
    """Table of one metric as Markdown, in per cent, with the majority rate or prevalence below."""
    table = result.table(metric)
    beside = "majority" if metric == "accuracy" else "prevalence"
    first = result.table(beside).iloc[0]
    lines = ["| | " + " | ".join(table.columns) + " |", "|---" * (1 + len(table.columns)) + "|"]
    lines += [f"| {row} | " + " | ".join(cells) + " |" for row, cells in table.iterrows()]
    lines.append(f"| *{beside}* | " + " | ".join(cell.split(" ")[0] for cell in first) + " |")
    return "\n".join(lines)
