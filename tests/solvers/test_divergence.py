"""Runs whose steps are far too long end as diverged, alone and in a batch."""

import math

import pytest
import torch
from strategies import classification

import proxmtl as pm
from proxmtl.selection import solve_batch
from proxmtl.solvers import ConstantStep, NoRestart

PAIRS = pm.Groups.from_lists([[0, 1], [2, 3]])
X, Y = classification(40, 6, 4, shift=0.3)


def problem(design=None, *, weight=1.0):
    """Least squares: a step of c over the curvature multiplies an error by up to c - 1."""
    design = pm.SharedDesign(X) if design is None else design
    targets = pm.Targets.from_labels(Y, sample_weight=torch.full((40,), weight, dtype=X.dtype))
    return pm.Problem(pm.Squared(), design, targets, pm.GroupL2(PAIRS, 2.0 * weight))


TOO_LONG = ConstantStep(1e12 / problem().lipschitz)
DIVERGING = {
    "FISTA": pm.FISTA(TOO_LONG),
    "FISTA-plain": pm.FISTA(TOO_LONG, NoRestart()),
    "PGD": pm.PGD(TOO_LONG),
    "DavisYin": pm.DavisYin(TOO_LONG),
    "SPGD": pm.SPGD(inner=pm.FISTA(TOO_LONG)),
    "SPGD-fixed": pm.SPGD(smoothness=0.1, inner=pm.FISTA(TOO_LONG)),
    "IRLS": pm.IRLS(inner=pm.FISTA(TOO_LONG)),
    "AdPGM": pm.AdPGM(first=1e300),
}


@pytest.mark.parametrize("name", DIVERGING)
def test_divergence_is_called_by_its_name(name):
    result = pm.minimize(problem(), DIVERGING[name], stop=pm.MaxIterations(100))
    assert result.status is pm.Status.DIVERGED
    assert not result.status.ok
    assert result.reason == f"objective is {result.state.objective}"
    assert not math.isfinite(result.state.objective)
    assert result.iterations < 100
    # the history ends before: it can be drawn, and written as JSON
    assert len(result.history) == result.iterations  # the start, and all iterations but the last
    assert all(math.isfinite(record["objective"]) for record in result.history)


def test_a_problem_of_a_batch_diverges_alone():
    """The same step is too long for one problem, and right for another of tiny weights."""
    design = pm.SharedDesign(X)
    problems = [problem(design, weight=1e-12), problem(design), problem(design, weight=2e-13)]
    rule = pm.RelativeGap(1e-6) | pm.MaxIterations(2000)
    small, diverged, smallest = solve_batch(problems, pm.FISTA(TOO_LONG), stop=rule)
    assert diverged.status is pm.Status.DIVERGED
    assert diverged.reason == f"objective is {diverged.state.objective}"
    assert not math.isfinite(diverged.state.objective)
    assert len(diverged.history) == diverged.iterations
    assert all(math.isfinite(record["objective"]) for record in diverged.history)
    assert small.status is smallest.status is pm.Status.CONVERGED
    for result, alone in ((small, problems[0]), (smallest, problems[2])):
        assert alone.certificate(result.solution).relative_gap <= 1e-6
