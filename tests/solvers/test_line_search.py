"""Steps are verified by one test, whatever the solver, and each product they make is counted."""

import pytest
import torch
from solver_cases import CHAIN, PAIRS, convex, data, targets

import proxmtl as pm
from proxmtl.solvers import Backtracking

VERIFYING = [pm.PGD, pm.FISTA, pm.MFISTA, pm.DavisYin]


def smoothed(smoothness):
    """A smoothed norm, whose curvature is most of the whole, beside a prox."""
    X, *_ = data()
    terms = [pm.OverlappingGroupL2(CHAIN, 1.2), pm.L1(0.7)]
    return pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), targets(), terms).smoothed(smoothness)


@pytest.mark.parametrize("solver", VERIFYING)
def test_steps_reckon_with_the_curvature_of_smoothed_terms(solver):
    best = pm.minimize(smoothed(1e-2), stop=pm.RelativeKKT(1e-9) | pm.MaxIterations(2000))
    result = pm.minimize(
        smoothed(1e-2), solver(), stop=pm.RelativeKKT(1e-6) | pm.MaxIterations(2000)
    )
    assert best.status is result.status is pm.Status.CONVERGED
    assert result.certificate.objective == pytest.approx(best.certificate.objective, rel=1e-9)
    least = sum(term.lipschitz for term in smoothed(1e-2).smooth_terms)
    assert result.state.step < 1 / least


def isotropic():
    """Curvature 9 in every direction: steps up to 1/9 pass the test, longer ones do not."""
    generator = torch.Generator().manual_seed(0)
    X = 3 * torch.linalg.qr(torch.randn(12, 5, generator=generator).double()).Q
    Y = torch.randn(12, 4, generator=generator).double()
    t = pm.Targets.from_labels(Y, coding="real")
    return pm.Problem(pm.Squared(), pm.SharedDesign(X), t, [pm.L1(0.1), pm.GroupL2(PAIRS, 0.1)])


@pytest.mark.parametrize("solver", VERIFYING)
def test_a_step_grows_while_there_is_room_and_no_longer(solver):
    rule = Backtracking(first=0.05, growth=1.25, shrink=0.5)
    result = pm.minimize(isotropic(), solver(rule), stop=pm.MaxIterations(12))
    # 0.05 * 1.25^3 < 1/9 < 0.05 * 1.25^4: three steps grow, and none is refused
    assert result.state.step == pytest.approx(0.05 * 1.25**3)
    start, each = (1.0, 1.5) if solver is pm.DavisYin else (0.5, 1.0)
    assert result.passes == start + each * result.iterations


@pytest.mark.parametrize(("solver", "start"), [(pm.PGD, 0.5), (pm.FISTA, 0.5), (pm.MFISTA, 0.5)])
def test_a_refused_step_costs_half_a_pass_where_the_point_stays(solver, start):
    rule = Backtracking(first=1.0, growth=1.0, shrink=0.5)
    result = pm.minimize(isotropic(), solver(rule), stop=pm.MaxIterations(1))
    assert result.state.step == 1 / 16
    assert result.passes == start + 1 + 4 * 0.5


def test_a_refused_step_costs_a_whole_pass_where_momentum_moves_the_point():
    problem = convex("groups", intercept=True)
    solver = pm.FISTA(Backtracking(growth=1.0))
    state = pm.minimize(problem, solver, stop=pm.MaxIterations(5)).state
    assert state.momentum > 1
    state.step = 64 * state.step
    before = problem.counts.passes
    after = solver.step(problem, state)
    refused = round(torch.tensor(state.step / after.step).log2().item())
    assert refused > 0
    assert problem.counts.passes - before == 1 + refused
