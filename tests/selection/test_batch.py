import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from solver_cases import CHAIN, PAIRS, D, convex, data, ragged, targets
from strategies import LOSS_FACTORIES, REGULARIZER_FACTORIES, classification, examples

import proxmtl as pm
from proxmtl.selection import restrict_samples, solve_batch, with_strengths
from proxmtl.selection.batch_penalty import BatchPenalty
from proxmtl.solvers.steps import ConstantStep, FunctionRestart, NoRestart

STRENGTHS = (8.0, 1.5)
STOP = pm.RelativeGap(1e-7) | pm.MaxIterations(3000)
PENALTIES = {
    "l1": [pm.L1(1.0)],
    "ridge": [pm.SquaredFrobenius(1.0)],
    "elastic": [pm.L1(1.0), pm.SquaredFrobenius(0.3)],
    "groups": [pm.GroupL2(PAIRS, 1.0)],
    "rows": [pm.GroupL2(pm.Groups.singletons(D), 1.0, axis=0)],
    "overlap-ridge": [pm.OverlappingGroupL2(CHAIN, 1.0), pm.SquaredFrobenius(0.2)],
}


def targets_for(loss, **options):
    """Targets of the common data set, or three classes of its samples."""
    if not loss.coupled:
        return targets(**options)
    X, *_ = data(**options)
    return pm.Targets.from_classes((X[:, 0] > 0.3).to(X) + (X[:, 1] > 0.6).to(X), 3, like=X)


def family(penalty, *, intercept=True, dtype=torch.float64, loss=None):
    """Two strengths on all samples and on half of them: four problems on one design."""
    X, *_ = data(dtype=dtype)
    design = pm.SharedDesign(X, intercept=intercept)
    loss = loss or pm.SquaredHinge()
    base = pm.Problem(loss, design, targets_for(loss, dtype=dtype), PENALTIES[penalty])
    odd = torch.arange(len(X)) % 2 == 1
    odd[:2] = True
    parts = [base, restrict_samples(base, odd)]
    return [with_strengths(part, s) for part in parts for s in STRENGTHS]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("intercept", [False, True])
def test_a_batch_is_as_good_as_one_by_one(penalty, intercept):
    problems = family(penalty, intercept=intercept)
    stop = STOP if penalty != "overlap-ridge" else pm.RelativeGap(1e-5) | pm.MaxIterations(500)
    together = solve_batch(problems, stop=stop)
    for problem, result in zip(problems, together, strict=True):
        assert result.status is pm.Status.CONVERGED
        alone = pm.minimize(problem, stop=stop)
        apart = result.certificate.objective - alone.certificate.objective
        assert -alone.certificate.gap - 1e-11 <= apart <= result.certificate.gap + 1e-11
        # the certificate is that of the returned point, as the problem itself measures it
        again = problem.certificate(result.solution)
        assert again.objective == pytest.approx(result.certificate.objective, rel=1e-12)
        assert again.gap == pytest.approx(result.certificate.gap, abs=1e-9)
        assert again.kkt == pytest.approx(result.certificate.kkt, abs=1e-9)


@pytest.mark.parametrize(
    "solver",
    [pm.FISTA(), pm.FISTA(restart=FunctionRestart()), pm.FISTA(ConstantStep(), NoRestart())],
)
@pytest.mark.parametrize("penalty", ["l1", "groups", "ridge"])
def test_iterates_are_those_of_fista(penalty, solver):
    """The same steps, restarts and refusals, problem by problem."""
    problems = family(penalty)
    stop = pm.MaxIterations(25)
    together = solve_batch(problems, solver, stop=stop)
    for problem, result in zip(problems, together, strict=True):
        alone = pm.minimize(problem, solver, stop=stop)
        torch.testing.assert_close(result.solution, alone.solution, rtol=1e-9, atol=1e-11)
        assert result.state.restarts == alone.state.restarts
        assert result.state.step == pytest.approx(alone.state.step, rel=1e-12)
        if solver.step_rule.verifies:  # else the first to find the curvature pays for all
            assert result.passes == alone.passes
        assert [h["objective"] for h in result.history] == pytest.approx(
            [h["objective"] for h in alone.history], rel=1e-9
        )


def test_a_start_without_a_gradient_has_the_step_that_fista_has():
    X = 1e-3 * data()[0]
    design = pm.SharedDesign(X)
    # by the very product of the solvers: another one differs by roundings on some processors
    t = pm.Targets.from_labels(design.scores(torch.ones(D, 2).double()), coding="real")
    problems = [pm.Problem(pm.Squared(), design, t, pm.L1(s)) for s in (1e-8, 1e-7)]
    starts = [torch.ones(D, 2).double(), torch.zeros(D, 2).double()]
    together = solve_batch(problems, x0=starts, stop=pm.MaxIterations(0))
    for problem, start, result in zip(problems, starts, together, strict=True):
        alone = pm.minimize(problem, pm.FISTA(), x0=start, stop=pm.MaxIterations(0))
        assert result.state.step == pytest.approx(alone.state.step, rel=1e-12)
    assert together[0].state.step == pytest.approx(1 / problems[0].lipschitz, rel=1e-12)


@pytest.mark.parametrize("name", sorted(LOSS_FACTORIES))
@examples(1)
@given(draws=st.data())
def test_any_loss(name, draws):
    loss = LOSS_FACTORIES[name](draws.draw)
    problems = family("elastic", loss=loss)
    stop = pm.RelativeKKT(1e-7) | pm.MaxIterations(3000)
    for problem, result in zip(problems, solve_batch(problems, stop=stop), strict=True):
        assert result.status is pm.Status.CONVERGED
        assert problem.certificate(result.solution).relative_kkt <= 1.01e-7


