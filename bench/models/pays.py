"""Does sharing pay? Classifiers that choose whether to share, against scikit-learn's.

    python -m bench.models.pays
    python -m bench.models.pays --only awa --draws 2
    python -m bench.models.pays --model LatentMTLClassifierCV

Each draw has its own training rows, and labels hidden at random where a share is given. On the same
training rows, and with the same number of folds, the models choose their strengths by
cross-validation: scikit-learn's ``LogisticRegressionCV`` for each attribute alone, on features of
unit variance and on features as given; ours alone, with a shared part, and with latent tasks. Ours
at default strengths, with either, are not tuned. The test rows are scored once. What is finished
is kept in ``bench/results/pays.json`` and not run again. The table that is printed stands in
docs/how_to/sharing.md.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from bench import record
from bench.models.labelled import CS, FOLDS, SETTINGS, Draw, Setting, digits, each_alone
from proxmtl.estimators import (
    LatentMTLClassifier,
    LatentMTLClassifierCV,
    SharedPlusOwnClassifier,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifierCV,
)

PEER = "LogisticRegressionCV"
PEER_AS_GIVEN = "LogisticRegressionCV, features as given"
ALONE = "SingleTaskClassifierCV"
SHARED = "SharedPlusOwnClassifierCV"
LATENT = "LatentMTLClassifierCV"
UNTUNED = "SharedPlusOwnClassifier"
LATENT_UNTUNED = "LatentMTLClassifier"
COLUMNS = {
    PEER: "LRCV",
    PEER_AS_GIVEN: "LRCV as given",
    ALONE: "alone",
    SHARED: "shared",
    LATENT: "latent",
    UNTUNED: "shared untuned",
    LATENT_UNTUNED: "latent untuned",
}


class Scored(NamedTuple):
    """Scores of the test rows, (N, M), and what the search costs."""

    scores: np.ndarray
    single_fits: float | None = None
    """Time of the whole fit, in units of that of the final fits at the strengths chosen."""


def peer(*, scaled: bool) -> Callable[[Draw, int], Scored]:
    """Scores of scikit-learn's classifier for each attribute, on its own labelled rows."""

    def scores(draw: Draw, seed: int) -> Scored:
        del seed  # nothing is random
        models = each_alone(draw, "average_precision", scaled=scaled)
        return Scored(np.column_stack([each.decision_function(draw.X_test) for each in models]))

    return scores


def ours(kind: type[SingleTaskClassifierCV]) -> Callable[[Draw, int], Scored]:
    """Scores of one of our classifiers."""

    def scores(draw: Draw, seed: int) -> Scored:
        model = kind(cv=FOLDS, random_state=seed)
        begin = time.perf_counter()  # as the results have it
        model.fit(draw.X, draw.Y)
        whole = time.perf_counter() - begin
        single = sum(result.seconds for result in model.results_)
        return Scored(model.decision_function(draw.X_test), whole / single)

    return scores


def untuned(
    kind: type[SharedPlusOwnClassifier | LatentMTLClassifier],
) -> Callable[[Draw, int], Scored]:
    """Scores of one of our classifiers at its default strengths, which it finds in the data."""

    def scores(draw: Draw, seed: int) -> Scored:
        del seed  # nothing is random
        return Scored(kind().fit(draw.X, draw.Y).decision_function(draw.X_test))

    return scores


MODELS: dict[str, Callable[[Draw, int], Scored]] = {
    PEER: peer(scaled=True),
    PEER_AS_GIVEN: peer(scaled=False),
    ALONE: ours(SingleTaskClassifierCV),
    SHARED: ours(SharedPlusOwnClassifierCV),
    LATENT: ours(LatentMTLClassifierCV),
    UNTUNED: untuned(SharedPlusOwnClassifier),
    LATENT_UNTUNED: untuned(LatentMTLClassifier),
}


