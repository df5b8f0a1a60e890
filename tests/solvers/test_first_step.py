"""Verified steps start from a probe, others from the Lipschitz estimate; both reach the optimum."""

import pytest
import torch
from solver_cases import CHAIN, convex, data, ragged, targets

import proxmtl as pm
from proxmtl.solvers import Backtracking, ConstantStep
from proxmtl.solvers.proximal import linearized_at, probed_step

VERIFYING = [pm.PGD, pm.FISTA, pm.MFISTA, pm.DavisYin]


def probed(problem, x):
    return probed_step(problem, linearized_at(problem, x, problem.scores(x)))


def squared(X, Y, *terms):
    return pm.Problem(
        pm.Squared(), pm.SharedDesign(X), pm.Targets.from_labels(Y, coding="real"), terms
    )


@pytest.mark.parametrize("solver", VERIFYING)
@pytest.mark.parametrize("make", [convex, ragged])
def test_a_verified_run_never_asks_for_the_lipschitz_constant(solver, make):
    problem = make("groups")
    rule = Backtracking(growth=1.0, shrink=1e-3)  # at most one refusal
    state = solver(rule).init(problem, problem.zeros())
    assert problem.counts.passes == 2  # the start half a one, its gradient too, the probe one
    assert problem.design.curvature_passes == 0
    result = pm.minimize(problem, solver(rule), state=state, stop=pm.MaxIterations(3))
    assert problem.design.curvature_passes == 0
    fixed = solver(ConstantStep()).init(problem, problem.zeros())
    assert problem.design.curvature_passes > 0
    assert fixed.step == 1 / problem.lipschitz
    assert result.iterations == 3


@pytest.mark.parametrize("loss", [pm.Squared(), pm.SquaredHinge(), pm.Logistic(), pm.Huber(0.3)])
def test_a_probe_is_exact_on_equal_curvatures_and_never_shorter_than_the_bound(loss):
    X, *_ = data()
    for scale in (1e-3, 1.0, 1e3):
        t = targets()
        problem = pm.Problem(loss, pm.SharedDesign(scale * X), t, pm.L1(0.1))
        for seed in range(3):
            x = torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)).double() / scale
            # the estimate is 1 % above the constant
            assert probed(problem, x) >= (1 - 1e-9) / problem.lipschitz
    Q = 3 * torch.linalg.qr(torch.randn(12, 5, generator=torch.Generator().manual_seed(0))).Q
    Y = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))
    isotropic = squared(Q.double(), Y.double(), pm.L1(0.1))
    assert probed(isotropic, isotropic.zeros()) == pytest.approx(1 / 9, rel=1e-6)


def test_smoothed_terms_count_with_their_constants_as_in_the_test_of_a_step():
    X, *_ = data()
    terms = [pm.OverlappingGroupL2(CHAIN, 1.2), pm.L1(0.7)]
    problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), targets(), terms)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).double()
    alone = probed(problem, x)
    view = problem.smoothed(1e-2)
    bent = sum(term.lipschitz for term in view.smooth_terms)
    assert 1 / probed(view, x) == pytest.approx(1 / alone + bent, rel=1e-9)


@pytest.mark.parametrize("solver", VERIFYING)
def test_a_probe_that_misses_the_steep_direction_is_corrected(solver):
    # the gradient at zero lies along the flat direction: the first step is 25 times too long
    X = torch.diag(torch.tensor([5.0, 1.0], dtype=torch.float64))
    Y = torch.tensor([[1e-9], [1.0]], dtype=torch.float64)
    problem = squared(X, Y, pm.SquaredFrobenius(0.05))
    start = torch.tensor([[1e-3], [0.0]], dtype=torch.float64)  # steep enough to be refused
    first = solver().init(problem, start).step
    assert first > 20 / problem.lipschitz
    result = pm.minimize(problem, solver(), start, pm.RelativeKKT(1e-6) | pm.MaxIterations(600))
    assert result.status is pm.Status.CONVERGED
    expected = Y / (torch.diag(X)[:, None] + 0.1 / torch.diag(X)[:, None])
    torch.testing.assert_close(result.solution, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("solver", [*VERIFYING, pm.ProxNewton])
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_without_a_gradient_to_probe_the_bound_serves_in_any_units(solver, scale):
    X = scale * data()[0]
    planted = torch.arange(24).reshape(6, 4).double() / scale
    labels = pm.SharedDesign(X).scores(planted)
    problem = squared(X, labels, pm.L1(1e-3 * scale))
    assert torch.equal(problem.design.scores(planted), problem.targets.labels)
    result = pm.minimize(problem, solver(), planted, pm.MaxIterations(0))
    state = result.state.inner if solver is pm.ProxNewton else result.state
    assert state.step == 1 / problem.lipschitz


def test_views_of_a_problem_find_the_curvature_once_and_only_when_asked():
    problem = convex("elastic")
    view = problem.with_regularizers([pm.L1(0.3)])
    assert problem.design.curvature_passes == 0
    found, counted = view.lipschitz, problem.counts.passes
    assert counted > 0
    assert problem.lipschitz == found
    assert problem.with_regularizers([pm.L1(0.1)]).lipschitz == found
    assert problem.counts.passes == counted


def test_a_resumed_run_finds_no_curvature_that_it_does_not_need():
    through = pm.minimize(convex("groups"), stop=pm.MaxIterations(8))
    half = pm.minimize(convex("groups"), stop=pm.MaxIterations(3))
    problem = convex("groups")
    rest = pm.minimize(problem, state=half.state, stop=pm.MaxIterations(8))
    assert problem.design.curvature_passes == 0
    assert rest.passes == through.passes
    assert torch.equal(rest.solution, through.solution)


GIVEN = {
    "AdPGM": lambda step: pm.AdPGM(first=step),
    "FISTA": lambda step: pm.FISTA(Backtracking(first=step)),
    "PGD": lambda step: pm.PGD(ConstantStep(first=step)),
    "MFISTA": lambda step: pm.MFISTA(Backtracking(first=step)),
    "DavisYin": lambda step: pm.DavisYin(Backtracking(first=step)),
}


@pytest.mark.parametrize("solver", GIVEN)
@pytest.mark.parametrize("step", [1e300, 1e-300, float("inf")])
def test_a_step_that_the_precision_does_not_hold_is_said_before_the_first_iteration(solver, step):
    X, *_ = data(dtype=torch.float32)
    problem = pm.Problem(
        pm.Logistic(), pm.SharedDesign(X), targets(dtype=torch.float32), pm.L1(0.5)
    )
    with pytest.raises(ValueError, match=r"first: got .* in float32 a step must lie between"):
        pm.minimize(problem, GIVEN[solver](step), stop=pm.MaxIterations(3))
