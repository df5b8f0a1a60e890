"""Who runs: ours, and the peers that are installed. Each gives (seconds, objective) pairs.

Counted from the raw arrays: checking, copying and curvature included. Davis-Yin, copt and
pyproximal are watched while they run; the others, ours by default among them, are run anew for each
of a row of tolerances. What compiles has compiled before.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from bench.solvers.engine.cases import Case
from bench.solvers.engine.peers import PEERS, Curve, proxmtl_auto, seconds, swept
from proxmtl import DavisYin, MaxIterations, MaxSeconds, minimize
from proxmtl.solvers import Solver

OURS = "proxmtl"
QUIET = 40
"""A run ends when this many iterations no longer change the objective."""
DIGITS = 1e-9
"""Relative error that an objective may have, computed in NumPy and by a certificate."""


def ours(
    solver: Solver, *, split: bool = False, target: float = -math.inf
) -> Callable[[Case, float], Curve]:
    """Until the time is up or the objective is at most ``target``."""

    def run(case: Case, limit: float) -> Curve:
        minimize(case.problem(split=split), solver, stop=MaxIterations(1))
        curve: Curve = []
        begin = seconds(case)

        def watch(progress) -> bool:
            curve.append((seconds(case) - begin, progress.objective))
            last, now = [value for _, value in curve[-QUIET:]], progress.objective
            done = len(last) == QUIET and max(last) - min(last) <= 1e-12 * abs(now)
            return done or curve[-1][0] > limit or now <= target

        problem = case.problem(split=split)
        stop = MaxIterations(5000) | MaxSeconds(5 * limit)
        minimize(problem, solver, stop=stop, callback=watch)
        return curve

    return run


def contenders(case: Case) -> Iterator[tuple[str, Callable[[Case, float], Curve]]]:
    """Ours by default, and the peers at hand for this kind of problem."""
    yield OURS, swept(proxmtl_auto)
    if case.split is not None:
        yield "proxmtl DavisYin", ours(DavisYin(), split=True)
    for name, (module, run) in PEERS.get(case.kind, {}).items():
        if importlib.util.find_spec(module) is not None:
            yield name, run


def race(
    case: Case, limit: float, rounds: int, skip: Sequence[str] = ()
) -> tuple[dict[str, list[Curve]], float, dict[str, str]]:
    """The curves of every contender, one a round, the best objective that any reached, and errors.

    Rounds begin with another contender each, so that a slow spell of the machine hits all alike. A
    peer that raises an error leaves the race.
    """
    check_objective(case)
    with threadpool_limits(case.threads):
        racers = [(n, run) for n, run in contenders(case) if not any(word in n for word in skip)]
        curves: dict[str, list[Curve]] = {name: [] for name, _ in racers}
        failed: dict[str, str] = {}
        for number in range(rounds):
            first = number % len(racers)
            for name, run in racers[first:] + racers[:first]:
                if name in failed:
                    continue
                try:
                    curves[name].append(run(case, limit))
                except Exception as error:
                    if name.startswith(OURS):
                        raise
                    failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    curves = {name: found for name, found in curves.items() if name not in failed}
    every = (value for found in curves.values() for curve in found for _, value in curve)
    return curves, min(every), failed


def check_objective(case: Case) -> None:
    """Raise unless the objective in NumPy, by which all are judged, is that of our problem."""
    problem = case.problem()
    W = problem.zeros()
    W[:: max(1, len(W) // 50)] = 0.01
    there, own = problem.certificate(W).objective, case.objective(W.numpy())
    if not abs(there - own) <= DIGITS * abs(own):
        raise ValueError(f"{case.name}: objective {own} in NumPy, {there} by the certificate.")


def reach(curve: Curve, best: float, accuracy: float) -> float | None:
    """Seconds to a relative suboptimality; None if it was not reached."""
    hits = [spent for spent, value in curve if value - best <= accuracy * abs(best)]
    return min(hits, default=None)


def timed(
    curves: dict[str, list[Curve]], best: float, accuracies: Sequence[float]
) -> dict[str, list[dict[str, Any] | None]]:
    """Median seconds of each contender to each accuracy, and how many times ours that is.

    Ratios are those of the rounds; their median, least and largest. None: not reached in a round.
    """
    found: dict[str, list[dict[str, Any] | None]] = {}
    for name, own in curves.items():
        found[name] = []
        for accuracy in accuracies:
            times = [reach(curve, best, accuracy) for curve in own]
            if any(spent is None for spent in times):
                found[name].append(None)
                continue
            row: dict[str, Any] = {"seconds": statistics.median(times)}
            reference = [reach(curve, best, accuracy) for curve in curves[OURS]]
            if all(spent is not None for spent in reference):
                ratios = [spent / ref for spent, ref in zip(times, reference, strict=True)]
                row["ratio"] = statistics.median(ratios)
                row["spread"] = [min(ratios), max(ratios)]
            found[name].append(row)
    return found
