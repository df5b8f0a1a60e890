"""L1 on text: ours and LIBLINEAR on the same sparse problems, in turns, in one run.

    python -m bench.solvers.sparse_text                      # all settings
    python -m bench.solvers.sparse_text --only "1 task"      # some of them

Words: 20,000 documents of 100 draws from 50,000 words by Zipf's law, as tf-idf rows of norm 1;
labels by 200 planted words a task, 5 % of them flipped; with 20 tasks a tenth of the labels is
missing. Newsgroups: ``mtl_tabular/newsgroup_*.npz`` in the data folder, where there is one; 7091
documents and 2000 words, with the task of each topic against the others, and with the task of each
pair of topics, which leaves three quarters of the labels missing. LIBLINEAR is given the labelled
documents of each task in turn.

Both start from a SciPy CSR matrix and labels, and are run for a row of tolerances. Each answer is
measured by the certificate of our problem: suboptimality relative to the best objective of the
race, and duality gap. Processor seconds of one thread, median over the rounds. Writes
bench/results/sparse_text.json; settings that were not run now are kept.
"""

from __future__ import annotations

import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numba
import numpy as np
import scipy.sparse as sp
import torch
import typer
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

import proxmtl as pm
from bench import record
from proxmtl.solvers.choice import solver_for

ACCURACIES = (1e-3, 1e-6, 1e-8)
OURS = (3e-1, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
THEIRS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
LOSSES = {"squared hinge": pm.SquaredHinge(), "logistic": pm.Logistic()}

Problem = tuple[Any, np.ndarray, pm.Loss, float]


def words(n: int = 20_000, d: int = 50_000, length: int = 100) -> Any:
    """Documents in CSR, tf-idf, rows of norm 1."""
    rng = np.random.default_rng(0)
    frequency = 1 / (np.arange(d) + 10.0)
    place = rng.choice(d, size=n * length, p=frequency / frequency.sum())
    drawn = np.ones(n * length), (np.repeat(np.arange(n), length), rng.permutation(d)[place])
    X = sp.csr_matrix(drawn, shape=(n, d))
    X.sum_duplicates()
    known = np.log(n / np.maximum(np.bincount(X.indices, minlength=d), 1)) + 1
    X.data = (1 + np.log(X.data)) * known[X.indices]
    return (sp.diags(1 / np.sqrt(np.asarray(X.multiply(X).sum(1))[:, 0])) @ X).tocsr()


def planted(X: Any, tasks: int, missing: float) -> np.ndarray:
    """Labels (N, M) by 200 of the 5000 most frequent words a task; NaN where missing."""
    rng = np.random.default_rng(1)
    n, d = X.shape
    frequent = np.argsort(-np.bincount(X.indices, minlength=d))[:5000]
    Y = np.empty((n, tasks))
    for m in range(tasks):
        w = np.zeros(d)
        w[rng.choice(frequent, 200, replace=False)] = rng.standard_normal(200)
        scores = X @ w
        scores += 0.3 * scores.std() * rng.standard_normal(n)
        signs = np.where(scores > np.median(scores), 1.0, -1.0)
        Y[:, m] = np.where(rng.random(n) < 0.05, -signs, signs)
    Y[rng.random(Y.shape) < missing] = np.nan
    return Y


def newsgroups(*, pairs: bool) -> tuple[Any, np.ndarray] | None:
    """Documents of four pairs of topics, as tf-idf; None without the files.

    Four tasks: each pair on its own documents, or each of the four topics against all others.
    """
    folder = Path(os.environ.get("PROXMTL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    parts, signs, topics = [], [], []
    for path in sorted((folder / "mtl_tabular").glob("newsgroup_*.npz")):
        with np.load(path, allow_pickle=False) as z:
            csr = z["data"], z["indices"].astype(np.int32), z["indptr"]
            parts.append(sp.csr_matrix(csr, shape=tuple(z["shape"])))
            first = z["gnd"] == z["gnd"].max()
        signs.append(np.where(first, 1.0, -1.0))
        names = path.stem.split("_")[1].split(".vs.")
        topics.append(np.where(first, *names))
    if not parts:
        return None
    X = sp.vstack(parts).tocsr().astype(np.float64)
    if pairs:
        Y = np.full((X.shape[0], len(parts)), np.nan)
        for m, (end, own) in enumerate(zip(np.cumsum([*map(len, signs)]), signs, strict=True)):
            Y[end - len(own) : end, m] = own
        return X, Y
    of = np.concatenate(topics)
    return X, np.stack([np.where(of == topic, 1.0, -1.0) for topic in sorted(set(of))], axis=1)


def posed(case: Problem, strength: float | None = None) -> pm.Problem:
    """Our problem, nothing of it computed yet."""
    X, Y, loss, given = case
    targets = pm.Targets.from_labels(torch.from_numpy(Y))
    penalty = pm.L1(given if strength is None else strength)
    return pm.Problem(loss, pm.SharedDesign(X), targets, penalty)


def ours(case: Problem, tolerance: float) -> np.ndarray:
    """What ``minimize`` does by default."""
    result = pm.minimize(posed(case), tol=tolerance)
    return result.solution.numpy()


def liblinear(case: Problem, tolerance: float) -> np.ndarray:
    """A model for each task."""
    X, Y, loss, strength = case
    W = np.empty((X.shape[1], Y.shape[1]))
    for m, labels in enumerate(Y.T):
        known = ~np.isnan(labels)
        features = X if known.all() else X[known]
        options: dict[str, Any] = {"fit_intercept": False, "tol": tolerance, "max_iter": 10_000}
        if isinstance(loss, pm.Logistic):
            options |= {"C": 1 / strength, "l1_ratio": 1, "solver": "liblinear"}
            model = LogisticRegression(random_state=0, **options)
        else:
            options |= {"C": 1 / (2 * strength), "penalty": "l1", "dual": False}
            model = LinearSVC(random_state=0, **options)
        W[:, m] = model.fit(features, labels[known]).coef_[0]
    return W


def text_of(data: str) -> tuple[Any, np.ndarray] | None:
    """Documents and labels by name."""
    if data.startswith("newsgroups"):
        return newsgroups(pairs="pairs" in data)
    X = words()
    return X, planted(X, *((1, 0.0) if "1 task" in data else (20, 0.1)))


def settings() -> Iterator[tuple[str, Callable[[], Problem | None]]]:
    """Names and problems."""

    def made(data: str, loss: str, fraction: float) -> Problem | None:
        found = text_of(data)
        if found is None:
            return None
        case = (*found, LOSSES[loss], 1.0)
        return (*case[:3], fraction * posed(case).critical_strength())

    for data in ("words, 1 task", "words, 20 tasks", "newsgroups, 4 topics", "newsgroups, 4 pairs"):
        for loss in LOSSES:
            for fraction in (0.1, 0.01):
                given = data, loss, fraction
                yield f"{data}, {loss}, {fraction:g}", lambda given=given: made(*given)


def race(case: Problem, rounds: int) -> dict[str, Any]:
    """Seconds, suboptimality and gap of each run: (contender, tolerance, figures)."""
    judge = posed(case)
    runs: list[tuple[str, Callable[[Problem, float], np.ndarray], float]]
    runs = [("ours", ours, t) for t in OURS] + [("LIBLINEAR", liblinear, t) for t in THEIRS]
    seconds: dict[tuple[str, float], list[float]] = {(name, t): [] for name, _, t in runs}
    answers = {}
    ours(case, 1.0)  # what compiles, compiles now
    for _ in range(rounds):
        for name, run, tolerance in runs:
            begin = time.process_time()
            W = run(case, tolerance)
            seconds[name, tolerance].append(time.process_time() - begin)
            answers[name, tolerance] = judge.certificate(torch.from_numpy(W))
    best = min(found.objective for found in answers.values())
    curves: dict[str, list[dict[str, float]]] = {"ours": [], "LIBLINEAR": []}
    for (name, tolerance), found in answers.items():
        curves[name].append(
            {
                "tolerance": tolerance,
                "seconds": statistics.median(seconds[name, tolerance]),
                "suboptimality": (found.objective - best) / abs(best),
                "gap": found.relative_gap or 0.0,
            }
        )
    return {
        "solver": type(solver_for(judge)).__name__,
        "strength": case[3],
        "best": best,
        "rounds": rounds,
        "curves": curves,
        "seconds": {
            by: {name: [reach(curve, by, a) for a in ACCURACIES] for name, curve in curves.items()}
            for by in ("suboptimality", "gap")
        },
    }


def reach(curve: list[dict[str, float]], by: str, accuracy: float) -> float | None:
    """Seconds of the fastest run that reached an accuracy; None if none did."""
    return min((run["seconds"] for run in curve if run[by] <= accuracy), default=None)


def line(title: str, found: dict[str, Any]) -> str:
    """Line of the table: both accuracies, with LIBLINEAR's time over ours."""
    cells = []
    for by in ("suboptimality", "gap"):
        pairs = zip(*(found["seconds"][by][name] for name in ("ours", "LIBLINEAR")), strict=True)
        cells.append(" / ".join(_cell(*pair) for pair in pairs))
    return f"| {title} | {' | '.join(cells)} |"


def _cell(own: float | None, theirs: float | None) -> str:
    times = ", ".join("–" if each is None else f"{each:.2g}" for each in (own, theirs))
    return times if own is None or theirs is None else f"{times} ({theirs / own:.1f}x)"


def main(
    only: record.Only = "",
    rounds: Annotated[int, typer.Option(help="Rounds with one task; a third with more.")] = 9,
) -> None:
    """Race and record."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    path = record.RESULTS / "sparse_text.json"
    rows: dict[str, Any] = json.loads(path.read_text())["settings"] if path.is_file() else {}
    warnings.simplefilter("ignore")  # not converged: the certificate says how far it is
    with threadpool_limits(1):
        for title, make in settings():
            if only not in title:
                continue
            case = make()
            if case is None:
                print(f"{title}: no data", flush=True)
                continue
            rows[title] = race(case, rounds if case[1].shape[1] == 1 else max(1, rounds // 3))
            print(line(title, rows[title]), flush=True)
            record.save("sparse_text", {"accuracies": ACCURACIES, "settings": rows})


if __name__ == "__main__":
    typer.run(main)
