"""Does sharing pay in regression? Regressors that choose whether to share, against RidgeCV.

    python -m bench.models.pays_regression
    python -m bench.models.pays_regression --only school --draws 2

As ``pays.py``, with real targets: scikit-learn's ``RidgeCV`` for each task alone, on its own
rows, and ours alone, with a shared part, and with latent tasks. The score is the explained
variance of the rows kept apart: one minus the squared errors over those of each task's mean in
training, both summed over all tasks. What is finished is kept in
``bench/results/pays_regression.json``; the table that is printed stands in docs/how_to/sharing.md.
"""

from __future__ import annotations

import csv
import gzip
import io
import time
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import typer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from bench import record
from bench.models.pays import interval
from proxmtl.backbones.experiments.datasets import data_root
from proxmtl.estimators import LatentMTLRegressorCV, SharedPlusOwnRegressorCV, SingleTaskRegressorCV

FOLDS = 5
ALPHAS = np.logspace(-4, 4, 17)
PEER = "RidgeCV"
ALONE = "SingleTaskRegressorCV"
SHARED = "SharedPlusOwnRegressorCV"
LATENT = "LatentMTLRegressorCV"


class Table(NamedTuple):
    """Features (N, D) and targets (N, M), NaN where a row is not of the task."""

    X: np.ndarray
    Y: np.ndarray


class Setting(NamedTuple):
    """A data set, and the share of each task's rows, or their number, that is trained on."""

    data: Callable[[], Table]
    train: float

    def draw(self, seed: int) -> tuple[Table, Table]:
        """Training and test part."""
        X, Y = self.data()
        rng = np.random.default_rng(seed)
        if not np.isnan(Y).any():  # rows of all tasks
            order = rng.permutation(len(X))
            n = int(self.train) if self.train > 1 else round(self.train * len(X))
            return Table(X[order[:n]], Y[order[:n]]), Table(X[order[n:]], Y[order[n:]])
        chosen = np.zeros(len(X), dtype=bool)
        for y in Y.T:
            rows = rng.permutation(np.flatnonzero(~np.isnan(y)))
            n = int(self.train) if self.train > 1 else round(self.train * len(rows))
            chosen[rows[:n]] = True
        return Table(X[chosen], Y[chosen]), Table(X[~chosen], Y[~chosen])


def _by_task(X: np.ndarray, y: np.ndarray, task: np.ndarray) -> Table:
    """A column of targets for each task."""
    tasks = np.unique(task)
    Y = np.where(task[:, None] == tasks, y[:, None], np.nan)
    return Table(X.astype(np.float64), Y)


@cache
def school() -> Table:
    """Exam scores of 15,362 pupils of 139 schools, 28 features: a task a school."""
    with np.load(data_root() / "mtl_tabular" / "school.npz") as stored:
        return _by_task(stored["X"], stored["y"].astype(np.float64), stored["task"])


@cache
def computer() -> Table:
    """How likely each of 190 people is to buy each of 20 computers of 13 attributes."""
    with np.load(data_root() / "mtl_tabular" / "computer_buyers.npz") as stored:
        design = stored["design"].astype(np.float64)
        varied = design.std(axis=0) > 0
        return Table(design[:, varied], stored["like_buy"].T.astype(np.float64))


@cache
def parkinsons() -> Table:
    """Total UPDRS of 42 patients from 5,875 recordings of their voices, 19 features."""
    text = gzip.decompress((data_root() / "mtl_tabular" / "parkinsons_updrs.csv.gz").read_bytes())
    header, *rows = csv.reader(io.StringIO(text.decode()))
    values = np.array(rows, dtype=np.float64)
    kept = [i for i, name in enumerate(header) if i > 0 and "UPDRS" not in name]
    target = values[:, header.index("total_UPDRS")]
    return _by_task(values[:, kept], target, values[:, 0])


@cache
def sarcos() -> Table:
    """Seven torques of a robot's arm from 21 positions, speeds and accelerations."""
    with np.load(data_root() / "mtl_tabular" / "sarcos_inv_test.npz") as stored:
        table = stored["sarcos_inv_test"]
    Y = table[:, 21:]
    return Table(table[:, :21], Y / Y.std(axis=0))


