"""That all solvers which can take a problem find one optimum, and certify it."""

import pytest

import proxmtl as pm

SOLVERS = {
    "PGD": pm.PGD(),
    "FISTA": pm.FISTA(),
    "MFISTA": pm.MFISTA(),
    "MFISTA-original": pm.MFISTA(restart=False),
    "AdPGM": pm.AdPGM(),
    "DavisYin": pm.DavisYin(),
    "PDHG": pm.PDHG(),
    "ProxSVRG": pm.ProxSVRG(batch=8),
    "ProxSVRG-blocks": pm.ProxSVRG(batch=10, order="blocks"),
    "ProxNewton": pm.ProxNewton(),
    # a working set at every turn, on six features too
    "ProxNewton-small": pm.ProxNewton(smallest=1),
}


VARIANTS = ("MFISTA-original", "ProxSVRG-blocks", "ProxNewton-small")
# for penalties whose prox takes its time
FEWER = [n for n in SOLVERS if n not in (*VARIANTS, "ProxSVRG")]


PLAIN = [n for n in SOLVERS if n not in VARIANTS]
ONE_A_KIND = ["FISTA", "DavisYin", "PDHG", "ProxNewton"]


def agree(problem, best, solvers=SOLVERS, *, accuracy=2e-7):
    """Names of the solvers that can take the problem; each must find its optimum and certify it."""
    exact = problem.regularizer is None or problem.regularizer.exact_prox
    every = 10 if exact else 50  # certificates of sums take their time
    rule = pm.RelativeGap(accuracy, every) if problem.has_gap else pm.RelativeKKT(1e-6, every)
    able = set()
    for name in solvers:
        solver = solvers[name] if isinstance(solvers, dict) else SOLVERS[name]
        try:
            solver.check(problem)
        except pm.UnsupportedError:
            continue
        result = pm.minimize(problem, solver, stop=rule | pm.MaxIterations(1000))
        certificate = result.certificate
        assert result.status is pm.Status.CONVERGED, (name, result)
        assert certificate.objective == pytest.approx(best, rel=1e-6), name
        if problem.has_gap:
            assert certificate.gap >= certificate.objective - best - 1e-8 * best, name
        able.add(name)
    return able
