"""Small problems with known optima, and one factory for every registered solver."""

import warnings

import torch
from strategies import classification

import proxmtl as pm
from proxmtl.latent import Alternating, GramNewton, Hybrid
from proxmtl.latent.refactor import Refactored

N, D, M = 40, 6, 4
PAIRS = pm.Groups.from_lists([[0, 1], [2, 3]], weights=[1.0, 2.0])
CHAIN = pm.Groups.from_lists([[0, 1, 2], [2, 3], [1, 3]])

PENALTIES = {
    "l1": [pm.L1(1.5)],
    "ridge": [pm.SquaredFrobenius(0.7)],
    "elastic": [pm.L1(1.5), pm.SquaredFrobenius(0.3)],
    "groups": [pm.GroupL2(PAIRS, 2.0)],
    "groups-ridge": [pm.GroupL2(PAIRS, 2.0), pm.SquaredFrobenius(0.3), pm.SquaredFrobenius(0.1)],
    "overlap": [pm.OverlappingGroupL2(CHAIN, 1.2)],
    "l1-overlap": [pm.L1(0.7), pm.OverlappingGroupL2(CHAIN, 1.2)],
    "overlap-ridge": [pm.OverlappingGroupL2(CHAIN, 1.2), pm.SquaredFrobenius(0.2)],
}


def data(*, seed=0, dtype=torch.float64, missing=0.2, n=N):
    """Features, labels with some missing and uneven sample weights."""
    X, Y = classification(n, D, M, seed=seed, missing=missing, shift=0.3, dtype=dtype)
    weight = 0.5 + torch.rand(n, generator=torch.Generator().manual_seed(seed + 1))
    return X, Y, weight.to(dtype)


def targets(**options):
    """Targets of :func:`data`."""
    X, Y, weight = data(**options)
    return pm.Targets.from_labels(Y, sample_weight=weight, like=X)


def convex(penalty="groups", *, intercept=False, **options):
    """A convex problem in W."""
    X, *_ = data(**options)
    design = pm.SharedDesign(X, intercept=intercept)
    return pm.Problem(pm.SquaredHinge(), design, targets(**options), PENALTIES[penalty])


def sparse(penalty=None, *, loss=None, intercept=True, dtype=torch.float64, n=N, d=N):
    """The same kind of problem with sparse features, some of them empty or the same."""
    X, Y = classification(n, d, M, seed=3, missing=0.2, shift=0.3, dtype=dtype)
    X = torch.where(X > 0.5, X, 0.0)
    X[:, 1], X[:, 2] = 0.0, X[:, 0]
    with warnings.catch_warnings():  # torch calls its CSR support beta, once
        warnings.simplefilter("ignore", UserWarning)
        design = pm.SharedDesign(X.to_sparse_csr(), intercept=intercept)
    weight = 0.5 + torch.rand(n, generator=torch.Generator().manual_seed(4)).to(dtype)
    labels = pm.Targets.from_labels(Y, sample_weight=weight, like=X)
    return pm.Problem(loss or pm.SquaredHinge(), design, labels, penalty or pm.L1(1.5))


def ragged(penalty="groups", *, intercept=False):
    """The same kind of problem with features per task of several lengths."""
    X, Y, _ = data(missing=0.0)
    rows = [slice(0, 40), slice(0, 25), slice(0, 31), slice(0, 12)]
    parts = [X[r] * (1 + 0.2 * m) for m, r in enumerate(rows)]
    labels = [Y[r, m] for m, r in enumerate(rows)]
    design = pm.TaskDesign(parts, intercept=intercept)
    return pm.Problem(pm.SquaredHinge(), design, pm.Targets.from_labels(labels), PENALTIES[penalty])


def factored(fixed, *, intercept=False, penalty=None):
    """One block of the joint problem: S with L fixed, or L with S (and the intercept) fixed."""
    X, *_ = data()
    generator = torch.Generator().manual_seed(5)
    base = pm.SharedDesign(X, intercept=intercept)
    if fixed == "L":
        L = torch.randn(D, 3, generator=generator, dtype=torch.float64)
        terms = penalty or PENALTIES["groups"]
        return pm.Problem(pm.SquaredHinge(), pm.FactoredDesign(base, L=L), targets(), terms)
    S = torch.randn(3, M, generator=generator, dtype=torch.float64)
    bias = torch.tensor([0.4, -0.3, 0.2, 0.9], dtype=torch.float64) if intercept else None
    terms = penalty or PENALTIES["elastic"]
    return pm.Problem(pm.SquaredHinge(), pm.FactoredDesign(base, S=S, bias=bias), targets(), terms)


