"""Ridge logistic regression of all attributes: ours against scikit-learn's LogisticRegression.

And one task of squared hinge with a ridge on 20,000 x 500 features against torch's L-BFGS.

    python -m bench.solvers.ridge                # all sets that are there
    python -m bench.solvers.ridge digits wide    # some

For each set and C, LogisticRegression is fitted to each attribute on its labels, at its default
``tol=1e-4`` and at 1e-6. Ours is SingleTaskClassifier, all attributes in one fit, at the loosest
``tol`` (1e-3, 1e-4, ... 1e-8) with which its objective is at most 1e-6 above theirs. Processor
seconds of one thread, the least of the repeats, both in turn. Features are standardised, float64.
Writes bench/results/ridge.json.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any

import numpy as np
import torch
import typer
from sklearn.linear_model import LogisticRegression

import proxmtl as pm
from bench import record
from bench.models import labelled
from proxmtl.estimators import SingleTaskClassifier
from proxmtl.stopping import Stop

Data = tuple[np.ndarray, np.ndarray]
STRENGTHS = (0.01, 1.0, 100.0)
PEER = (1e-4, 1e-6)
OURS = tuple(10.0**-k for k in range(3, 9))
LEVEL = 1e-6
HINGE = "squared hinge"


def standardised(X: np.ndarray, Y: np.ndarray) -> Data:
    X = np.asarray(X, np.float64)
    scale = X.std(0)
    kept = (np.nanmin(Y, 0) == 0) & (np.nanmax(Y, 0) == 1)
    return (X - X.mean(0)) / np.where(scale > 0, scale, 1), np.asarray(Y, np.float64)[:, kept]


def digits() -> Data:
    X, Y, _, _ = labelled.digits()
    return standardised(X, Y)


def awa(share: float = 1.0) -> Data:
    """3,000 images, 512 features, 85 attributes; a share of the labels."""
    rng = np.random.default_rng(0)
    X, Y, _, _ = labelled.awa()
    rows = rng.permutation(len(X))[:3000]
    return standardised(X[rows], np.where(rng.random((3000, Y.shape[1])) < share, Y[rows], np.nan))


def wide() -> Data:
    """500 rows of 2,000 counts, of which few are not zero; ten attributes, a tenth flipped."""
    rng = np.random.default_rng(0)
    X = rng.poisson(0.05 * np.arange(1, 2001) ** -0.3, (500, 2000)).astype(float)
    scores = X @ rng.standard_normal((2000, 10))
    positive = scores > np.median(scores, 0)
    return standardised(X, np.where(rng.random(positive.shape) < 0.1, ~positive, positive))


def clothing() -> Data:
    """1,856 images, 1,280 features of an EfficientNet, 23 attributes, some labels missing."""
    X, Y, _, _ = labelled.clothing()
    return standardised(X, Y)


SETS: dict[str, Callable[[], Data]] = {
    "digits": digits,
    "awa": awa,
    "awa, 5 % of the labels": lambda: awa(0.05),
    "clothing": clothing,
    "wide": wide,
}


def objective(X: np.ndarray, Y: np.ndarray, W: np.ndarray, b: np.ndarray, C: float) -> float:
    """What LogisticRegression minimises, over all attributes; missing labels have no loss."""
    losses = np.logaddexp(0, -np.where(Y > 0, 1, -1) * (X @ W.T + b))
    return float(C * losses[~np.isnan(Y)].sum() + (W**2).sum() / 2)


def peer(X: np.ndarray, Y: np.ndarray, C: float, tol: float) -> tuple[float, float]:
    """Seconds and objective of LogisticRegression on each attribute."""
    seconds, models = 0.0, []
    for y in Y.T:
        kept = ~np.isnan(y)
        rows = X if kept.all() else X[kept]
        begin = time.process_time()
        models.append(LogisticRegression(C=C, tol=tol, max_iter=10_000).fit(rows, y[kept]))
        seconds += time.process_time() - begin
    W, b = (np.concatenate([getattr(m, a) for m in models]) for a in ("coef_", "intercept_"))
    return seconds, objective(X, Y, W, b, C)


def ours(X: np.ndarray, Y: np.ndarray, C: float, tol: float) -> tuple[float, float, Any]:
    """Seconds, objective and result of SingleTaskClassifier on all attributes."""
    model = SingleTaskClassifier(
        l2_strength=1 / (2 * C),
        loss="logistic",
        reduction="sum",
        standardize=False,
        max_passes=10_000,
        tol=tol,
    )
    begin = time.process_time()
    model.fit(X, Y)
    seconds = time.process_time() - begin
    return seconds, objective(X, Y, model.coef_, model.intercept_, C), model.result_


def race(X: np.ndarray, Y: np.ndarray, C: float, tol: float, repeats: int) -> dict[str, Any]:
    """Both to the objective that LogisticRegression reaches at ``tol``."""
    theirs = [peer(X, Y, C, tol) for _ in range(repeats)]
    goal = theirs[0][1] * (1 + LEVEL)
    chosen = next((each for each in OURS if ours(X, Y, C, each)[1] <= goal), None)
    row = {"C": C, "peer_tol": tol, "peer_seconds": min(t for t, _ in theirs), "tol": chosen}
    if chosen is None:
        return row
    fits = [ours(X, Y, C, chosen) for _ in range(repeats)]
    seconds, value, result = min(fits, key=lambda fit: fit[0])
    return {
        **row,
        "seconds": seconds,
        "ratio": seconds / row["peer_seconds"],
        "objective_ratio": value / theirs[0][1],
        "gap": result.certificate.relative_gap,
        "passes": result.passes,
    }


def hinge(C: float, repeats: int) -> dict[str, Any]:
    """Squared hinge and a ridge, one task: `minimize` at its defaults against torch's L-BFGS.

    Both to the objective of a solution of gap 1e-10, at most 1e-6 above.
    """
    rng = np.random.default_rng(0)
    X = torch.from_numpy(rng.standard_normal((20_000, 500)))
    y = torch.from_numpy(
        np.sign(X.numpy() @ rng.standard_normal(500) + 10 * rng.standard_normal(20_000))
    )

    def value(w: torch.Tensor) -> torch.Tensor:
        return C * (1 - y * (X @ w)).clamp_min(0).square().sum() + w.square().sum() / 2

    def by_torch() -> torch.Tensor:
        w = torch.zeros(500, dtype=X.dtype, requires_grad=True)
        method = torch.optim.LBFGS(
            [w], max_iter=500, tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe"
        )
        done = []

        def closure() -> torch.Tensor:
            method.zero_grad()
            found = value(w)
            found.backward()
            done.append(float(found.detach()))
            if done[-1] <= goal:
                raise StopIteration
            return found

        with suppress(StopIteration):
            method.step(closure)
        return w.detach()

    def by_us(stop: Stop | None = None) -> torch.Tensor:
        problem = pm.Problem(
            pm.SquaredHinge(),
            pm.SharedDesign(X),
            pm.Targets.from_labels(y[:, None], reduction="sum"),
            pm.SquaredFrobenius(1 / (4 * C)),
        )
        return pm.minimize(problem, stop=stop).solution[:, 0]

    goal = float(value(by_us(pm.RelativeGap(1e-10) | pm.MaxPasses(1e4)))) * (1 + LEVEL)
    found: dict[str, Any] = {"C": C}
    for name, solve in (("torch", by_torch), ("ours", by_us)):
        times = []
        for _ in range(repeats):
            begin = time.process_time()
            w = solve()
            times.append(time.process_time() - begin)
        found |= {
            f"{name}_seconds": min(times),
            f"{name}_above": float(value(w)) / goal * (1 + LEVEL) - 1,
        }
    return found | {"ratio": found["ours_seconds"] / found["torch_seconds"]}


def main(
    sets: Annotated[list[str] | None, typer.Argument(help="Names; default all.")] = None,
    repeats: Annotated[int, typer.Option(help="Fits, of which the fastest counts.")] = 3,
) -> None:
    """Race both and record the times."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results = record.runs_so_far("ridge", {"level": LEVEL})
    for name in sets or [*SETS, HINGE]:
        if name == HINGE:
            results[name] = {
                "shape": [20_000, 500, 1],
                "rows": [hinge(C, repeats) for C in (0.001, 1.0)],
            }
            record.save("ridge", {"settings": {"level": LEVEL}, "runs": results})
            print(name, *results[name]["rows"], sep="\n", flush=True)
            continue
        try:
            X, Y = SETS[name]()
        except FileNotFoundError as error:
            print(f"{name}: left out, {error}")
            continue
        rows = [race(X, Y, C, tol, repeats) for C in STRENGTHS for tol in PEER]
        results[name] = {"shape": [*X.shape, Y.shape[1]], "rows": rows}
        record.save("ridge", {"settings": {"level": LEVEL}, "runs": results})
        for row in rows:
            print(name, X.shape, Y.shape[1], row, flush=True)


if __name__ == "__main__":
    typer.run(main)
