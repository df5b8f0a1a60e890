"""Times of this working tree as ratios to another commit: what became slower, and what faster.

    make bench-compare BASE=main
    make bench-compare BASE=v0.1.0 COMPARE='--only 200x20x1 --rounds 9'

The other commit is built into a temporary folder. Processes of both take turns: each runs every
case, ten times or for half a second, and gives the least processor time of one thread; the first
run of a process, which compiles, does not count. The cases are small and moderate problems with the
defaults of `minimize`, to a relative gap of 1e-6, and fits of estimators; both pose the problem
anew in each run. Writes bench/results/compare.json: medians of the rounds, and of their ratios;
other cases against the same commit stay.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numba
import numpy as np
import torch
import typer

import proxmtl as pm

ROOT = Path(__file__).parents[2]
SHAPES = ((200, 20, 1), (200, 80, 1), (500, 64, 21), (300, 1500, 10), (2000, 500, 1))
MOST, SECONDS = 10, 0.5


def cases(only: str = "") -> dict[str, Callable[[], Callable[[], object]]]:
    """Makers of what is timed, by name."""
    losses = {
        "squared": pm.Squared(),
        "logistic": pm.Logistic(),
        "squared hinge": pm.SquaredHinge(),
    }
    penalties = {"L1": pm.L1, "L21": pm.L21, "ridge": pm.SquaredFrobenius}
    models = {"LassoClassifier": pm.LassoClassifier, "L21Classifier": pm.L21Classifier}
    models["SingleTaskClassifier"] = pm.SingleTaskClassifier

    def solve(shape: tuple[int, int, int], loss: pm.Loss, penalty: str) -> Callable[[], object]:
        X, Z = _planted(*shape)
        Y = Z if isinstance(loss, pm.Squared) else np.where(Z > 0, 1.0, -1.0)
        strength = 1.0
        if penalty != "ridge":
            unit = penalties[penalty](1.0)
            strength = (
                0.1 * pm.Problem.of(X, Y, unit, loss=loss, reduction="sum").critical_strength()
            )
        term = penalties[penalty](strength)
        return lambda: pm.minimize(pm.Problem.of(X, Y, term, loss=loss, reduction="sum"))

    def fit(shape: tuple[int, int, int], model: str) -> Callable[[], object]:
        X, Z = _planted(*shape)
        return lambda: models[model]().fit(X, Z > 0)

    found: dict[str, Callable[[], Callable[[], object]]] = {}
    for shape in SHAPES:
        size = "x".join(map(str, shape))
        for loss in losses:
            for term in penalties:
                if term == "L21" and shape[2] == 1:
                    continue
                found[f"{term}, {loss}, {size}"] = lambda s=shape, k=loss, t=term: solve(
                    s, losses[k], t
                )
    shape = (500, 64, 21)
    for model in models:
        found[f"{model}, 500x64x21"] = lambda k=model: fit(shape, k)
    return {name: make for name, make in found.items() if only in name}


def _planted(n: int, d: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((n, d)), np.zeros((d, m))
    rows = rng.choice(d, max(3, min(d // 10, 30)), replace=False)
    W[rows] = rng.standard_normal((len(rows), m))
    Z = X @ W
    return X, Z + 0.5 * Z.std() * rng.standard_normal(Z.shape)


def timed(only: str) -> dict[str, float]:
    """Least processor seconds of each case."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    found = {}
    for name, make in cases(only).items():
        run = make()
        run()
        begin, times = time.process_time(), []
        while len(times) < MOST and time.process_time() - begin < SECONDS:
            start = time.process_time()
            run()
            times.append(time.process_time() - start)
        found[name] = min(times)
    return found


def built(base: str, folder: Path) -> Path:
    """Build a commit, and return the folder that has it."""
    archive = subprocess.run(["git", "archive", base], cwd=ROOT, capture_output=True, check=True)
    source = folder / "source"
    source.mkdir()
    subprocess.run(["tar", "-x", "-C", source], input=archive.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", folder / "lib", source], check=True)
    return folder / "lib"


def asked(folder: Path | None, only: str) -> dict[str, float]:
    """Times of a process of its own, with the package of a folder, or that of this tree."""
    paths = {} if folder is None else {"PYTHONPATH": str(folder)}
    out = subprocess.run(
        [sys.executable, __file__, "--measure", "--only", only],
        env={**os.environ, **paths},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(out.stdout)
    return found


def main(
    base: Annotated[str, typer.Argument(help="Commit to compare with.")] = "main",
    *,
    only: Annotated[str, typer.Option(help="Cases whose name contains this.")] = "",
    rounds: Annotated[int, typer.Option(help="Processes of each.", min=1)] = 3,
    measure: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Measure both in turns, print the ratios and record them."""
    if measure:
        sys.stdout.write(json.dumps(timed(only)))
        return
    from bench import record  # a process that measures has no such package

    before: list[dict[str, float]] = []
    now: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        other = built(base, Path(folder))
        for _ in range(rounds):
            before.append(asked(other, only))
            now.append(asked(None, only))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", base],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    path = record.RESULTS / "compare.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    rows: dict[str, Any] = kept["rows"] if kept.get("base") == commit else {}
    for name in now[0]:
        pairs = [(b[name], n[name]) for b, n in zip(before, now, strict=True)]
        rows[name] = {
            "before": statistics.median(b for b, _ in pairs),
            "now": statistics.median(n for _, n in pairs),
            "ratio": statistics.median(n / b for b, n in pairs),
        }
        print(
            f"| {name} | {1e3 * rows[name]['before']:.3g} | {1e3 * rows[name]['now']:.3g} | "
            f"{rows[name]['ratio']:.2f} |"
        )
    mean = statistics.geometric_mean([rows[name]["ratio"] for name in now[0]])
    print(f"geometric mean of the ratios: {mean:.2f}")
    record.save("compare", {"base": commit, "rounds": rounds, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
