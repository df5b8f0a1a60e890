"""Who runs: our solvers, and the peers that are installed. Each gives (seconds, objective) pairs.

Processor time of one thread, counted from the raw arrays: checking, copying and curvature included.
Our solvers, copt and pyproximal are watched while they run. The others hide their iterates, so they
are run anew for each of a row of tolerances. What compiles has compiled: ours take one step, the
others one run that are not timed.
"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterator, Sequence

from threadpoolctl import threadpool_limits

from bench.solvers.engine.cases import Case
from bench.solvers.engine.peers import PEERS, Curve
from proxmtl import FISTA, AdPGM, DavisYin, MaxIterations, MaxSeconds, ProxNewton, minimize
from proxmtl.solvers import Solver

QUIET = 40
"""A run ends when this many iterations no longer change the objective."""


def ours(
    solver: Solver, *, split: bool = False, target: float = -math.inf
) -> Callable[[Case, float], Curve]:
    """Until the time is up or the objective is at most ``target``."""

    def run(case: Case, limit: float) -> Curve:
        minimize(case.problem(split=split), solver, stop=MaxIterations(1))
        curve: Curve = []
        begin = time.process_time()

        def watch(progress) -> bool:
            curve.append((time.process_time() - begin, progress.objective))
            last, now = [value for _, value in curve[-QUIET:]], progress.objective
            done = len(last) == QUIET and max(last) - min(last) <= 1e-12 * abs(now)
            return done or curve[-1][0] > limit or now <= target

        problem = case.problem(split=split)
        stop = MaxIterations(5000) | MaxSeconds(5 * limit)
        minimize(problem, solver, stop=stop, callback=watch)
        return curve

    return run


def contenders(case: Case) -> Iterator[tuple[str, Callable[[Case, float], Curve]]]:
    """Our solvers and the peers at hand for this kind of problem."""
    yield "FISTA", ours(FISTA())
    yield "AdPGM", ours(AdPGM())
    yield "ProxNewton", ours(ProxNewton())
    if case.split is not None:
        yield "DavisYin (two families)", ours(DavisYin(), split=True)
    for name, (module, run) in PEERS.get(case.kind, {}).items():
        if importlib.util.find_spec(module) is not None:
            yield name, run


def race(case: Case, limit: float, skip: Sequence[str] = ()) -> tuple[dict[str, Curve], float]:
    """The curve of every contender, one thread, and the best objective that any reached."""
    curves = {}
    _ = case.strength  # found before the clock starts
    with threadpool_limits(1):
        for name, run in contenders(case):
            if any(word in name for word in skip):
                continue
            curves[name] = run(case, limit)
    best = min(objective for curve in curves.values() for _, objective in curve)
    return curves, best


def reach(curve: Curve, best: float, accuracy: float) -> float | None:
    """Seconds to a relative suboptimality; None if it was not reached."""
    hits = [seconds for seconds, value in curve if value - best <= accuracy * abs(best)]
    return min(hits, default=None)
