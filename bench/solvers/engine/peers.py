"""The field's solvers on the shapes that each is made for: (seconds, objective) pairs, as ours.

Each is imported where it runs, so that what is not installed is only left out.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable

import numpy as np

from bench.solvers.engine.cases import Case
from proxmtl import Logistic

Curve = list[tuple[float, float]]

TOLERANCES = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10)


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

    step = 1 / _norm(X) ** 2
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


def _norm(X: np.ndarray) -> float:
    """Spectral norm, for peers that are given a step: by Lanczos, in a third of an SVD's time."""
    from scipy.sparse.linalg import svds

    return float(svds(X, 1, v0=np.ones(min(X.shape)), return_singular_vectors=False)[0])


def adelie_rows(case: Case, tolerance: float) -> np.ndarray:
    import adelie

    n, m = case.Y.shape
    # its loss is a mean over samples and tasks
    return _adelie(case, adelie.glm.multigaussian(case.Y), tolerance, case.strength / (n * m))


def adelie_groups(case: Case, tolerance: float) -> np.ndarray:
    import adelie

    y = case.Y[:, 0]
    if isinstance(case.loss, Logistic):
        glm = adelie.glm.binomial((y > 0).astype(float))
    else:
        glm = adelie.glm.gaussian(y)
    starts = np.arange(0, case.X.shape[1], 10)
    return _adelie(case, glm, tolerance, case.strength / len(y), groups=starts)


def _adelie(case: Case, glm: object, tolerance: float, strength: float, **groups) -> np.ndarray:
    import adelie

    count = len(groups["groups"]) if groups else case.X.shape[1]
    path = adelie.grpnet(
        np.asfortranarray(case.X),
        glm,
        lmda_path=[strength],
        penalty=np.ones(count),
        intercept=False,
        tol=tolerance,
        early_exit=False,
        progress_bar=False,
        **groups,
    )
    return np.asarray(path.betas[-1].todense())


def spams_fista(case: Case, tolerance: float) -> np.ndarray:
    import spams

    logistic = isinstance(case.loss, Logistic)
    X = np.asfortranarray(case.X)
    return spams.fistaFlat(
        np.asfortranarray(case.Y),
        X,
        np.zeros((X.shape[1], case.Y.shape[1]), order="F"),
        loss="logistic" if logistic else "square",
        regul="l1l2" if case.kind == "mtl" else "group-lasso-l2",
        size_group=10,
        lambda1=case.strength / (len(X) if logistic else 1),  # its logistic loss is a mean
        tol=tolerance,
        it0=10,
        max_it=3000,
        numThreads=1,
    )


def pyproximal_fista(case: Case, limit: float) -> Curve:
    """FISTA with the step 1/L, which it is given; its rows are those of a reshaped vector."""
    import pylops
    import pyproximal

    (n, d), m = case.X.shape, case.Y.shape[1]
    iterates: list[tuple[float, np.ndarray]] = []
    begin = time.process_time()
    X = case.X
    if case.kind == "mtl":
        size, order = m, np.arange(d * m).reshape(m, d).T.ravel()
        product = pylops.FunctionOperator(
            lambda w: (w.reshape(m, d) @ X.T).ravel(),
            lambda r: (r.reshape(m, n) @ X).ravel(),
            n * m,
            d * m,
        )
    else:
        size, order = 10, np.arange(d).reshape(10, -1).T.ravel()
        back = np.arange(d).reshape(-1, 10).T.ravel()
        product = pylops.MatrixMult(np.ascontiguousarray(X[:, back]))

    step = 0.99 / _norm(X) ** 2

    class TimeUpError(Exception):
        pass

    def watch(w: np.ndarray) -> None:
        iterates.append((time.process_time() - begin, w.copy()))
        if iterates[-1][0] > limit:
            raise TimeUpError

    with contextlib.suppress(TimeUpError):
        pyproximal.optimization.primal.ProximalGradient(
            pyproximal.L2(Op=product, b=case.Y.T.ravel()),
            pyproximal.L21(ndim=size, sigma=case.strength),
            x0=np.zeros(d * m),
            tau=step,
            acceleration="fista",
            niter=2000,
            callback=watch,
        )
    return [(seconds, case.objective(w[order])) for seconds, w in iterates]


PEERS: dict[str, dict[str, tuple[str, Callable[[Case, float], Curve]]]] = {
    "svm": {"scikit-learn LinearSVC": ("sklearn", swept(liblinear))},
    "mtl": {
        "scikit-learn MultiTaskLasso": ("sklearn", swept(sklearn_rows)),
        "skglm MultiTaskLasso": ("skglm", swept(skglm_rows)),
        "adelie": ("adelie", swept(adelie_rows)),
        "SPAMS FISTA": ("spams", swept(spams_fista)),
        "pyproximal FISTA": ("pyproximal", pyproximal_fista),
    },
    "groups": {
        "celer GroupLasso": ("celer", swept(celer_groups)),
        "skglm GroupLasso": ("skglm", swept(skglm_groups)),
        "adelie": ("adelie", swept(adelie_groups)),
        "SPAMS FISTA": ("spams", swept(spams_fista)),
        "pyproximal FISTA": ("pyproximal", pyproximal_fista),
    },
    "logistic-groups": {
        "adelie": ("adelie", swept(adelie_groups)),
        "SPAMS FISTA": ("spams", swept(spams_fista)),
    },
    "windows": {"copt three-operator splitting": ("copt", copt_windows)},
}
