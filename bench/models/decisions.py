"""Are decisions and probabilities right where labels are few? Against scikit-learn's.

    python -m bench.models.decisions
    python -m bench.models.decisions --only digits --draws 2

On the same training rows the models choose their strengths by five folds: ours alone and with a
shared part, which score candidates by average precision and then calibrate; and scikit-learn's
``LogisticRegressionCV`` of each attribute, which scores by accuracy (its default) or by log loss.
*accuracy* counts probabilities above 1/2, and *ece* is the expected calibration error in ten bins;
all figures are means over attributes. What is finished is kept in ``bench/results/decisions.json``
and not run again. The table that is printed stands in docs/how_to/probabilities.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import typer
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from bench import record
from bench.models.labelled import CS, FOLDS, SETTINGS, Draw, Setting, digits, each_alone
from bench.models.pays import interval
from proxmtl.estimators import SharedPlusOwnClassifierCV, SingleTaskClassifierCV

BINS = 10
CHOSEN = {
    "digits 85 images": Setting(digits, 85, 1497),
    "digits 85 images, 60 %": Setting(digits, 85, 1497, 0.6),
    "digits 240 images": Setting(digits, 240, 1497),
    **{
        name: SETTINGS[name]
        for name in ("digits 20 %", "emotions 25 %", "scene 10 %", "clothing 400 images", "awa 5 %")
    },
}
SURE = 1e-12
"""Probabilities are at least this far from 0 and 1, so that a wrong one has a finite loss."""


def peer(scoring: str) -> Callable[[Draw, int], np.ndarray]:
    """Probabilities of scikit-learn's classifier for each attribute, on its own labelled rows."""

    def probabilities(draw: Draw, seed: int) -> np.ndarray:
        del seed  # nothing is random
        models = each_alone(draw, scoring)
        return np.column_stack([each.predict_proba(draw.X_test)[:, 1] for each in models])

    return probabilities


def ours(kind: type[SingleTaskClassifierCV]) -> Callable[[Draw, int], np.ndarray]:
    """Probabilities of one of our classifiers."""

    def probabilities(draw: Draw, seed: int) -> np.ndarray:
        model = kind(cv=FOLDS, random_state=seed).fit(draw.X, draw.Y)
        return np.asarray(model.predict_proba(draw.X_test))

    return probabilities


MODELS = {
    "LRCV": peer("accuracy"),
    "LRCV, log loss": peer("neg_log_loss"),
    "alone": ours(SingleTaskClassifierCV),
    "shared": ours(SharedPlusOwnClassifierCV),
}
FIGURES = {
    "accuracy": (100, ".1f"),
    "log loss": (1, ".3f"),
    "brier": (1, ".4f"),
    "ece": (1, ".3f"),
    "ap": (100, ".1f"),
}
"""Factor and format of each figure."""


def figures(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Means over attributes of the figures of probabilities and labels, (N, M)."""
    rows = []
    for told_of, known in zip(probabilities.T, labels.T, strict=True):
        seen = ~np.isnan(known)
        p, y = told_of[seen], known[seen] > 0
        told = np.clip(np.where(y, p, 1 - p), SURE, 1)
        bins = np.minimum((p * BINS).astype(int), BINS - 1)
        off = np.abs(np.bincount(bins, p - y, BINS)).sum() / len(p)
        right = ((p > 0.5) == y).mean()
        rows.append(
            (right, -np.log(told).mean(), ((p - y) ** 2).mean(), off, average_precision_score(y, p))
        )
    means = np.mean(rows, axis=0)
    return {name: float(f"{mean:.6g}") for name, mean in zip(FIGURES, means, strict=True)}


def table(runs: dict[str, Any]) -> list[str]:
    """Lines of the table in Markdown: each figure of the models in order, and the paired gain."""
    lines = [
        "| setting | labels each | draws | " + " | ".join(FIGURES) + " | accuracy gained |",
        "|---|" + "---|" * (len(FIGURES) + 3),
    ]
    for name in CHOSEN:
        draws = [runs[key] for key in sorted(runs) if key.rsplit(" #", 1)[0] == name]
        if not draws:
            continue
        cells = [
            ", ".join(
                f"{factor * np.mean([draw[model][figure] for draw in draws]):{form}}"
                for model in MODELS
            )
            for figure, (factor, form) in FIGURES.items()
        ]
        gain, half = interval(
            np.array(
                [100 * (draw["shared"]["accuracy"] - draw["LRCV"]["accuracy"]) for draw in draws]
            )
        )
        each = np.mean([draw["labels"] / draw["attributes"] for draw in draws])
        lines.append(
            f"| {name} | {each:.0f} | {len(draws)} | {' | '.join(cells)} "
            f"| {gain:+.1f} ± {half:.1f} |"
        )
    return lines


def main(only: record.Only = "", draws: record.Draws = 5, threads: record.Threads = 1) -> None:
    """Run the settings draw by draw and print the table."""
    settings = {"folds": FOLDS, "Cs": CS, "bins": BINS, "models": list(MODELS)}
    runs = record.runs_so_far("decisions", settings)
    for name, seed, key in record.missing_draws(runs, CHOSEN, draws, only):
        draw = CHOSEN[name].draw(seed)
        found: dict[str, Any] = {
            "attributes": draw.Y.shape[1],
            "labels": int((draw.Y >= 0).sum()),
        }
        with threadpool_limits(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for model, probabilities in MODELS.items():
                found[model] = figures(probabilities(draw, seed), draw.Y_test)
        runs[key] = found
        record.save("decisions", {"settings": settings, "runs": runs})
        print(
            key, *(f"{model} {100 * found[model]['accuracy']:.2f}" for model in MODELS), flush=True
        )
    print("\n".join(table(runs)))


if __name__ == "__main__":
    typer.run(main)
