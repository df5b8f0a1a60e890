"""Which part of the model pays: own parts, groups, the choice not to share, the start.

    python -m bench.models.ablation
    python -m bench.models.ablation --only digits --draws 1

Variants of the models of ``pays.py`` on the same draws, each with one part changed, their strengths
chosen by the same folds. All attributes share, but in the variants that say otherwise.
*Shuffled* groups have the sizes of the true ones and other members. Starts are compared at the
strength that the variant with one group chose. What is finished is kept in
``bench/results/ablation.json``; the table that is printed stands in docs/how_to/sharing.md.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import typer
from sklearn.metrics import average_precision_score
from threadpoolctl import threadpool_limits

from bench import record
from bench.models.labelled import SETTINGS, Draw
from proxmtl import (
    Groups,
    LatentMTLClassifier,
    LatentMTLClassifierCV,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifierCV,
)
from proxmtl.estimators.verdict import Candidate

FOLDS = 5
MUCH = 1e6
"""Ridge on own parts that leaves none."""
NAMES = ("awa 5 %", "awa 20 %", "clothing 400 images", "wbcatt 5 %", "digits 20 %")
INITS = ("svd", "trace", "best", "paper")


class SharedAlone(SharedPlusOwnClassifierCV):
    """Without own parts."""

    def _shared_stages(self) -> list[Any]:
        return [lambda _: [[Candidate(a, MUCH) for a in self.shares]]]


class LatentAlone(LatentMTLClassifierCV):
    """Without own parts."""

    def _shared_stages(self) -> list[Any]:
        return [lambda _: [[Candidate(a, MUCH) for a in self.shares]]]


def true(draw: Draw, rng: np.random.Generator) -> Any:
    """Groups of the authors of the data."""
    del rng
    return draw.groups


def shuffled(draw: Draw, rng: np.random.Generator) -> Any:
    """Groups of the same sizes, of other members."""
    order = rng.permutation(draw.Y.shape[1])
    return [[int(order[i]) for i in members] for members in draw.groups or []]


def with_all(groups: Callable[..., Any]) -> Callable[..., Any]:
    """One group of all attributes on top."""

    def build(draw: Draw, rng: np.random.Generator) -> Any:
        return Groups.from_lists(groups(draw, rng), draw.Y.shape[1]).with_global()

    return build


def fixed(groups: Any) -> Callable[..., Any]:
    """The same argument for every draw."""

    def build(draw: Draw, rng: np.random.Generator) -> Any:
        del draw, rng
        return groups

    return build


VARIANTS: dict[str, tuple[type[SingleTaskClassifierCV], Callable[..., Any], bool]] = {
    "alone": (SingleTaskClassifierCV, fixed(None), True),
    "convex, shared only": (SharedAlone, fixed(None), False),
    "convex, shared + own": (SharedPlusOwnClassifierCV, fixed(None), False),
    "convex, with fallback": (SharedPlusOwnClassifierCV, fixed(None), True),
    "convex, true groups": (SharedPlusOwnClassifierCV, true, False),
    "convex, shuffled groups": (SharedPlusOwnClassifierCV, shuffled, False),
    "convex, groups found": (SharedPlusOwnClassifierCV, fixed("auto"), False),
    "latent, shared only": (LatentAlone, fixed(None), False),
    "latent, shared + own": (LatentMTLClassifierCV, fixed(None), False),
    "latent, with fallback": (LatentMTLClassifierCV, fixed(None), True),
    "latent, true groups": (LatentMTLClassifierCV, true, False),
    "latent, true groups and all": (LatentMTLClassifierCV, with_all(true), False),
    "latent, shuffled groups": (LatentMTLClassifierCV, shuffled, False),
    "latent, shuffled groups and all": (LatentMTLClassifierCV, with_all(shuffled), False),
    "latent, groups found": (LatentMTLClassifierCV, fixed("auto"), False),
    "latent, no groups": (LatentMTLClassifierCV, fixed("singletons"), False),
}


def precision(draw: Draw, scores: np.ndarray) -> float:
    """Mean average precision on the test rows, in percent."""
    ap = []
    for y, z in zip(draw.Y_test.T, scores.T, strict=True):
        seen = ~np.isnan(y)
        ap.append(average_precision_score(y[seen], z[seen]))
    return round(100 * float(np.mean(ap)), 3)


def starts(draw: Draw, chosen: LatentMTLClassifierCV) -> dict[str, Any]:
    """The model at the strengths chosen, from several starts."""
    shared, own = chosen.report_[["shared_strength", "own_strength"]].iloc[0]
    out = {}
    for init in INITS:
        model = LatentMTLClassifier(
            groups=Groups.single(draw.Y.shape[1]),
            group_strength=shared,
            l1_strength=0.0,
            frobenius_strength=shared,
            own_strength=own,
            loss="logistic",
            init=init,
            max_passes=500,
        ).fit(draw.X, draw.Y)
        objective = model.result_.certificate.objective
        found = precision(draw, model.decision_function(draw.X_test))
        out[f"start {init}"] = {"ap": found, "objective": float(f"{objective:.6g}")}
    return out


def run(name: str, seed: int) -> dict[str, Any]:
    """All variants on a draw."""
    draw = SETTINGS[name].draw(seed)
    found: dict[str, Any] = {}
    for variant, (kind, groups, fallback) in VARIANTS.items():
        # one scaling: what differs is the structure
        options: dict[str, Any] = {"cv": FOLDS, "random_state": seed, "standardize": True}
        if kind is not SingleTaskClassifierCV:
            options |= {
                "groups": groups(draw, np.random.default_rng(seed)),
                "fallback": fallback,
                "relevance": False,
            }
        begin = time.process_time()
        model = kind(**options).fit(draw.X, draw.Y)
        seconds = time.process_time() - begin
        found[variant] = {
            "ap": precision(draw, model.decision_function(draw.X_test)),
            "cpu_seconds": round(seconds, 1),
        }
        if variant == "latent, shared + own":
            found |= starts(draw, model)
    return found


def table(runs: dict[str, Any]) -> list[str]:
    """Lines of the table, in Markdown: means over draws, and differences to attributes alone."""
    names = [name for name in NAMES if any(key.startswith(f"{name} #") for key in runs)]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for variant in [*VARIANTS, *(f"start {init}" for init in INITS)]:
        cells = []
        for name in names:
            draws = [runs[key] for key in sorted(runs) if key.startswith(f"{name} #")]
            ap = np.array([draw[variant]["ap"] for draw in draws])
            if variant == "alone":
                cells.append(f"{ap.mean():.1f}")
                continue
            gains = ap - np.array([draw["alone"]["ap"] for draw in draws])
            cells.append(f"{gains.mean():+.1f}")
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return lines


def main(only: record.Only = "", draws: record.Draws = 3, threads: record.Threads = 1) -> None:
    """Run the variants draw by draw and print the table."""
    settings = {"folds": FOLDS, "threads": threads}
    runs = record.runs_so_far("ablation", settings)
    for name, seed, key in record.missing_draws(runs, NAMES, draws, only):
        with threadpool_limits(threads), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs[key] = run(name, seed)
        record.save("ablation", {"settings": settings, "runs": runs})
        print(key, {variant: each["ap"] for variant, each in runs[key].items()}, flush=True)
    print("\n".join(table(runs)))


if __name__ == "__main__":
    typer.run(main)
