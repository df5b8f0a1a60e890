"""All solvers that can take a problem find the same optimum, and it is that of cvxpy."""

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest
import torch
from agreement import FEWER, ONE_A_KIND, PLAIN, SOLVERS, agree
from oracles import LOSS_EXPRESSIONS, members_of, optimum, solve, squared_hinge
from solver_cases import CHAIN, PAIRS, N, data, ragged, targets
from strategies import LOSS_FACTORIES, label_kind

import proxmtl as pm
from proxmtl.regularizers import Composed

TREE = pm.Groups.from_lists([[0, 1, 2, 3], [0, 1], [2, 3], [0], [3]])


@dataclass(frozen=True)
class Steps(Composed):
    """``strength * sum |W[:, m + 1] - W[:, m]|``: tasks fused along a chain."""

    strength: float

    @property
    def inner(self):
        return pm.L1(self.strength)

    def forward(self, W):
        return W[:, 1:] - W[:, :-1]

    def transposed(self, Z, like):
        edge = torch.zeros_like(like[:, :1])
        return torch.cat([edge, Z], 1) - torch.cat([Z, edge], 1)

    def squared_operator_norm(self, W):  # noqa: ARG002
        return 4.0

    def with_strength(self, strength):
        return Steps(strength)


def norms(W, groups, strength):
    pairs = zip(members_of(groups), groups.weights.tolist(), strict=True)
    return strength * sum(w * cp.sum(cp.norm(W[:, m], 2, axis=1)) for m, w in pairs)


def l1(W, strength):
    return strength * cp.sum(cp.abs(W))


def steps(W, strength):
    return strength * cp.sum(cp.abs(W[:, 1:] - W[:, :-1]))


# each: regularizers, and the same in cvxpy
FAMILIES = {
    "l1": ([pm.L1(1.5)], lambda W: l1(W, 1.5)),
    "ridge": ([pm.SquaredFrobenius(0.7)], lambda W: 0.7 * cp.sum_squares(W)),
    "elastic": (
        [pm.L1(1.5), pm.SquaredFrobenius(0.3)],
        lambda W: l1(W, 1.5) + 0.3 * cp.sum_squares(W),
    ),
    "groups": ([pm.GroupL2(PAIRS, 2.0)], lambda W: norms(W, PAIRS, 2.0)),
    "sparse-group": (
        [pm.L1(0.7), pm.GroupL2(PAIRS, 1.5)],
        lambda W: l1(W, 0.7) + norms(W, PAIRS, 1.5),
    ),
    "overlap": ([pm.OverlappingGroupL2(CHAIN, 1.2)], lambda W: norms(W, CHAIN, 1.2)),
    "tree": ([pm.OverlappingGroupL2(TREE, 0.8)], lambda W: norms(W, TREE, 0.8)),
    "l1-overlap": (
        [pm.L1(0.7), pm.OverlappingGroupL2(CHAIN, 1.2)],
        lambda W: l1(W, 0.7) + norms(W, CHAIN, 1.2),
    ),
    "rows": ([pm.L21(2.0)], lambda W: 2 * cp.sum(cp.norm(W, 2, axis=1))),
    "graph": ([Steps(2.0)], lambda W: steps(W, 2.0)),
    "graph-l1-ridge": (
        [Steps(2.0), pm.L1(0.5), pm.SquaredFrobenius(0.2)],
        lambda W: steps(W, 2.0) + l1(W, 0.5) + 0.2 * cp.sum_squares(W),
    ),
    "graph-l1-groups": (
        [Steps(1.0), pm.L1(0.5), pm.GroupL2(PAIRS, 1.0)],
        lambda W: steps(W, 1.0) + l1(W, 0.5) + norms(W, PAIRS, 1.0),
    ),
    "exclusive": (
        [pm.ExclusiveL1(2.0)],
        lambda W: cp.sum_squares(cp.sum(cp.abs(W), axis=1)),
    ),
    "nuclear": ([pm.Nuclear(3.0)], lambda W: 3 * cp.normNuc(W)),
    "nonnegative": (
        [pm.L1(0.5), pm.NonNegative()],
        lambda W: l1(W, 0.5) + cp.transforms.indicator([W >= 0]),
    ),
    "rows-box": (
        [pm.L21(2.0), pm.Box(-0.1, 0.1)],
        lambda W: 2 * cp.sum(cp.norm(W, 2, axis=1)) + cp.transforms.indicator([cp.abs(W) <= 0.1]),
    ),
}


ITERATIVE = ("overlap", "tree", "graph", "graph-l1-ridge", "graph-l1-groups", "rows-box")


