"""Data that carry a graph of autograd are solved as their values; results carry none."""

import dataclasses

import pytest
import torch

import proxmtl as pm
from proxmtl.solvers import SOLVERS

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(20, 4, dtype=torch.float64, generator=GENERATOR)
Y = torch.sign(X @ torch.randn(4, 3, dtype=torch.float64, generator=GENERATOR) + 0.1)
ONES = torch.ones(20, dtype=torch.float64)
CONVEX = [name for name in SOLVERS if name not in ("Alternating", "Hybrid", "Refactored", "PALM")]


def recorded(tensor):
    """The same numbers as part of a graph."""
    return tensor.clone().requires_grad_() * 1


def plain(tensor):
    return tensor


def graphs(value, path="result"):
    """Where a result holds a tensor with a graph."""
    if isinstance(value, torch.Tensor):
        return [path] if value.requires_grad else []
    if isinstance(value, (list, tuple)):
        parts = enumerate(value)
    elif isinstance(value, dict):
        parts = value.items()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    else:
        return []
    return [found for name, part in parts for found in graphs(part, f"{path}.{name}")]


def test_graphs_are_found():
    assert graphs([torch.ones(2), {"a": recorded(ONES)}]) == ["result.1.a"]


DESIGNS = {
    "shared": lambda give: pm.SharedDesign(give(X), intercept=True),
    "tasks": lambda give: pm.TaskDesign([give(X)] * 3, intercept=True),
    "L fixed": lambda give: pm.FactoredDesign(
        pm.SharedDesign(give(X)), L=give(torch.eye(4).double())
    ),
    "S fixed": lambda give: pm.FactoredDesign(
        pm.SharedDesign(give(X), intercept=True),
        S=give(torch.eye(3).double()),
        bias=give(torch.zeros(3).double()),
    ),
}


def penalties(give):
    weights = give(torch.full((4, 3), 0.1, dtype=torch.float64))
    groups = pm.Groups.from_lists([[0, 1], [2]], weights=give(ONES[:2]))
    return {
        "L1": pm.L1(0.1),
        "weights": pm.WeightedL1(weights, 1.0),
        "ridge": pm.SquaredFrobenius(0.1),
        "groups": pm.GroupL2(groups, 0.1),
    }


def solved(solver, design, penalty, give):
    built = DESIGNS[design](give)
    labels = [give(Y[:, m]) for m in range(3)] if design == "tasks" else give(Y)
    weights = [give(ONES)] * 3 if design == "tasks" else give(ONES)
    tasks = give(torch.ones(3).double())
    targets = pm.Targets.from_labels(labels, sample_weight=weights, task_weight=tasks)
    problem = pm.Problem(pm.SquaredHinge(), built, targets, penalties(give)[penalty])
    return pm.minimize(problem, SOLVERS[solver](), give(problem.zeros()), stop=pm.MaxIterations(2))


@pytest.mark.parametrize("design", DESIGNS)
@pytest.mark.parametrize("penalty", penalties(plain))
@pytest.mark.parametrize("solver", CONVEX)
def test_every_solver(solver, design, penalty):
    try:
        wanted = solved(solver, design, penalty, plain)
    except pm.UnsupportedError:
        pytest.skip(f"{solver} doesn't take this problem")
    seen = solved(solver, design, penalty, recorded)
    assert graphs(seen) == []
    assert torch.equal(seen.solution, wanted.solution)


@pytest.mark.parametrize("shape", ["shared", "stacked", "tasks"])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("algorithm", ["auto", "gram", "panoc", "palm", "paper"])
def test_the_latent_model(algorithm, start, shape):
    def solve(give):
        factors = give(torch.ones(4, 2).double()), give(torch.ones(2, 3).double())
        features = {"shared": give(X), "tasks": [give(X)] * 3, "stacked": give(X.repeat(3, 1, 1))}
        labels = [give(Y[:, m]) for m in range(3)] if shape == "tasks" else give(Y)
        model = pm.LatentMTL(algorithm=algorithm, init=factors if start else "svd", max_passes=10)
        first = model.solve(features[shape], labels)
        return first, model.solve(features[shape], labels, warm_start=first)

    for seen, wanted in zip(solve(recorded), solve(plain), strict=True):
        assert graphs(seen) == []
        assert torch.equal(seen.coef, wanted.coef)


def test_scores_of_new_samples_keep_their_graph():
    """Of the features that the caller asks about, not of those of the fit."""
    result = pm.LatentMTL(max_passes=10).solve(X, Y)
    new = X[:2].clone().requires_grad_()
    result.decision_function(new).sum().backward()
    torch.testing.assert_close(new.grad, result.coef.sum(1).expand(2, -1))
    assert not result.decision_function(X).requires_grad


def test_the_callers_graph_is_left_alone():
    features = X.clone().requires_grad_()
    pm.minimize(
        pm.Problem(
            pm.SquaredHinge(), pm.SharedDesign(features), pm.Targets.from_labels(Y), pm.L1(0.1)
        )
    )
    assert features.requires_grad
    assert features.grad is None
    assert torch.is_grad_enabled()
