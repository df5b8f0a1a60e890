"""A state goes on with the data that it was made with, and with no other."""

import pytest
import torch
from solver_cases import SOLVER_FACTORIES, convex, latent, latent_start

import proxmtl as pm
from proxmtl.solvers import run

each = pytest.mark.parametrize("name", sorted(SOLVER_FACTORIES))


def on(problem, X=None, labels=None, weights=None):
    """The same problem on other data of the same shapes."""
    old = problem.targets
    design = pm.SharedDesign(
        problem.design.X if X is None else X, intercept=problem.design.intercept
    )
    t = pm.Targets(
        old.labels if labels is None else labels,
        old.weights if weights is None else weights,
        old.n_tasks,
    )
    if isinstance(problem, pm.LatentProblem):
        return pm.LatentProblem(
            problem.loss,
            design,
            t,
            problem.groups,
            group_strength=problem.group_norm.strength,
            l1_strength=problem.l1.strength,
            frobenius_strength=problem.ridge.strength,
        )
    return pm.Problem(problem.loss, design, t, problem.regularizers)


@each
def test_a_state_of_other_data_raises_and_names_what_differs(name):
    solver, problem, start = SOLVER_FACTORIES[name](torch.float64)
    state = run(problem, solver, start, pm.MaxIterations(2)).state
    state = type(state).from_state_dict(state.state_dict())
    X, labels, weights = problem.design.X, problem.targets.labels, problem.targets.weights
    turned = X.to_dense().flip(0)
    others = {
        "features differ": {"X": turned if X.layout == torch.strided else turned.to_sparse_csr()},
        "positive_sum, negative_sum differ": {"labels": -labels},
        "weight_sum differ": {"weights": weights * (1 + 0.1 * torch.arange(len(X))[:, None])},
    }
    for message, other in others.items():
        with pytest.raises(ValueError, match=f"state: made with other data .*{message}"):
            run(on(problem, **other), solver, start, pm.MaxIterations(4), state=state)
    again = run(on(problem), solver, start, pm.MaxIterations(4), state=state)
    assert again.iterations == 4
    # made again elsewhere, in single precision
    run(on(problem, X=X.float().double()), solver, start, pm.MaxIterations(4), state=state)


def test_states_of_before_go_on_unchecked():
    problem = convex("l1")
    fields = pm.minimize(problem, stop=pm.MaxIterations(2)).state.state_dict()
    del fields["data"]
    kind = type(pm.minimize(problem, stop=pm.MaxIterations(1)).state)
    state = kind.from_state_dict(fields)
    other = on(problem, X=problem.design.X.flip(0))
    assert pm.minimize(other, stop=pm.MaxIterations(3), state=state).iterations == 3


def test_states_of_batches_and_of_features_by_task_know_their_data_too():
    problem = convex("l1")
    state = pm.solve_batch([problem], stop=pm.MaxIterations(2))[0].state
    with pytest.raises(ValueError, match="made with other data"):
        pm.minimize(on(problem, X=2 * problem.design.X), stop=pm.MaxIterations(3), state=state)
    g = torch.Generator().manual_seed(0)
    X = [torch.randn(20, 3, generator=g) for _ in range(2)]
    Y = [torch.sign(x[:, 0]) for x in X]
    assert pm.TaskDesign(X).figure() != pm.TaskDesign(X[::-1]).figure()
    model = pm.LatentMTL(max_passes=20)
    with pytest.raises(ValueError, match=r"state: made with other data \(features differ\)"):
        model.solve([X[0], X[1].flip(0)], Y, state=model.solve(X, Y).state)


def test_inner_problems_of_a_factor_have_the_figure_of_all_features():
    problem = latent()
    _, S, bias = latent_start(problem)
    assert problem.l_problem(S, bias).design.figure() == problem.design.figure()
    part = problem.design.take(torch.arange(10))
    assert part.known_figure != problem.design.known_figure
