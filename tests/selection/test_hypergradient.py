import math

import pytest
import torch
from solver_cases import CHAIN, PAIRS, D, convex, data, targets
from strategies import classification

import proxmtl as pm
from proxmtl.selection import hypergradient, with_strengths

PENALTIES = {
    "l1": [pm.L1(2.0)],
    "ridge": [pm.SquaredFrobenius(0.7)],
    "elastic": [pm.L1(2.0), pm.SquaredFrobenius(0.8)],
    "groups": [pm.GroupL2(PAIRS, 2.5)],
    "groups-ridge": [pm.GroupL2(PAIRS, 4.0), pm.SquaredFrobenius(0.8)],
    "sparse-groups": [pm.L1(1.0), pm.GroupL2(PAIRS, 1.5)],
    "overlap-ridge": [pm.OverlappingGroupL2(CHAIN, 2.5), pm.SquaredFrobenius(0.8)],
    "rows": [pm.GroupL2(pm.Groups.singletons(D), 4.0, axis=0)],
}
STOP = pm.RelativeKKT(1e-13, every=20) | pm.MaxIterations(20000)


def training(penalty, loss, *, intercept):
    X, *_ = data(missing=0.1)
    return pm.Problem(
        loss, pm.SharedDesign(X, intercept=intercept), targets(missing=0.1), PENALTIES[penalty]
    )


def validation(loss, *, intercept):
    X, Y = classification(50, D, 4, seed=9, shift=0.3)
    return pm.Problem(loss, pm.SharedDesign(X, intercept=intercept), pm.Targets.from_labels(Y))


def solved(problem, strengths, start=None):
    result = pm.minimize(with_strengths(problem, strengths), x0=start, stop=STOP)
    assert result.certificate.relative_kkt < 1e-10
    return result.solution


@pytest.mark.parametrize("loss", [pm.SquaredHinge(), pm.Logistic(), pm.Squared()], ids=repr)
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_it_is_the_derivative_of_solving_again(penalty, intercept, loss):
    problem = training(penalty, loss, intercept=intercept)
    criterion = validation(loss, intercept=intercept)
    strengths = [term.strength for term in problem.regularizers]
    W = solved(problem, strengths)
    # there is something inactive, but for the ridge, and overlaps whose zeros cost long solves
    assert "ridge" in penalty or bool((problem.design.split(W)[0] == 0).any())
    found = hypergradient(problem, W, criterion.smooth_value_and_grad)
    assert found.residual <= 1e-10
    assert found.value == pytest.approx(float(criterion.objective(W)))
    for j in range(len(strengths)):
        step = 1e-5
        ends = []
        for sign in (1, -1):
            moved = [s * math.exp(sign * step) if i == j else s for i, s in enumerate(strengths)]
            ends.append(float(criterion.objective(solved(problem, moved, W))))
        difference = (ends[0] - ends[1]) / (2 * step)
        assert float(found.gradient[j]) == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_the_ridge_by_its_closed_form():
    """Squared loss: ``W = (X'X + 2 s)^-1 X'Y``, ``dW/ds = -2 (X'X + 2 s)^-1 W``."""
    X, Y, _ = data(missing=0.0)
    s = 0.9
    problem = pm.Problem(
        pm.Squared(), pm.SharedDesign(X), pm.Targets.from_labels(Y), pm.SquaredFrobenius(s)
    )
    gram = X.T @ X + 2 * s * torch.eye(D, dtype=torch.float64)
    W = torch.linalg.solve(gram, X.T @ Y)
    criterion = validation(pm.Squared(), intercept=False)
    _, q = criterion.smooth_value_and_grad(W)
    expected = s * float((q * (-2 * torch.linalg.solve(gram, W))).sum())
    found = hypergradient(problem, W, criterion.smooth_value_and_grad)
    assert float(found.gradient[0]) == pytest.approx(expected, rel=1e-9)


def test_a_guess_saves_products():
    problem = training("elastic", pm.Logistic(), intercept=True)
    criterion = validation(pm.Logistic(), intercept=True).smooth_value_and_grad
    W = solved(problem, [2.0, 0.8])
    before = problem.counts.passes
    first = hypergradient(problem, W, criterion)
    assert problem.counts.passes - before == first.products + 0.5
    again = hypergradient(problem, W, criterion, guess=first.multiplier)
    assert again.products < first.products
    torch.testing.assert_close(again.gradient, first.gradient)
    few = hypergradient(problem, W, criterion, max_products=2)
    assert few.products == 2
    assert few.residual > 1e-6


def test_at_zero_weights_nothing_moves():
    problem = training("l1", pm.SquaredHinge(), intercept=True)
    above = with_strengths(problem, 2 * problem.critical_strength())
    criterion = validation(pm.SquaredHinge(), intercept=True).smooth_value_and_grad
    found = hypergradient(above, above.null_point(), criterion)
    assert not found.gradient.any()


def test_what_has_no_derivative_says_so():
    criterion = validation(pm.SquaredHinge(), intercept=False).smooth_value_and_grad
    smooth = convex("groups").smoothed(0.1)
    with pytest.raises(pm.UnsupportedError, match="unsmoothed"):
        hypergradient(smooth, smooth.zeros(), criterion)
    for penalty in (pm.MCP(1.0), pm.Nuclear(1.0)):
        other = convex("l1").with_regularizers(penalty)
        with pytest.raises(pm.UnsupportedError, match=type(penalty).__name__):
            hypergradient(other, other.zeros(), criterion)
    problem = convex("l1")
    with pytest.raises(ValueError, match="shape"):
        hypergradient(problem, torch.zeros(1, 1), criterion)
    result = pm.minimize(problem, stop=pm.RelativeGap(1e-3))
    assert (
        hypergradient(problem, result.solution.float(), criterion).gradient.dtype == torch.float64
    )