def run(model: str, draw: Draw, seed: int) -> dict[str, Any]:
    """Average precision by attribute and processor time of a model on one draw."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        scored = MODELS[model](draw, seed)
    seconds = time.process_time() - begin
    ap = [_precision(y, z) for y, z in zip(draw.Y_test.T, scored.scores.T, strict=True)]
    found = {"ap": [float(f"{a:.5f}") for a in ap], "cpu_seconds": round(seconds, 2)}
    if scored.single_fits is not None:
        found["single_fits"] = round(scored.single_fits, 1)
    return found


def _precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of an attribute on the rows of which its label is known."""
    seen = ~np.isnan(labels)
    return float(average_precision_score(labels[seen], scores[seen]))


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Mean over draws of one data set, and half the width of its 95 % confidence interval.

    Draws overlap, so the interval is of the draws, not of other data sets.
    """
    n = len(differences)
    if n < 2:
        return float(differences.mean()), float("nan")
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return float(differences.mean()), float(half)


def table(runs: dict[str, Any]) -> list[str]:
    """Lines of the table of scores, in Markdown: settings of which all models were run."""
    columns = " | ".join([*COLUMNS.values(), "gain", "over as given"])
    lines = [
        f"| setting | attributes | labels each | draws | {columns} | CPU s | fits |",
        "|---|" + "---|" * (len(COLUMNS) + 7),
    ]
    for name in SETTINGS:
        draws = [runs[key] for key in sorted(runs) if key.rsplit(" #", 1)[0] == name]
        draws = [draw for draw in draws if MODELS.keys() <= draw.keys()]
        if not draws:
            continue
        means = {
            model: np.array([100 * np.mean(draw[model]["ap"]) for draw in draws])
            for model in MODELS
        }
        gains = [interval(means[SHARED] - means[each]) for each in (PEER, PEER_AS_GIVEN)]
        figures = " | ".join(f"{values.mean():.1f}" for values in means.values())
        seconds = [
            f"{np.mean([draw[model]['cpu_seconds'] for draw in draws]):.1f}"
            for model in (PEER, PEER_AS_GIVEN, ALONE, SHARED, LATENT)
        ]
        costs = [
            [draw[model]["single_fits"] for draw in draws if "single_fits" in draw[model]]
            for model in (ALONE, SHARED, LATENT)
        ]
        fits = [f"{np.mean(each):.0f}" if each else "-" for each in costs]
        attributes = np.mean([draw["attributes"] for draw in draws])
        each = np.mean([draw["labels"] / draw["attributes"] for draw in draws])
        lines.append(
            f"| {name} | {attributes:.0f} | {each:.0f} | {len(draws)} | {figures} | "
            f"{' | '.join(f'{gain:+.1f} ± {half:.1f}' for gain, half in gains)} | "
            f"{', '.join(seconds)} | {', '.join(fits)} |"
        )
    return lines


def main(
    only: record.Only = "",
    model: Annotated[list[str] | None, typer.Option(help="One of the models.")] = None,
    draws: record.Draws = 5,
    threads: record.Threads = 1,
) -> None:
    """Run the settings draw by draw and print the table."""
    settings = {"folds": FOLDS, "scoring": "average_precision", "Cs": CS, "threads": threads}
    runs = record.runs_so_far("pays", settings)
    for each in model or MODELS:  # what is compiled once is no part of a fit
        run(each, Setting(digits, 200, 400, 0.5).draw(0), 0)
    for seed in range(draws):
        for name, setting in SETTINGS.items():
            found = runs.get(f"{name} #{seed}", {})
            missing = [each for each in model or MODELS if each not in found]
            if only not in name or not missing:
                continue
            draw = setting.draw(seed)
            found = {
                "attributes": draw.Y.shape[1],
                "labels": int((draw.Y >= 0).sum()),
                **found,
            }
            with threadpool_limits(threads):
                for each in missing:
                    found[each] = run(each, draw, seed)
            runs[f"{name} #{seed}"] = found
            record.save("pays", {"settings": settings, "runs": runs})
            print(
                f"{name} #{seed}",
                *(
                    f"{COLUMNS[each]} {100 * np.mean(found[each]['ap']):.2f} "
                    f"({found[each]['cpu_seconds']:.1f} s)"
                    for each in missing
                ),
                flush=True,
            )
    print("\n".join(table(runs)))


if __name__ == "__main__":
    typer.run(main)