def latent(
    *,
    intercept=True,
    groups=PAIRS,
    dtype=torch.float64,
    strengths=(0.6, 0.2, 0.1),
    own=None,
    seed=0,
):
    """The joint problem; strengths are those of S, of L's L1 norm and of its square."""
    X, *_ = data(dtype=dtype, seed=seed)
    group, l1, square = strengths
    return pm.LatentProblem(
        pm.SquaredHinge(),
        pm.SharedDesign(X, intercept=intercept),
        targets(dtype=dtype, seed=seed),
        groups,
        group_strength=group,
        l1_strength=l1,
        frobenius_strength=square,
        own_strength=own,
    )


def latent_start(problem, *, K=3, seed=11, scale=1.0):
    """Random factors and own parts, and zero intercepts if the problem has them."""
    generator = torch.Generator().manual_seed(seed)
    like = problem.zeros()
    L = scale * torch.randn(D, K, generator=generator, dtype=torch.float64).to(like)
    S = scale * torch.randn(K, M, generator=generator, dtype=torch.float64).to(like)
    V = 0.3 * scale * torch.randn(D, M, generator=generator, dtype=torch.float64).to(like)
    named = {"L": L, "S": S, "intercept": torch.zeros(M).to(like), "own": V}
    return tuple(named[name] for name in problem.block_names)


def _convex_case(solver, penalty="groups"):
    def make(dtype=torch.float64):
        problem = convex(penalty, intercept=True, dtype=dtype)
        start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(2))
        return solver, problem, start.to(dtype)

    return make


def _sparse_case(solver):
    """An L1 penalty on sparse features, as many as samples."""

    def make(dtype=torch.float64):
        problem = sparse(dtype=dtype)
        start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(2))
        return solver, problem, start.to(dtype)

    return make


def _separable_case(solver):
    """Classes that a plane separates, and hardly a ridge: margins grow step by step."""

    def make(dtype=torch.float64):
        X, *_ = data(dtype=dtype)
        generator = torch.Generator().manual_seed(6)
        planes = torch.randn(D, M, generator=generator, dtype=torch.float64).to(dtype)
        labels = torch.sign(X @ planes)
        labels[::5] = 0  # missing
        design = pm.SharedDesign(X, intercept=True)
        ridge = pm.SquaredFrobenius(1e-13)
        problem = pm.Problem(pm.Logistic(), design, pm.Targets.from_labels(labels), ridge)
        start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(2))
        return solver, problem, start.to(dtype)

    return make


def _latent_case(solver):
    def make(dtype=torch.float64):
        problem = latent(dtype=dtype)
        return solver, problem, latent_start(problem)

    return make


def _sum_case(solver):
    """Two penalties whose sum has no prox in closed form."""
    return _convex_case(solver, "l1-overlap")


SOLVER_FACTORIES = {
    "AdPGM": _convex_case(pm.AdPGM()),
    # one sweep in a step, of few rows, and accelerated steps after some
    "BlockNewton": _convex_case(pm.BlockNewton(smallest=1, sweeps=1, allowance=10.0)),
    # one sweep in a step, and hardly a working set: whole ones are done before the suite is
    "CoordinateNewton": _sparse_case(pm.CoordinateNewton(smallest=1, sweeps=1)),
    "DavisYin": _sum_case(pm.DavisYin()),
    "FISTA": _convex_case(pm.FISTA()),
    "IRLS": _convex_case(pm.IRLS(inner_iterations=3)),
    "LBFGS": _separable_case(pm.LBFGS()),
    "MFISTA": _convex_case(pm.MFISTA()),
    "NewtonCholesky": _separable_case(pm.NewtonCholesky()),
    "PDHG": _sum_case(pm.PDHG()),
    "PGD": _convex_case(pm.PGD()),
    # Newton steps of one product: whole ones are done before the suite is
    "ProxNewton": _convex_case(pm.ProxNewton(tolerated=1.0, products=1)),
    "ProxSVRG": _convex_case(pm.ProxSVRG(batch=8)),
    "SPGD": _convex_case(pm.SPGD()),
    "PALM": _latent_case(pm.PALM(order=((1, 2), (0,)))),
    "PANOC": _latent_case(pm.PANOC()),
    "Refactored": _latent_case(Refactored(every=5)),
    "GramNewton": _latent_case(GramNewton()),
    # both have turns before the tests end
    "Hybrid": _latent_case(Hybrid(worth=0.0)),
    "Alternating": _latent_case(Alternating(inner_iterations=6)),
}
