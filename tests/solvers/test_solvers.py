"""What each solver promises beyond the contract that all share."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from solver_cases import CHAIN, PAIRS, convex, data, factored, latent, ragged, targets
from strategies import classification

import proxmtl as pm
from proxmtl.regularizers import TotalVariation
from proxmtl.solvers import ConstantStep, run
from proxmtl.solvers.working_set import restrict_features

CONVEX_ONLY = [
    pm.FISTA(),
    pm.SPGD(),
    pm.DavisYin(),
    pm.PDHG(),
    pm.AdPGM(),
    pm.ProxSVRG(),
    pm.MFISTA(restart=False),
]
MONOTONE = [pm.PGD(), pm.MFISTA(), pm.ProxNewton()]


def problem_with(terms, *, intercept=True, dtype=torch.float64):
    X, *_ = data(dtype=dtype)
    return pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=intercept), targets(dtype=dtype), terms
    )


def wide(strength=0.1, *, n=150, d=600, m=1, penalty=pm.L1, intercept=False):
    """More features than samples, few of them in the solution."""
    X, Y = classification(n, d, m, seed=3)
    t = pm.Targets.from_labels(torch.sign(X[:, :m] + X[:, 5:6] + 0.3 * Y))
    problem = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X, intercept=intercept), t, penalty(1.0)
    )
    R = penalty(strength * problem.critical_strength())
    return pm.Problem(pm.SquaredHinge(), problem.design, t, R)


# ------------------------------------------------------------------ monotone ones


@pytest.mark.parametrize("solver", MONOTONE, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize(
    "terms", [[pm.GroupL2(PAIRS, 2.0)], [pm.MCP(2.0, 2.5)], [pm.SCAD(1.0, 3.2, PAIRS)]]
)
def test_the_objective_never_rises(solver, terms):
    problem = problem_with(terms)
    start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(1)).double()
    result = pm.minimize(
        problem, solver, x0=3 * start, stop=pm.RelativeKKT(1e-9) | pm.MaxIterations(500)
    )
    values = [float(problem.objective(3 * start)), *(r["objective"] for r in result.history)]
    assert all(b <= a + 1e-12 * abs(a) for a, b in pairwise(values))
    assert result.certificate.relative_kkt <= 1e-6  # and it ends at a stationary point


@pytest.mark.parametrize("solver", CONVEX_ONLY, ids=lambda s: type(s).__name__)
def test_penalties_that_are_not_convex_are_refused_with_what_takes_them(solver):
    with pytest.raises(pm.UnsupportedError, match=r"convex.*(MFISTA|PGD)"):
        pm.minimize(problem_with([pm.MCP(1.0, 2.5)]), solver)


@pytest.mark.parametrize("solver", [*CONVEX_ONLY, *MONOTONE], ids=lambda s: type(s).__name__)
def test_a_problem_in_blocks_is_refused_with_what_takes_it(solver):
    with pytest.raises(pm.UnsupportedError, match="use LatentMTL, or PANOC or PALM"):
        run(latent(), solver, None, pm.MaxIterations(1))


def test_plain_descent_keeps_its_rate():
    problem = convex("l1")
    best = pm.minimize(problem, stop=pm.RelativeGap(1e-12) | pm.MaxIterations(2000))
    distance = float(best.solution.square().sum())
    excess = []
    pm.minimize(
        problem,
        pm.PGD(ConstantStep()),
        stop=pm.MaxIterations(100),
        callback=lambda p: excess.append(p.objective - best.certificate.objective),
    )
    for k, e in enumerate(excess, start=1):
        assert e <= problem.lipschitz * distance / (2 * k) + 1e-9


# ------------------------------------------------------------------ adaptive steps


def test_adaptive_steps_need_no_curvature_and_one_pass():
    problem = convex("groups", intercept=True)
    result = pm.minimize(
        problem, pm.AdPGM(), stop=pm.RelativeGap(1e-10, every=1) | pm.MaxIterations(500)
    )
    assert result.status is pm.Status.CONVERGED
    assert problem.design.curvature_passes == 0
    assert result.passes == result.iterations + 2  # the start, and the probe for the first step
    assert result.state.step > 1 / problem.lipschitz  # the curvature met is below the bound


# ------------------------------------------------------------------ splitting


def test_davis_yin_returns_the_zeros_of_both_penalties():
    terms = [pm.L1(0.7), pm.OverlappingGroupL2(CHAIN, 1.2)]
    expected = pm.minimize(problem_with(terms), stop=pm.MaxIterations(60)).solution
    result = pm.minimize(problem_with(terms), pm.DavisYin(), stop=pm.MaxIterations(60))
    assert torch.equal(result.solution == 0, expected == 0)
    problem = problem_with(terms)
    at_x = float(problem.objective(result.state.x))
    assert float(problem.objective(result.solution)) <= at_x * (1 + 1e-12)


def test_splitting_keeps_its_iterates_inside_a_set():
    for solver in (pm.DavisYin(), pm.PDHG()):
        for terms in ([pm.LInf(1.0), pm.Box(-0.1, 0.2)], [pm.Box(-0.1, 0.2), pm.LInf(1.0)]):
            result = pm.minimize(problem_with(terms), solver, stop=pm.MaxIterations(30))
            W = result.solution[:-1]
            assert -0.1 <= float(W.min()) < float(W.max()) <= 0.2
            assert all(np.isfinite(record["objective"]) for record in result.history)


def test_splitting_refuses_what_it_cannot_split():
    three = [pm.L1(1.0), pm.LInf(1.0), pm.Nuclear(1.0)]
    with pytest.raises(pm.UnsupportedError, match=r"DavisYin splits two penalties.*use PDHG"):
        pm.minimize(problem_with(three), pm.DavisYin())
    assert pm.minimize(problem_with(three), pm.PDHG(), stop=pm.MaxIterations(3)).iterations == 3


def test_pdhg_goes_on_with_as_many_split_penalties_only():
    terms = [TotalVariation(1.0), pm.L1(0.5)]
    state = pm.minimize(problem_with(terms), pm.PDHG(), stop=pm.MaxIterations(4)).state
    assert (
        pm.minimize(
            problem_with(terms), pm.PDHG(), stop=pm.MaxIterations(6), state=state
        ).iterations
        == 6
    )
    with pytest.raises(ValueError, match=r"state: holds \d dual variables, the problem has \d"):
        pm.minimize(problem_with(pm.L1(0.5)), pm.PDHG(), stop=pm.MaxIterations(6), state=state)


# ------------------------------------------------------------------ mini-batches


def test_an_epoch_costs_two_passes_and_visits_every_sample_once():
    problem = convex("groups", intercept=True)
    result = pm.minimize(problem, pm.ProxSVRG(batch=7), stop=pm.MaxIterations(10))
    first = result.history[1]["passes"]
    assert result.passes == pytest.approx(first + 2 * 9)
    for solver in (pm.ProxSVRG(batch=7), pm.ProxSVRG(batch=7, order="blocks")):
        for problem in (convex("groups"), ragged("groups")):
            batches = solver._batches(problem.data, torch.Generator().manual_seed(0))
            entries = torch.cat(batches).sort().values
            assert torch.equal(entries, torch.arange(len(problem.targets.labels)))
            assert all(bool((b[1:] > b[:-1]).all()) for b in batches)


def test_too_long_a_step_is_undone_and_halved():
    problem = convex("groups")
    solver = pm.ProxSVRG(batch=8, growth=2.0)
    result = pm.minimize(problem, solver, stop=pm.RelativeGap(1e-8) | pm.MaxIterations(1000))
    assert result.status is pm.Status.CONVERGED
    assert result.state.halved > 0
    values = [record["objective"] for record in result.history]
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(values))


@pytest.mark.parametrize("order", ["samples", "blocks"])
def test_memory_mapped_features_take_the_same_path(tmp_path, order):
    X, *_ = data(dtype=torch.float32)
    np.save(tmp_path / "X.npy", X.numpy())
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    ends = []
    for features in (X, mapped):
        t = targets(dtype=torch.float32)
        problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(features), t, pm.L1(1.0))
        ends.append(pm.minimize(problem, pm.ProxSVRG(8, order), stop=pm.MaxIterations(15)))
    assert torch.equal(ends[0].solution, ends[1].solution)
    assert problem.design.X.data_ptr() == mapped.ctypes.data  # nothing was read into memory


def test_seeds_give_other_batches_and_one_optimum():
    ends = [
        pm.minimize(
            convex("groups"),
            pm.ProxSVRG(8, seed=s),
            stop=pm.RelativeGap(1e-9, 50) | pm.MaxIterations(400),
        )
        for s in (0, 1)
    ]
    assert not torch.equal(ends[0].solution, ends[1].solution)
    torch.testing.assert_close(ends[0].solution, ends[1].solution, atol=1e-6, rtol=0)


# ------------------------------------------------------------------ Newton and working sets


@pytest.mark.parametrize("intercept", [False, True])
def test_newton_has_many_digits_in_few_passes(intercept):
    accurate = pm.RelativeGap(1e-10) | pm.MaxIterations(3000)
    newton = pm.minimize(wide(intercept=intercept), pm.ProxNewton(), stop=accurate)
    first_order = pm.minimize(wide(intercept=intercept), pm.FISTA(), stop=accurate)
    assert newton.status is first_order.status is pm.Status.CONVERGED
    assert newton.certificate.objective == pytest.approx(
        first_order.certificate.objective, rel=1e-10
    )
    assert newton.passes < first_order.passes / 3
    assert newton.state.newton > 0
    alive = int((newton.solution[:600] != 0).sum())
    assert alive <= int(newton.state.rows.sum()) <= 300


def test_the_last_steps_of_newton_square_the_error():
    problem = convex("groups", intercept=True)
    kkt = []
    pm.minimize(
        problem,
        pm.ProxNewton(),
        stop=pm.MaxIterations(12),
        callback=lambda p: kkt.append(p.certificate.relative_kkt),
    )
    near = [(a, b) for a, b in pairwise(kkt) if 1e-6 < a < 1e-3]
    assert near
    assert any(b < 1e-2 * a for a, b in near)
    assert kkt[-1] < 1e-14


def test_a_working_set_resumes_bitwise():
    problem = wide(0.05)
    through = pm.minimize(problem, pm.ProxNewton(), stop=pm.MaxIterations(14))
    half = pm.minimize(wide(0.05), pm.ProxNewton(), stop=pm.MaxIterations(6))
    assert not bool(half.state.rows.all())
    state = type(half.state).from_state_dict(half.state.state_dict())
    rest = pm.minimize(wide(0.05), pm.ProxNewton(), state=state, stop=pm.MaxIterations(14))
    assert torch.equal(rest.solution, through.solution)
    assert rest.state.surveys == through.state.surveys > 1


def test_iterations_past_the_optimum_are_cheap():
    # a line search that compares rounding with rounding would halve its steps for ever
    for dtype in (torch.float64, torch.float32):
        problem = wide(0.05)
        X = problem.design.X.to(dtype)
        t = problem.targets.to(dtype)
        problem = pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), t, problem.regularizer)
        result = pm.minimize(
            problem, pm.ProxNewton(), stop=pm.MaxIterations(150) | pm.MaxPasses(1000)
        )
        assert result.passes < 500
        assert result.certificate.relative_gap < (1e-9 if dtype == torch.float64 else 1e-5)


def test_newton_without_a_penalty_solves_a_regression_in_one_step():
    X, Y, _ = data(missing=0.0)
    t = pm.Targets.from_labels(Y, coding="real")
    problem = pm.Problem(
        pm.Squared(), pm.SharedDesign(X, intercept=True), t, pm.SquaredFrobenius(0.35)
    )
    result = pm.minimize(
        problem, pm.ProxNewton(), stop=pm.RelativeKKT(1e-12, every=1) | pm.MaxIterations(20)
    )
    assert result.status is pm.Status.CONVERGED
    ones = torch.cat([X, torch.ones(len(X), 1).to(X)], 1)
    ridge = torch.diag(torch.tensor([0.7] * 6 + [0.0], dtype=torch.float64))
    expected = torch.linalg.solve(ones.T @ ones + ridge, ones.T @ Y)
    torch.testing.assert_close(result.solution, expected, rtol=1e-10, atol=1e-12)


def test_newton_refuses_a_penalty_without_curvature():
    with pytest.raises(pm.UnsupportedError, match=r"Nuclear does not give; use FISTA"):
        pm.minimize(problem_with([pm.Nuclear(1.0)]), pm.ProxNewton())


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("kind", ["shared", "csr", "task", "factored"])
def test_a_restricted_problem_is_the_problem_on_its_rows(kind, intercept):
    if kind == "task":
        problem = ragged("l1", intercept=intercept)
    elif kind == "factored":
        problem = factored("S", intercept=intercept)
    else:
        X, *_ = data()
        X = X.to_sparse_csr() if kind == "csr" else X
        problem = pm.Problem(
            pm.SquaredHinge(), pm.SharedDesign(X, intercept=intercept), targets(), pm.L1(1.0)
        )
    W = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.tensor([True, False, True, True, False, False])
    W[:6][~rows] = 0
    view = restrict_features(problem, rows)
    torch.testing.assert_close(view.design.scores(W), problem.design.scores(W))
    value, grad = problem.design.loss_and_grad(problem.data, W)
    same, part = view.design.loss_and_grad(problem.data, W)
    grad[:6][~rows] = 0
    torch.testing.assert_close((same, part), (value, grad))
    assert float(view.lipschitz) <= problem.lipschitz * 1.03
    before = problem.counts.passes
    view.smooth_value_and_grad(W)
    assert problem.counts.passes - before == 0.5  # three rows of six
    again = restrict_features(problem, rows.clone())
    assert again.design is view.design


def test_nonnegative_solutions_are_found_to_the_last_digit():
    problem = problem_with([pm.L1(0.5), pm.NonNegative()])
    newton = pm.minimize(
        problem, pm.ProxNewton(), stop=pm.RelativeKKT(1e-13) | pm.MaxIterations(60)
    )
    assert newton.status is pm.Status.CONVERGED
    assert float(newton.solution[:-1].min()) == 0
