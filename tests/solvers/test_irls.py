"""Reweighted least squares reach the optimum of the exact prox, from above, and without zeros."""

import itertools

import pytest
import torch
from solver_cases import PAIRS, convex

import proxmtl as pm


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("ridge", [[], [pm.SquaredFrobenius(0.2)]])
@pytest.mark.parametrize("penalty", [pm.GroupL2(PAIRS, 2.0), pm.SquaredGroupL2(PAIRS, 0.4)])
def test_reaches_the_optimum_of_the_exact_prox(penalty, ridge, intercept):
    problem = convex("l1", intercept=intercept).with_regularizers([penalty, *ridge])
    best = pm.minimize(problem, stop=pm.RelativeGap(1e-10, every=20) | pm.MaxIterations(20_000))
    result = pm.minimize(problem, pm.IRLS(), stop=pm.MaxIterations(400))
    optimum = best.certificate.objective
    assert best.status.ok
    assert result.certificate.objective == pytest.approx(optimum, rel=1e-6)
    assert result.certificate.objective >= optimum * (1 - 1e-9)
    objectives = [record["objective"] for record in result.history]
    assert all(b <= a * (1 + 1e-9) for a, b in itertools.pairwise(objectives))


def test_leaves_zero_and_has_no_zeros():
    problem = convex("l1").with_regularizers(pm.SquaredGroupL2(PAIRS, 0.4))
    result = pm.minimize(problem, pm.IRLS(1e-6), stop=pm.MaxIterations(300))
    exact = pm.minimize(
        problem, stop=pm.RelativeGap(1e-10, every=20) | pm.MaxIterations(20_000)
    ).solution
    assert bool((exact == 0).any())
    assert not bool((result.solution == 0).any())
    torch.testing.assert_close(result.solution, exact, rtol=0, atol=2e-3)


def test_takes_group_penalties_alone():
    with pytest.raises(pm.UnsupportedError, match="IRLS reweights one GroupL2 or SquaredGroupL2"):
        pm.minimize(convex("l1").with_regularizers(pm.L1(1.0)), pm.IRLS())
    with pytest.raises(ValueError, match="smoothing > 0"):
        pm.IRLS(0.0)
