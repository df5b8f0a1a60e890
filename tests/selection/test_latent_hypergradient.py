import math

import pytest
from solver_cases import PAIRS, D, M, data, latent_start, targets
from strategies import classification

import proxmtl as pm
from proxmtl.selection import latent_hypergradient
from proxmtl.solvers import run

STRENGTHS = (0.9, 0.4, 0.3)


OWN = (*STRENGTHS, 1.5)


def factored(strengths, *, intercept=True):
    X, *_ = data(missing=0.1)
    group, l1, square, *own = strengths
    return pm.LatentProblem(
        pm.Logistic(),
        pm.SharedDesign(X, intercept=intercept),
        targets(missing=0.1),
        PAIRS,
        group_strength=group,
        l1_strength=l1,
        frobenius_strength=square,
        own_strength=own[0] if own else None,
    )


def validation(*, intercept=True):
    X, Y = classification(50, D, M, seed=9, shift=0.3)
    return pm.Problem(
        pm.Logistic(), pm.SharedDesign(X, intercept=intercept), pm.Targets.from_labels(Y)
    )


def solved(problem, start):
    stop = pm.RelativeKKT(1e-11, every=20) | pm.MaxPasses(20000)
    result = run(problem, pm.PANOC(), start, stop)
    assert result.certificate.relative_kkt < 1e-9, result
    return result.solution


@pytest.mark.parametrize("strengths", [STRENGTHS, OWN], ids=["shared", "own"])
@pytest.mark.parametrize("intercept", [False, True])
def test_it_is_the_derivative_of_solving_again(intercept, strengths):
    problem = factored(strengths, intercept=intercept)
    criterion = validation(intercept=intercept)
    point = solved(problem, latent_start(problem, K=2))
    found = latent_hypergradient(problem, point, criterion.smooth_value_and_grad)
    assert found.residual <= 1e-9
    assert found.value == pytest.approx(float(criterion.objective(problem.weights(point))))
    # the free check: (a L, S / a) is the same W
    in_mu, in_gamma, in_lambda = found.gradient.tolist()[:3]
    assert (problem.weights(point)[:D] != 0).any()
    size = float(found.gradient.norm())
    assert abs(in_mu - in_gamma - 2 * in_lambda) <= 1e-7 * size
    assert size > 1e-2
    step = 1e-4
    for j, slope in enumerate(found.gradient.tolist()):
        ends = []
        for sign in (1, -1):
            moved = [s * math.exp(sign * step * (i == j)) for i, s in enumerate(strengths)]
            there = factored(moved, intercept=intercept)
            again = solved(there, point)
            ends.append(float(criterion.objective(there.weights(again))))
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-6 * size)


def test_a_collapsed_model_has_no_slope():
    problem = factored(STRENGTHS)
    zero = tuple(0 * block for block in latent_start(problem, K=2))
    with pytest.raises(pm.UnsupportedError, match="collapsed"):
        latent_hypergradient(problem, zero, validation().smooth_value_and_grad)


def test_a_point_that_is_no_minimum_shows_in_the_residual():
    problem = factored((0.05, 0.02, 0.01))
    start = tuple(0.05 * block for block in latent_start(problem, K=3))
    found = latent_hypergradient(problem, start, validation().smooth_value_and_grad)
    assert found.residual > 1e-3
