"""How far ``solver="auto"`` is from the best solver, and its predicted from its measured cost.

    python -m bench.solvers.auto                       # what is not in the results yet
    python -m bench.solvers.auto --only sparse --again # some problems anew
    python -m bench.solvers.auto --minutes 4           # begins no problem after 4 minutes

A grid of small to moderate problems with planted weights: a penalty, a loss, numbers of samples,
features and tasks, a fraction of the critical strength (of a ridge: its strength). "correlated"
features have a spectrum that falls as 1/k. Every convex solver that takes a problem runs to a
relative gap of 1e-6 (a KKT residual where there is no gap), checks and certificates included; one
that needs four times as long as the best so far is stopped. Processor seconds of one thread, median
of the rounds. The cost that "auto" predicts is for the rates of this machine, measured first.
Writes bench/results/auto.json and prints the tables of docs/benchmarks/performance.md.
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import numba
import numpy as np
import scipy.sparse as sp
import torch
import typer
from threadpoolctl import threadpool_limits

import proxmtl as pm
from bench import record
from bench.solvers.costs import Machine, cost_of_iteration, cost_of_pass
from proxmtl.solvers import SOLVERS
from proxmtl.solvers.choice import TABLE, choose, made

TOLERANCE = 1e-6
BEHIND, AT_LEAST, AT_MOST = 4.0, 0.3, 4.0
"""A run is stopped after this many times the best, and after these seconds."""
LEFT_OUT = {"IRLS", "SPGD", "ProxSVRG", "PGD", "PALM", "PANOC"}
"""Not to 1e-6, never the fastest in memory, or for the factored problem."""
LOSSES: dict[str, pm.Loss] = {
    "squared": pm.Squared(),
    "logistic": pm.Logistic(),
    "squared hinge": pm.SquaredHinge(),
}


class Setting(NamedTuple):
    """A problem of the grid."""

    penalty: str
    loss: str
    n: int
    d: int
    m: int
    fraction: float
    features: str = "dense"

    @property
    def name(self) -> str:
        """All of it in words."""
        shape = f"{self.n}x{self.d}x{self.m}"
        return f"{self.penalty}, {self.loss}, {self.features} {shape}, {self.fraction:g}"


def grid() -> list[Setting]:
    """All settings: tall and wide, one task and many, dense, correlated and sparse."""
    found: list[Setting] = []
    rows: list[tuple[str, tuple[str, ...], tuple[tuple[int, int, int], ...], str]] = [
        ("L1", ("squared", "logistic"), ((3000, 500, 1), (400, 3000, 1), (800, 300, 10)), "dense"),
        ("L1", ("squared", "squared hinge"), ((3000, 400, 1), (400, 2000, 1)), "correlated"),
        ("L1", ("logistic", "squared hinge"), ((2000, 500, 10), (600, 1500, 20)), "correlated"),
        ("L21", ("squared", "logistic"), ((800, 300, 10), (300, 1500, 10)), "dense"),
        ("L21", ("logistic", "squared hinge"), ((2000, 500, 10), (600, 1500, 20)), "correlated"),
        ("groups", ("squared", "logistic"), ((2000, 500, 1), (400, 3000, 1)), "dense"),
        ("windows", ("squared",), ((2000, 300, 1),), "dense"),
        ("nuclear", ("squared hinge",), ((800, 200, 10),), "dense"),
        ("MCP", ("squared",), ((800, 300, 4),), "dense"),
        ("L1", ("squared", "logistic", "squared hinge"), ((4000, 10000, 1),), "sparse"),
        ("L1", ("logistic",), ((4000, 5000, 8),), "sparse"),
        ("L21", ("squared",), ((4000, 5000, 8),), "sparse"),
    ]
    for penalty, losses, shapes, features in rows:
        for loss, shape, fraction in itertools.product(losses, shapes, (0.1, 0.02)):
            found.append(Setting(penalty, loss, *shape, fraction, features))
    ridges = [((3000, 300, 1), "dense"), ((300, 3000, 1), "dense"), ((800, 300, 20), "dense")]
    ridges += [((1500, 300, 10), "correlated"), ((4000, 10000, 1), "sparse")]
    for (shape, features), loss in itertools.product(ridges, ("logistic", "squared hinge")):
        found += [Setting("ridge", loss, *shape, s, features) for s in (1.0, 100.0)]
    large = ("squared", "squared hinge"), (0.1, 0.02)
    return found + [
        Setting("L1", loss, 1000, 10_000, 1, f) for loss, f in itertools.product(*large)
    ]


def features_of(setting: Setting, rng: np.random.Generator) -> Any:
    """Features, dense or in CSR."""
    n, d = setting.n, setting.d
    if setting.features == "sparse":
        X = sp.random(n, d, 0.005, format="csr", random_state=0)
        X.data = 1 + rng.standard_normal(X.nnz)
        return X
    X = rng.standard_normal((n, d))
    if setting.features == "correlated":
        turned, _ = np.linalg.qr(rng.standard_normal((d, min(n, d))))
        X = (X @ turned / np.arange(1, min(n, d) + 1)) @ turned.T + 0.05 * X
    return X


def maker(setting: Setting) -> Callable[[], pm.Problem]:
    """Function that poses the problem anew, nothing of it computed yet."""
    rng = np.random.default_rng(0)
    X = features_of(setting, rng)
    d, m = setting.d, setting.m
    W = np.zeros((d, m))
    rows = rng.choice(d, min(d // 10, 30), replace=False)
    W[rows] = rng.standard_normal((len(rows), m))
    Z = np.asarray(X @ W)
    Z += 0.3 * Z.std() * rng.standard_normal(Z.shape)
    real = setting.loss == "squared"
    Y = Z / Z.std() if real else np.where(Z > 0, 1.0, -1.0)
    if not real:
        Y[rng.random(Y.shape) < 0.03] *= -1
    targets = pm.Targets.from_labels(torch.from_numpy(Y), coding="real" if real else "signs")
    blocks = [list(range(a, a + 10)) for a in range(0, d - 9, 10)]
    between = [list(range(a, a + 10)) for a in range(5, d - 9, 10)]
    penalties: dict[str, Callable[[float], pm.Regularizer]] = {
        "L1": pm.L1,
        "L21": pm.L21,
        "groups": lambda s: pm.GroupL2(pm.Groups.from_lists(blocks, d), s, axis=0),
        "windows": lambda s: pm.OverlappingGroupL2(
            pm.Groups.from_lists(blocks + between, d), s, axis=0
        ),
        "nuclear": pm.Nuclear,
        "MCP": lambda s: pm.MCP(s, 3.0),
        "ridge": pm.SquaredFrobenius,
    }

    def posed(penalty: pm.Regularizer) -> pm.Problem:
        design = pm.SharedDesign(X if setting.features == "sparse" else torch.from_numpy(X))
        return pm.Problem(LOSSES[setting.loss], design, targets, penalty)

    strength = setting.fraction
    if setting.penalty != "ridge":
        unit = pm.L1(1.0) if setting.penalty == "MCP" else penalties[setting.penalty](1.0)
        strength *= posed(unit).critical_strength()
    return lambda: posed(penalties[setting.penalty](strength))


def machine() -> Machine:
    """Rates of this machine in one thread: thin products, reads beyond the caches, small calls."""
    rng = torch.Generator().manual_seed(0)
    X = torch.randn(1000, 300, dtype=torch.float64, generator=rng)
    W = torch.randn(300, 16, dtype=torch.float64, generator=rng)
    wide = torch.randn(400, 40_000, dtype=torch.float64, generator=rng)
    w = torch.randn(40_000, dtype=torch.float64, generator=rng)
    small = torch.ones(10, dtype=torch.float64)
    return Machine(
        flops=2.0 * X.numel() * 16 / _quickest(lambda: X @ W, 20),
        bytes=8.0 * wide.numel() / _quickest(lambda: wide @ w, 3),
        call=_quickest(lambda: float((small + small).sum()), 300) / 3,
    )


def _quickest(call: Callable[[], object], repeats: int) -> float:
    """Processor seconds of a call, the least of seven runs."""
    found = []
    for _ in range(7):
        begin = time.process_time()
        for _ in range(repeats):
            call()
        found.append((time.process_time() - begin) / repeats)
    return min(found)


def run(make: Callable[[], pm.Problem], solver: Any, every: int, limit: float) -> dict[str, Any]:
    """Seconds to the tolerance, None if they were not enough; iterations and passes."""
    problem = make()
    begin = time.process_time()
    rule = (pm.RelativeGap if problem.has_gap else pm.RelativeKKT)(TOLERANCE, every=every)
    result = pm.minimize(
        problem,
        solver,
        stop=rule | pm.MaxIterations(20_000),
        callback=lambda _: time.process_time() - begin > limit,
    )
    seconds = time.process_time() - begin
    return {
        "seconds": seconds if result.status.ok else None,
        "spent": seconds,
        "iterations": result.iterations,
        "passes": result.passes,
        "certificates": problem.counts.certificates,
    }


def solvers_for(problem: pm.Problem) -> dict[str, tuple[Any, int]]:
    """Solvers that take the problem, each with the iterations between its certificates."""
    every = {row.solver: row.every for row in TABLE.values()}
    found = {}
    for name, kind in SOLVERS.items():
        if name in LEFT_OUT or kind.__module__.startswith("proxmtl.latent"):
            continue
        solver = made(kind, TOLERANCE)
        try:
            solver.check(problem)
        except pm.UnsupportedError:
            continue
        found[name] = solver, every.get(kind, 10)
    return found


def compare(setting: Setting, rates: Machine, rounds: int) -> dict[str, Any]:
    """Times of all solvers on a problem, and what "auto" predicts for its choice."""
    make = maker(setting)
    problem = make()
    chosen = choose(problem, tolerance=TOLERANCE)
    name = type(chosen.solver).__name__
    asked = solvers_for(problem)
    order = [name, *(other for other in asked if other != name)]
    runs: dict[str, list[dict[str, Any]]] = {other: [] for other in order}
    run(make, chosen.solver, chosen.row.every, AT_LEAST)
    best = AT_MOST / BEHIND
    for number in range(rounds):
        # what runs first pays for fresh memory: another solver begins each round
        first = number * len(order) // rounds
        for other in order[first:] + order[:first]:
            if runs[other] and runs[other][-1]["seconds"] is None:
                continue
            solver, every = asked[other]
            if not runs[other]:
                pm.minimize(make(), solver, stop=pm.MaxIterations(1))  # compiles
            limit = AT_MOST if other == name else min(AT_MOST, max(AT_LEAST, BEHIND * best))
            runs[other].append(run(make, solver, every, limit))
            best = min(best, runs[other][-1]["seconds"] or best)
    seconds = {
        other: statistics.median(each["seconds"] for each in found)
        for other, found in runs.items()
        if all(each["seconds"] is not None for each in found)
    }
    own = runs[name][-1]
    cost = cost_of_iteration(problem, chosen.solver)
    reads = cost_of_pass(problem).seconds(rates)
    row = {
        "auto": name,
        "reason": chosen.reason,
        "seconds": seconds,
        "ratio": seconds[name] / min(seconds.values()) if name in seconds else None,
        "iterations": own["iterations"],
        "passes": own["passes"],
        "predicted_iterations": chosen.row.iterations,
        "iteration": min(each["spent"] for each in runs[name]) / max(1, own["iterations"]),
    }
    if cost is not None:
        # the certificates that the run has measured take about a pass each
        more = own["certificates"] / max(1, own["iterations"]) * reads
        row["predicted_iteration"] = cost.seconds(rates) + more
    return row


def main(
    only: record.Only = "",
    rounds: Annotated[int, typer.Option(help="Runs of each solver.", min=1)] = 3,
    minutes: Annotated[float, typer.Option(help="No problem begins after these.")] = 60.0,
    again: Annotated[bool, typer.Option(help="Run what is in the results, too.")] = False,
) -> None:
    """Run the solvers on the grid and record the times."""
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    begin = time.monotonic()
    path = record.RESULTS / "auto.json"
    rows: dict[str, Any] = json.loads(path.read_text())["rows"] if path.is_file() else {}
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR support beta
        rates = machine()
        for setting in grid():
            late = time.monotonic() - begin > 60 * minutes
            if only not in setting.name or late or (setting.name in rows and not again):
                continue
            rows[setting.name] = compare(setting, rates, rounds)
            record.save("auto", {"rounds": rounds, "rates": rates._asdict(), "rows": rows})
            print(line(setting.name, rows[setting.name]), flush=True)
    print(*summary(rows), sep="\n")


def line(name: str, row: dict[str, Any]) -> str:
    """A row of the table: the choice, its seconds, the best other, and the predictions."""
    seconds = row["seconds"]
    best = min(seconds, key=seconds.get, default="none")
    cells = [name, row["auto"], _figure(seconds.get(row["auto"])), best, _figure(row["ratio"])]
    cells += [f"{row['iterations']} ({row['predicted_iterations']:g})"]
    predicted = row.get("predicted_iteration")
    cells += [
        f"{1e3 * row['iteration']:.2g}" + (f" ({1e3 * predicted:.2g})" if predicted else ""),
    ]
    return f"| {' | '.join(cells)} |"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def summary(rows: dict[str, Any]) -> list[str]:
    """How often the choice is near the best, and the predictions within a factor of two."""
    ratios = [row["ratio"] or float("inf") for row in rows.values()]
    costs = [
        row["predicted_iteration"] / row["iteration"]
        for row in rows.values()
        if "predicted_iteration" in row
    ]
    counts = [row["predicted_iterations"] / max(1, row["iterations"]) for row in rows.values()]
    near = sum(ratio <= 1.5 for ratio in ratios)
    return [
        f"within 1.5 of the best: {near} of {len(ratios)}; median {statistics.median(ratios):.2f}",
        f"cost of an iteration within 2: {sum(map(_near, costs))} of {len(costs)}",
        f"iterations within 2: {sum(map(_near, counts))} of {len(counts)}",
    ]


def _near(ratio: float) -> bool:
    return 0.5 <= ratio <= 2.0


if __name__ == "__main__":
    typer.run(main)