@pytest.mark.parametrize("name", sorted(REGULARIZER_FACTORIES))
@examples(3)
@given(draws=st.data())
def test_any_penalty_by_its_prox(name, draws):
    """Whatever is registered: its prox in the batch is its prox on each slice."""
    penalty = REGULARIZER_FACTORIES[name](draws.draw, 4, 1.0)
    X, _, _ = data()
    base = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X), targets(), [penalty, pm.SquaredFrobenius(0.1)]
    )
    problems = [
        base.with_regularizers([penalty.with_strength(s), *base.regularizers[1:]])
        for s in (0.0, 0.4, 2.0)
    ]
    batch = BatchPenalty(problems)
    V = torch.randn(X.shape[1], 3, 4, generator=torch.Generator().manual_seed(3)).double()
    steps = torch.tensor([0.7, 1.0, 0.2], dtype=torch.float64)
    out, values = batch.prox(V, steps), batch.values(V)
    for b, problem in enumerate(problems):
        expected, _ = problem.prox(V[:, b].contiguous(), float(steps[b]))
        torch.testing.assert_close(out[:, b], expected, rtol=1e-6, atol=1e-6)
        assert float(values[b]) == pytest.approx(float(problem.regularizer_value(V[:, b])))


def test_norms_of_slices_go_in_one_call():
    for penalty in ("l1", "groups", "rows"):
        assert BatchPenalty(family(penalty)).unit is not None, penalty
    assert BatchPenalty(family("ridge")).unit is None
    mixed = [convex("l1"), convex("groups")]
    assert BatchPenalty(mixed).unit is None


def test_float32_reaches_its_gap_and_finished_problems_cost_nothing_more():
    problems = family("groups", dtype=torch.float32)
    results = solve_batch(problems, stop=pm.RelativeGap(1e-5) | pm.MaxIterations(2000))
    assert all(r.status is pm.Status.CONVERGED for r in results)
    assert all(r.certificate.solved_in == "float32" for r in results)
    assert all(r.solution.dtype == torch.float32 for r in results)
    passes = [r.passes for r in results]
    assert min(passes) < max(passes)


def test_a_result_of_a_batch_can_be_resumed_alone():
    problems = family("elastic")
    for problem, result in zip(problems, solve_batch(problems, stop=pm.MaxPasses(8)), strict=True):
        assert result.status is pm.Status.BUDGET
        resumed = pm.minimize(problem, state=result.state, stop=STOP)
        assert resumed.status is pm.Status.CONVERGED
        assert resumed.iterations > result.iterations


def test_starts_are_used_and_kept():
    problems = family("l1")
    solved = solve_batch(problems, stop=STOP)
    starts = [result.solution for result in solved]
    kept = [x.clone() for x in starts]
    again = solve_batch(problems, x0=starts, stop=STOP)
    assert all(result.iterations == 0 for result in again)
    assert all(torch.equal(a, b) for a, b in zip(starts, kept, strict=True))


def test_labels_may_differ_between_problems():
    X, _ = classification(30, D, 2, seed=1)
    design = pm.SharedDesign(X)
    problems = [
        pm.Problem(
            pm.SquaredHinge(),
            design,
            pm.Targets.from_labels(classification(30, D, 2, seed=s)[1]),
            pm.L1(1.0),
        )
        for s in (1, 2, 3)
    ]
    for problem, result in zip(problems, solve_batch(problems, stop=STOP), strict=True):
        assert problem.certificate(result.solution).relative_gap <= 1.01e-7


def test_a_restricted_problem_is_that_of_its_rows():
    X, Y, _ = data()
    design = pm.SharedDesign(X, intercept=True)
    whole = pm.Problem(
        pm.SquaredHinge(), design, pm.Targets.from_labels(Y, reduction="mean"), pm.L1(0.02)
    )
    rows = torch.arange(0, 30)
    part = restrict_samples(whole, rows)
    of_rows = pm.Targets.from_labels(Y[rows], reduction="mean")
    alone = pm.Problem(
        pm.SquaredHinge(), pm.SharedDesign(X[rows], intercept=True), of_rows, pm.L1(0.02)
    )
    W = torch.randn(whole.zeros().shape, generator=torch.Generator().manual_seed(0)).double()
    assert float(part.objective(W)) == pytest.approx(float(alone.objective(W)), rel=1e-12)
    mask = torch.zeros(len(X), dtype=torch.bool)
    mask[rows] = True
    assert torch.equal(restrict_samples(whole, mask).targets.weights, part.targets.weights)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "0 numbers"),
        ([0, 99], "of 40"),
        ([-1, 3], "of 40"),
        ([0.5, 1.0], "integers"),
        ([True, False], "a mask of 2"),
        ([0], "no label"),
    ],
)
def test_bad_rows_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        restrict_samples(convex("l1"), rows)


def test_what_cannot_be_batched_says_so():
    with pytest.raises(ValueError, match="at least one"):
        solve_batch([])
    with pytest.raises(pm.UnsupportedError, match="TaskDesign"):
        solve_batch([ragged()])
    with pytest.raises(pm.UnsupportedError, match="features by task"):
        restrict_samples(ragged(), [0, 1])
    with pytest.raises(pm.UnsupportedError, match="smoothed"):
        solve_batch([convex("groups").smoothed(0.1)])
    with pytest.raises(pm.UnsupportedError, match="MCP"):
        solve_batch([convex("l1").with_regularizers(pm.MCP(1.0))])
    with pytest.raises(ValueError, match="design object"):
        solve_batch([convex("l1"), convex("l1")])
    problem = convex("l1")
    with pytest.raises(ValueError, match="starts"):
        solve_batch([problem], x0=[])
    with pytest.raises(ValueError, match="x0: shape"):
        solve_batch([problem], x0=[torch.zeros(2, 2)])
