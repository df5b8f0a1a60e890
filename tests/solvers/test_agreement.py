"""The solvers agree on other precisions, designs and penalties too, and end where they should."""

import cvxpy as cp
import pytest
import torch
from agreement import FEWER, ONE_A_KIND, SOLVERS, agree
from oracles import optimum
from regularizer_expressions import CVXPY
from solver_cases import CHAIN, PAIRS, convex, data, factored, targets

import proxmtl as pm


def penalty(*terms):
    """The terms as one expression of cvxpy."""

    def expression(W):
        total = 0
        for term in terms:
            value, constraints = CVXPY[type(term).__name__](term, W)
            total = total + value + (cp.transforms.indicator(constraints) if constraints else 0)
        return total

    return expression


def optimum_of(problem, X, terms):
    t = problem.targets.to(torch.float64)
    return optimum(
        X.double(), t.labels, t.weights, penalty(*terms), intercept=problem.design.intercept
    )[0]


def test_in_float32():
    terms = [pm.GroupL2(PAIRS, 2.0)]
    problem = convex("groups", intercept=True, dtype=torch.float32)
    best = optimum_of(problem, problem.design.X, terms)
    assert agree(problem, best, accuracy=1e-6) == set(SOLVERS)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
def test_on_sparse_features():
    X, *_ = data()
    X = X * (X.abs() > 0.7)
    terms = [pm.L1(1.0)]
    problem = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X.to_sparse_csr(), intercept=True), targets(), terms
    )
    assert agree(problem, optimum_of(problem, X, terms)) == set(SOLVERS)


@pytest.mark.parametrize("intercept", [False, True])
def test_on_the_factor_of_a_fixed_one(intercept):
    terms = [pm.GroupL2(PAIRS, 2.0)]
    problem = factored("L", intercept=intercept, penalty=terms)
    X, L = problem.design.base.X, problem.design.L
    assert agree(problem, optimum_of(problem, X @ L, terms)) == set(SOLVERS)


@pytest.mark.parametrize("ridge", [[], [pm.SquaredFrobenius(0.3)]])
def test_by_reweighting(ridge):
    terms = [pm.GroupL2(PAIRS, 2.0), *ridge]
    problem = convex("l1").with_regularizers(terms)
    best = optimum_of(problem, problem.design.X, terms)
    solvers = {"IRLS": pm.IRLS()}
    assert agree(problem, best, solvers) == {"IRLS"}


PENALTIES = {
    "latent-overlap": [pm.LatentOverlapGroupL2(CHAIN, 1.5)],
    "variation": [pm.TotalVariation(1.5)],
    "fused-lasso": [pm.FusedLasso(1.5, 0.4)],
    "graph": [pm.GraphFused([(0, 1), (1, 2), (0, 3)], 1.0)],
    "graph-ridge": [pm.GraphFused([(0, 1), (1, 2), (0, 3)], 1.0), pm.SquaredFrobenius(0.3)],
}


@pytest.mark.parametrize("name", PENALTIES)
def test_on_penalties_of_supports_and_steps(name):
    terms = PENALTIES[name]
    problem = convex("l1", intercept=True).with_regularizers(terms)
    best = optimum_of(problem, problem.design.X, terms)
    tried = set(ONE_A_KIND if name in ("graph", "graph-ridge", "latent-overlap") else FEWER)
    if name == "variation":
        # splitting leaves steps of 1e-9 where the solution has none, and there the least
        # subgradient of a variation is far from zero: its objective is right, but not certified
        tried -= {"PDHG"}
        splitting = pm.minimize(problem, SOLVERS["PDHG"], stop=pm.MaxIterations(1000))
        assert splitting.certificate.objective == pytest.approx(best, rel=1e-6)
    assert tried - agree(problem, best, tried) <= {"ProxNewton"}


@pytest.mark.parametrize("solver", [pm.PGD(), pm.MFISTA(), pm.ProxNewton()])
@pytest.mark.parametrize("term", [pm.MCP(2.0, 2.5), pm.SCAD(1.0, 3.2), pm.MCP(2.0, 2.5, PAIRS)])
def test_monotone_solvers_end_at_stationary_points_of_folded_penalties(solver, term):
    problem = convex("l1", intercept=True).with_regularizers(term)
    start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(3)).double()
    result = pm.minimize(
        problem, solver, x0=start, stop=pm.RelativeKKT(1e-7) | pm.MaxIterations(2000)
    )
    assert result.status is pm.Status.CONVERGED
    assert result.certificate.gap is None
    values = [float(problem.objective(start)), *(r["objective"] for r in result.history)]
    assert max(values) == values[0]
    assert result.certificate.objective < values[0]
