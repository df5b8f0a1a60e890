"""FISTA on overlapping groups: the prox starts from the last iterate, and remembers nothing."""

import pytest
import torch

import proxmtl as pm
from proxmtl.solvers.fista import FISTAState


def problem(dtype=torch.float64, ridge=()):
    g = torch.Generator().manual_seed(0)
    X = torch.randn(60, 120, generator=g, dtype=torch.float64)
    Y = torch.sign(X[:, 10:20].sum(1, keepdim=True) + torch.randn(60, 1, generator=g))
    groups = pm.Groups.from_lists([range(k, k + 10) for k in range(0, 111, 5)], 120)
    penalty = pm.OverlappingGroupL2(groups, 4.0, axis=0, max_sweeps=8)
    design = pm.SharedDesign(X.to(dtype))
    return pm.Problem(
        pm.SquaredHinge(), design, pm.Targets.from_labels(Y.to(dtype)), [penalty, *ridge]
    )


@pytest.mark.parametrize("ridge", [(), (pm.SquaredFrobenius(0.1),)])
def test_a_saved_run_goes_on_bit_by_bit(ridge):
    whole = pm.minimize(problem(ridge=ridge), pm.FISTA(), stop=pm.MaxIterations(24))
    half = pm.minimize(problem(ridge=ridge), pm.FISTA(), stop=pm.MaxIterations(9))
    saved = FISTAState.from_state_dict(half.state.state_dict())
    resumed = pm.minimize(problem(ridge=ridge), pm.FISTA(), stop=pm.MaxIterations(24), state=saved)
    assert torch.equal(resumed.solution, whole.solution)


def test_the_gap_falls_to_1e_8_and_the_groups_are_exactly_zero():
    result = pm.minimize(problem(), pm.FISTA(), stop=pm.RelativeGap(1e-8) | pm.MaxIterations(500))
    assert result.status.ok
    assert 0 < int((result.solution == 0).sum()) < 120
    assert result.certificate.kkt <= 1e-3 * result.certificate.scale


def test_float32_converges_too():
    result = pm.minimize(
        problem(torch.float32), pm.FISTA(), stop=pm.RelativeGap(1e-4) | pm.MaxIterations(500)
    )
    assert result.status.ok