@pytest.mark.parametrize(
    ("family", "intercept"), [("l1", False), ("groups", False), *((f, True) for f in FAMILIES)]
)
def test_all_solvers_find_the_optimum_of_cvxpy(family, intercept):
    terms, expression = FAMILIES[family]
    X, *_ = data()
    problem = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=intercept), targets(), terms
    )
    t = problem.targets
    best = optimum(X, t.labels, t.weights, expression, intercept=intercept)[0]
    tried = FEWER if family in ITERATIVE else SOLVERS
    if family == "l1-overlap" or family in ITERATIVE[2:]:  # the slowest
        tried = ONE_A_KIND
    lacking = set(tried) - agree(problem, best, tried)
    if family in ("graph", "graph-l1-ridge"):
        assert lacking == {"ProxNewton"}
    elif family == "nuclear":
        assert lacking == {"ProxNewton", "ProxNewton-small"}
    elif family == "graph-l1-groups":
        assert lacking == {"DavisYin", "ProxNewton"}
    else:
        assert not lacking


@pytest.mark.parametrize("name", sorted(LOSS_FACTORIES))
def test_all_solvers_agree_for_every_loss(name):
    loss, (X, Y, _) = LOSS_FACTORIES[name](None), data()
    if label_kind(loss) == "classes":
        t = pm.Targets.from_classes(torch.arange(N) % 3, 3, like=X)
        terms, penalty = [pm.L1(1.0)], lambda W: l1(W, 1.0)
    else:
        weight = 0.5 + torch.rand(N, generator=torch.Generator().manual_seed(1)).to(X)
        t = pm.Targets.from_labels(Y, sample_weight=weight)
        terms, penalty = FAMILIES["sparse-group"]
    problem = pm.Problem(loss, pm.SharedDesign(X, intercept=True), t, terms)
    expression = LOSS_EXPRESSIONS[name](loss)
    best = optimum(X, t.labels, t.weights, penalty, intercept=True, loss=expression)[0]
    assert agree(problem, best, PLAIN) == set(PLAIN)


@pytest.mark.parametrize(
    ("penalty", "intercept"), [("l1", False), ("groups-ridge", True), ("overlap", True)]
)
def test_all_solvers_agree_on_features_per_task(penalty, intercept):
    problem = ragged(penalty, intercept=intercept)
    M = problem.targets.n_tasks
    W, b = cp.Variable((6, M)), cp.Variable(M) if intercept else np.zeros(M)
    expressions = {
        "l1": lambda W: l1(W, 1.5),
        "groups-ridge": lambda W: norms(W, PAIRS, 2.0) + 0.4 * cp.sum_squares(W),
        "overlap": lambda W: norms(W, CHAIN, 1.2),
    }
    total = expressions[penalty](W)
    labels = problem.targets.labels.split(problem.design.sizes)
    for m, (X, y) in enumerate(zip(problem.design.X, labels, strict=True)):
        total += squared_hinge(X.numpy() @ W[:, m] + b[m], y.numpy(), np.ones(len(y)))
    tried = ONE_A_KIND if penalty == "overlap" else SOLVERS
    assert agree(problem, solve(cp.Problem(cp.Minimize(total))), tried) == set(tried)


def test_smoothing_agrees_too():
    X, *_ = data()
    problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), targets(), [pm.GroupL2(PAIRS, 2.0)])
    best = pm.minimize(
        problem, stop=pm.RelativeGap(1e-10) | pm.MaxIterations(1000)
    ).certificate.objective
    result = pm.minimize(problem, pm.SPGD(), stop=pm.MaxIterations(1200))
    assert result.certificate.objective == pytest.approx(best, rel=1e-6)


# ------------------------------------------------------------------ special cases of groups


def solution(terms, solver):
    X, *_ = data()
    problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), targets(), terms)
    return pm.minimize(
        problem, solver, stop=pm.RelativeGap(1e-12) | pm.MaxIterations(3000)
    ).solution


SINGLES = pm.Groups.from_lists([[0], [1], [2], [3]])
WHOLE = pm.Groups.single(4)
EQUAL = {
    "groups of one are L1": ([pm.GroupL2(SINGLES, 1.5)], [pm.L1(1.5)]),
    "overlapping code, groups of one": ([pm.OverlappingGroupL2(SINGLES, 1.5)], [pm.L1(1.5)]),
    "one group is the norm of a row": ([pm.GroupL2(WHOLE, 9.0)], [pm.L21(9.0)]),
    "overlapping code, one group": ([pm.OverlappingGroupL2(WHOLE, 9.0)], [pm.L21(9.0)]),
    "overlapping code, disjoint groups": (
        [pm.OverlappingGroupL2(PAIRS, 2.0)],
        [pm.GroupL2(PAIRS, 2.0)],
    ),
    "two halves of a group": (
        [pm.GroupL2(PAIRS, 1.2), pm.GroupL2(PAIRS, 0.8)],
        [pm.GroupL2(PAIRS, 2.0)],
    ),
}


@pytest.mark.parametrize("case", EQUAL)
@pytest.mark.parametrize("solver", [pm.FISTA(), pm.ProxNewton()])
def test_special_cases_have_one_solution(case, solver):
    found, expected = (solution(terms, solver) for terms in EQUAL[case])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert torch.equal(found == 0, expected == 0)
    assert bool((expected[:-1] == 0).any())  # and it is sparse
