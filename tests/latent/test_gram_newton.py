"""Gram-Newton on the joint problem: its models, its inner solve, and where it ends."""

import itertools
import math

import numpy as np
import pytest
import torch
from joint_cases import ALONE, PROBLEMS, STRENGTHS, each, shared, solved
from scipy.sparse import csr_matrix
from solver_cases import PAIRS, D, M, N, data, latent_start

import proxmtl as pm
from proxmtl.latent import GramNewton, work
from proxmtl.solvers import run

# ------------------------------------------------------------------ where it ends


@each
def test_every_problem_converges_monotonically_and_in_few_passes(name):
    problem = PROBLEMS[name]()
    result = solved(problem, latent_start(problem))
    assert result.status is pm.Status.CONVERGED
    assert result.passes < 60
    objectives = [record["objective"] for record in result.history]
    rounding = 20 * np.finfo(float).eps * objectives[0]
    assert all(b <= a + rounding for a, b in itertools.pairwise(objectives))
    measured = problem.objective(result.solution)
    assert objectives[-1] == pytest.approx(measured, rel=1e-12)


@pytest.mark.parametrize("name", ["missing labels, weights", "own parts", "overlapping groups"])
def test_near_a_local_minimum_it_ends_where_panoc_does(name):
    problem = PROBLEMS[name]()
    stop = pm.RelativeKKT(1e-9) | pm.MaxIterations(20000)
    expected = run(problem, pm.PANOC(), latent_start(problem), stop)
    assert expected.status is pm.Status.CONVERGED
    near = tuple(1.01 * block for block in expected.solution)
    found = solved(problem, near, tol=1e-9)
    assert found.certificate.objective == pytest.approx(expected.certificate.objective, rel=1e-9)
    torch.testing.assert_close(
        problem.weights(found.solution), problem.weights(expected.solution), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("start", ["random", "near zero"])
def test_iterations_by_conjugate_gradients_end_there_too(monkeypatch, start):
    problem = shared()
    blocks = latent_start(problem, scale=1.0 if start == "random" else 0.1)
    expected = solved(problem, blocks)
    monkeypatch.setattr(work, "FACTOR", 0.0)
    found = solved(problem, blocks)
    assert found.status is pm.Status.CONVERGED
    assert found.certificate.objective == pytest.approx(expected.certificate.objective, rel=0.03)


@pytest.mark.parametrize("budget", [0.4, 1.7, 3.0, 9.6])
@pytest.mark.parametrize("name", ["all labels", "features per task", "own parts"])
def test_it_keeps_to_its_budget_and_is_never_worse_than_its_start(name, budget):
    problem = PROBLEMS[name]()
    start = latent_start(problem)
    result = solved(problem, start, most=budget)
    assert result.passes == problem.counts.passes <= budget * (1 + 1e-12)
    assert result.certificate.objective <= problem.certificate(start).objective * (1 + 1e-12)


def test_a_trial_whose_gradient_does_not_fit_in_is_returned():
    problem = shared()
    through = solved(problem, latent_start(problem), tol=1e-12, most=12)
    passes, objectives = (
        [record[name] for record in through.history] for name in ("passes", "objective")
    )
    problem = shared()
    result = solved(problem, latent_start(problem), tol=1e-12, most=passes[2] + 0.6)
    assert result.returned == "that of an iteration that was broken off"
    assert result.certificate.objective == pytest.approx(objectives[3], rel=1e-12)


def test_single_precision_comes_as_far_as_it_can():
    wide = shared()
    expected = solved(wide, latent_start(wide))
    problem = shared(dtype=torch.float32)
    result = solved(problem, latent_start(problem), tol=1e-4)
    assert result.status is pm.Status.CONVERGED
    assert all(block.dtype == torch.float32 for block in result.solution)
    assert result.certificate.objective == pytest.approx(expected.certificate.objective, rel=1e-4)
    # beyond its digits it stalls; it does not wander
    end = solved(problem, latent_start(problem), tol=1e-12, most=200)
    assert end.status is pm.Status.STALLED
    assert end.certificate.relative_kkt < 1e-4


def test_the_model_takes_it_by_name_and_resumes():
    X, Y, weight = data()
    model = pm.LatentMTL(PAIRS, algorithm="gram", tol=1e-6)
    result = model.solve(X, Y, weight)
    assert result.status is pm.Status.CONVERGED
    assert result.passes < 150
    part = model.solve(X, Y, weight, stop=pm.MaxIterations(4))
    rest = model.solve(X, Y, weight, state=part.state)
    assert rest.certificate == result.certificate


def test_latents_are_brought_back_where_asked():
    X, Y, _ = data()
    dead = (np.zeros((D, 2)), np.zeros((2, M)))
    options = {"group_strength": 1e-3, "l1_strength": 1e-3, "algorithm": "gram", "init": dead}
    assert pm.LatentMTL(PAIRS, **options).solve(X, Y).collapsed
    found = pm.LatentMTL(PAIRS, revive=True, **options).solve(X, Y)
    assert found.live_latents > 0
    assert (
        found.certificate.objective
        < pm.LatentMTL(PAIRS, **options).solve(X, Y).certificate.objective
    )


# ------------------------------------------------------------------ degenerate problems


def test_a_task_without_labels_has_no_part_in_the_latents():
    X, Y, _ = data()
    Y[:, 2] = torch.nan
    weights = (~torch.isnan(Y)).to(X)
    posed = pm.Targets(torch.where(weights > 0, Y, 1.0), weights, M)
    for own in (None, 0.4):
        design = pm.SharedDesign(X, intercept=True)
        problem = pm.LatentProblem(
            pm.SquaredHinge(), design, posed, ALONE, **STRENGTHS, own_strength=own
        )
        result = solved(problem, latent_start(problem))
        assert result.status is pm.Status.CONVERGED
        assert not result.solution[1][:, 2].any()


def test_where_no_sample_bends_the_loss_only_the_penalties_fall():
    X = torch.ones(6, D, dtype=torch.float64)
    ones = torch.ones(6, M, dtype=torch.float64)
    posed = pm.Targets(ones, ones, M)
    problem = pm.LatentProblem(pm.SquaredHinge(), pm.SharedDesign(X), posed, PAIRS, **STRENGTHS)
    start = latent_start(problem)
    start = (torch.full_like(start[0], 2.0), torch.full_like(start[1], 2.0))  # all margins above 1
    assert not problem.loss.curvature(
        problem.design.scores(problem.weights(start)), posed.labels
    ).any()
    assert solved(problem, start).status is pm.Status.CONVERGED


def test_one_latent_and_dead_ones_and_zero_weights():
    problem = shared()
    one = latent_start(problem, K=1)
    assert solved(problem, one).status is pm.Status.CONVERGED
    L, S, *rest = latent_start(problem)
    L[:, 1], S[1], S[2] = 0, 0, 0
    result = solved(problem, (L, S, *rest))
    assert result.status is pm.Status.CONVERGED
    assert not result.solution[0][:, 1].any()
    null, _ = problem.null(one)
    end = solved(problem, null)
    assert end.iterations <= 2
    assert not end.solution[0].any()


def test_one_group_of_all_tasks_and_one_task():
    problem = shared(groups=pm.Groups.single(M))
    assert solved(problem, latent_start(problem)).status is pm.Status.CONVERGED
    X, Y, _ = data(missing=0.0)
    model = pm.LatentMTL(algorithm="gram", tol=1e-7, n_latents=1)
    assert model.solve(X, Y[:, :1]).status is pm.Status.CONVERGED


# ------------------------------------------------------------------ errors


def test_what_it_cannot_take_raises_and_names_what_can():
    X, Y, _ = data()
    with pytest.raises(pm.UnsupportedError, match=r"dense features.*PANOC"):
        pm.LatentMTL(PAIRS, algorithm="gram").solve(pm.SharedDesign(csr_matrix(X.numpy())), Y)
    classes = pm.Targets.from_classes(torch.arange(N) % M, M)
    design = pm.SharedDesign(X, intercept=True)
    problem = pm.LatentProblem(pm.WestonWatkins(M), design, classes, PAIRS, **STRENGTHS)
    with pytest.raises(pm.UnsupportedError, match=r"WestonWatkins couples.*PANOC"):
        GramNewton().check(problem)
    with pytest.raises(pm.UnsupportedError, match="takes a LatentProblem"):
        GramNewton().check(problem.l_problem(torch.ones(2, M, dtype=torch.float64), None))


def test_options_are_checked():
    for options in ({"rounds": 0}, {"tightness": 1.0}, {"worthwhile": 0.0}):
        with pytest.raises(ValueError, match="rounds, tightness, worthwhile"):
            GramNewton(**options)
    with pytest.raises(ValueError, match="use 'auto', 'gram', 'panoc', 'palm' or 'paper'"):
        pm.LatentMTL(algorithm="newton")


def test_a_state_of_other_samples_raises():
    problem = shared()
    state = run(problem, GramNewton(), latent_start(problem), pm.MaxIterations(1)).state
    state.data = {}
    other = shared(n=20)
    with pytest.raises(ValueError, match="state: of other samples"):
        run(other, GramNewton(), latent_start(other), pm.MaxIterations(2), state=state)
    assert math.isfinite(state.objective)