SETTINGS = {
    "school, 20 pupils each": Setting(school, 20),
    "school, 60 %": Setting(school, 0.6),
    "computer, 8 of 20": Setting(computer, 8),
    "computer, 15 of 20": Setting(computer, 15),
    "parkinsons, 15 recordings each": Setting(parkinsons, 15),
    "parkinsons, 50 %": Setting(parkinsons, 0.5),
    "sarcos, 50 rows": Setting(sarcos, 50),
    "sarcos, 500 rows": Setting(sarcos, 500),
}


def peer(train: Table, X_test: np.ndarray, seed: int) -> np.ndarray:
    """Predictions of scikit-learn's regressor for each task, on its own rows."""
    del seed
    out = np.empty((len(X_test), train.Y.shape[1]))
    for m, y in enumerate(train.Y.T):
        seen = ~np.isnan(y)
        folds = min(FOLDS, int(seen.sum()))
        model = make_pipeline(StandardScaler(), RidgeCV(alphas=ALPHAS * seen.sum(), cv=folds))
        out[:, m] = model.fit(train.X[seen], y[seen]).predict(X_test)
    return out


def ours(kind: type[SingleTaskRegressorCV]) -> Callable[[Table, np.ndarray, int], np.ndarray]:
    """Predictions of one of our regressors."""

    def predictions(train: Table, X_test: np.ndarray, seed: int) -> np.ndarray:
        return kind(cv=FOLDS, random_state=seed).fit(train.X, train.Y).predict(X_test)

    return predictions


MODELS: dict[str, Callable[[Table, np.ndarray, int], np.ndarray]] = {
    PEER: peer,
    ALONE: ours(SingleTaskRegressorCV),
    SHARED: ours(SharedPlusOwnRegressorCV),
    LATENT: ours(LatentMTLRegressorCV),
}


def run(model: str, train: Table, test: Table, seed: int) -> dict[str, float]:
    """Explained variance, and processor time, of a model on one draw."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        predicted = MODELS[model](train, test.X, seed)
    seconds = time.process_time() - begin
    errors = np.nansum((test.Y - predicted) ** 2)
    explained = 1 - errors / np.nansum((test.Y - np.nanmean(train.Y, axis=0)) ** 2)
    return {"explained": float(f"{explained:.5f}"), "cpu_seconds": round(seconds, 2)}


def table(runs: dict[str, Any]) -> list[str]:
    """Lines of the table, in Markdown."""
    lines = [
        "| setting | tasks | rows | draws | RidgeCV | alone | shared | latent | gain | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SETTINGS:
        draws = [runs[key] for key in sorted(runs) if key.rsplit(" #", 1)[0] == name]
        if not draws:
            continue
        means = {m: np.array([100 * draw[m]["explained"] for draw in draws]) for m in MODELS}
        seconds = [f"{np.mean([draw[m]['cpu_seconds'] for draw in draws]):.1f}" for m in MODELS]
        gain, half = interval(means[SHARED] - means[PEER])
        figures = " | ".join(f"{values.mean():.1f}" for values in means.values())
        lines.append(
            f"| {name} | {draws[0]['tasks']} | {draws[0]['rows_each']:.0f} | {len(draws)} | "
            f"{figures} | {gain:+.1f} ± {half:.1f} | {', '.join(seconds)} |"
        )
    return lines


def main(only: record.Only = "", draws: record.Draws = 5, threads: record.Threads = 1) -> None:
    """Run the settings draw by draw and print the table."""
    settings = {"folds": FOLDS, "alphas": ALPHAS.tolist(), "threads": threads}
    runs = record.runs_so_far("pays_regression", settings)
    for name, seed, key in record.missing_draws(runs, SETTINGS, draws, only):
        train, test = SETTINGS[name].draw(seed)
        found: dict[str, Any] = {
            "tasks": train.Y.shape[1],
            "rows_each": float((~np.isnan(train.Y)).sum(0).mean()),
        }
        with threadpool_limits(threads):
            for model in MODELS:
                found[model] = run(model, train, test, seed)
        runs[key] = found
        record.save("pays_regression", {"settings": settings, "runs": runs})
        print(key, *(f"{100 * found[m]['explained']:.2f}" for m in MODELS), flush=True)
    print("\n".join(table(runs)))


if __name__ == "__main__":
    typer.run(main)
