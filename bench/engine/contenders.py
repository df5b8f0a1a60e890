"""Who runs: our solvers, and the peers that are installed. Each gives (seconds, objective) pairs.

Processor time of one thread, counted from the raw arrays: checking, copying and curvature included.
Our solvers and copt are watched while they run. The others hide their iterates, so they are run
anew for each of a row of tolerances, after one run that is not timed (some compile).
"""

from __future__ import annotations

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from bench.engine.cases import Case
from proxmtl import FISTA, AdPGM, DavisYin, MaxIterations, MaxSeconds, ProxNewton, minimize
from proxmtl.solvers import Solver

Curve = list[tuple[float, float]]
QUIET = 40
"""A run ends when this many iterations no longer change the objective."""

TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)


def ours(
    solver: Solver, *, split: bool = False, target: float = -math.inf
) -> Callable[[Case, float], Curve]:
    """Until the time is up or the objective is at most ``target``."""

    def run(case: Case, limit: float) -> Curve:
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


def swept(fit: Callable[[Case, float], np.ndarray]) -> Callable[[Case, float], Curve]:
    def run(case: Case, limit: float) -> Curve:
        curve: Curve = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(case, TOLERANCES[0])  # what compiles, compiles now
        for tolerance in TOLERANCES:
            begin = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # not converged: the objective says how far it is
                W = fit(case, tolerance)
            curve.append((time.process_time() - begin, case.objective(np.asarray(W))))
            if sum(seconds for seconds, _ in curve) > limit:
                break
        return curve

    return run


def liblinear(case: Case, tolerance: float) -> np.ndarray:
    from sklearn.svm import LinearSVC

    model = LinearSVC(
        penalty="l1",
        dual=False,
        C=1 / (2 * case.strength),
        fit_intercept=False,
        tol=tolerance,
        max_iter=2000,
        random_state=0,
    )
    return model.fit(case.X, case.Y[:, 0]).coef_


def sklearn_rows(case: Case, tolerance: float) -> np.ndarray:
    from sklearn.linear_model import MultiTaskLasso

    alpha = case.strength / len(case.X)
    model = MultiTaskLasso(alpha, fit_intercept=False, tol=tolerance, max_iter=5000)
    return model.fit(case.X, case.Y).coef_.T


def skglm_rows(case: Case, tolerance: float) -> np.ndarray:
    from skglm import MultiTaskLasso

    alpha = case.strength / len(case.X)
    model = MultiTaskLasso(alpha, fit_intercept=False, tol=tolerance)
    return model.fit(np.asfortranarray(case.X), np.asfortranarray(case.Y)).coef_.T


def celer_groups(case: Case, tolerance: float) -> np.ndarray:
    from celer import GroupLasso

    alpha = case.strength / len(case.X)
    model = GroupLasso(groups=10, alpha=alpha, fit_intercept=False, tol=tolerance)
    return model.fit(np.asfortranarray(case.X), case.Y[:, 0]).coef_


def skglm_groups(case: Case, tolerance: float) -> np.ndarray:
    from skglm import GroupLasso

    alpha = case.strength / len(case.X)
    model = GroupLasso(groups=10, alpha=alpha, fit_intercept=False, tol=tolerance)
    return model.fit(np.asfortranarray(case.X), case.Y[:, 0]).coef_


def copt_windows(case: Case, limit: float) -> Curve:
    """Davis-Yin with line search on the two disjoint families of windows."""
    import copt

    X, y, strength, d = case.X, case.Y[:, 0], case.strength, case.X.shape[1]
    curve: Curve = []
    iterates: list[tuple[float, np.ndarray]] = []
    begin = time.process_time()

    def loss(w: np.ndarray, return_gradient: bool = True) -> tuple[float, np.ndarray] | float:
        r = X @ w - y
        return (r @ r / 2, X.T @ r) if return_gradient else r @ r / 2

    def prox_from(first: int) -> Callable[[np.ndarray, float], np.ndarray]:
        last = first + (d - first) // 10 * 10

        def prox(w: np.ndarray, step: float) -> np.ndarray:
            out = w.copy()
            blocks = out[first:last].reshape(-1, 10)  # a view
            norms = np.linalg.norm(blocks, axis=1, keepdims=True)
            blocks *= np.maximum(0, 1 - step * strength / np.maximum(norms, 1e-300))
            return out

        return prox

    def watch(variables: dict) -> bool:
        iterates.append((time.process_time() - begin, np.array(variables["x"])))
        return time.process_time() - begin < limit

    step = 1 / np.linalg.norm(X, 2) ** 2
    copt.minimize_three_split(
        loss,
        np.zeros(d),
        prox_from(0),
        prox_from(5),
        tol=1e-14,
        max_iter=3000,
        step_size=step,
        callback=watch,
    )
    curve += [(seconds, case.objective(w)) for seconds, w in iterates]
    return curve


PEERS: dict[str, dict[str, tuple[str, Callable[[Case, float], Curve]]]] = {
    "svm": {"scikit-learn LinearSVC": ("sklearn", swept(liblinear))},
    "mtl": {
        "scikit-learn MultiTaskLasso": ("sklearn", swept(sklearn_rows)),
        "skglm MultiTaskLasso": ("skglm", swept(skglm_rows)),
    },
    "groups": {
        "celer GroupLasso": ("celer", swept(celer_groups)),
        "skglm GroupLasso": ("skglm", swept(skglm_groups)),
    },
    "windows": {"copt three-operator splitting": ("copt", copt_windows)},
}


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
