"""The default joint solver: whose turn it is, and what that hangs on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from joint_cases import PROBLEMS, each, shared
from scipy.sparse import csr_matrix
from solver_cases import PAIRS, data, latent_start

from proxmtl import LatentMTL, MaxIterations, MaxPasses, RelativeKKT, SharedDesign, Status, machine
from proxmtl.latent import GramNewton, Hybrid, Refactored, hybrid
from proxmtl.latent.work import newton_operations, sizes
from proxmtl.solvers import run

TIGHT = RelativeKKT(1e-7, every=10) | MaxPasses(2000)


def turns(problem, solver, stop):
    """Of which solver each iteration was, and the result."""
    made = []

    def look(progress):
        made.append(progress.long)

    result = run(problem, solver, latent_start(problem), stop, callback=look)
    return made, result


def first_turn_of_gram_newton(problem, solver):
    """The problem in its units, and the states before the first turn of GramNewton and in it."""
    view = problem.in_units()
    state = solver.init(view, view.inside(latent_start(problem)))
    while state.gram is None:
        before, state = state, solver.step(view, state)
    return view, before, state


def test_panoc_goes_first_and_gram_newton_ends_it():
    problem = shared()
    made, result = turns(problem, Hybrid(worth=0.5), TIGHT)
    assert result.status is Status.CONVERGED
    first = made.index(True)
    assert first >= hybrid.EVERY
    assert all(made[first:])  # no turn back
    alone = run(shared(), Refactored(), latent_start(problem), TIGHT)
    assert result.passes < alone.passes


@each
def test_every_problem_converges_to_where_its_certificate_holds(name):
    problem = PROBLEMS[name]()
    result = run(problem, Hybrid(worth=0.1), latent_start(problem), TIGHT)
    assert result.status is Status.CONVERGED
    assert result.certificate.relative_kkt <= 1e-7
    assert problem.objective(result.solution) == pytest.approx(
        result.certificate.objective, rel=1e-12
    )
    assert result.certificate.objective <= problem.objective(latent_start(problem))


@pytest.mark.parametrize("worth", [0.05, 0.2, 1.0])
def test_the_first_turn_ends_when_the_work_predicted_is_done(worth):
    solver = Hybrid(worth=worth)
    view, before, _ = first_turn_of_gram_newton(shared(), solver)
    assert before.iteration % hybrid.EVERY == 0
    predicted = sizes(view, solver.solution(view, before)).predicted
    assert before.work_of_descent >= worth * predicted
    # and not before: at the look before that it had not been done
    each_iteration = before.work_of_descent / before.iteration
    late = before.work_of_descent - 1.5 * hybrid.EVERY * each_iteration
    assert late < worth * predicted


def test_a_turn_that_takes_too_much_is_followed_by_one_of_the_other():
    problem, solver = shared(), Hybrid(worth=0.0)
    view, _, state = first_turn_of_gram_newton(problem, solver)
    spent = replace(state, work_of_gram=1.01 * hybrid.MORE * state.work_of_descent)
    objective = problem.objective(view.outside(solver.solution(view, spent)))
    back = solver.step(view, spent)
    assert back.gram is None
    assert back.descent is not None
    before, again = back, back
    while again.gram is None:
        assert before.work_of_descent < 2 * hybrid.MORE * back.work_of_gram
        before, again = again, solver.step(view, again)
    assert before.work_of_descent >= hybrid.MORE * back.work_of_gram
    assert problem.objective(view.outside(solver.solution(view, again))) <= objective


def test_the_passes_of_a_switch_are_work_of_the_solver_that_begins():
    problem = shared()
    view = problem.in_units()
    solver = Hybrid(worth=0.0)
    state = solver.init(view, view.inside(latent_start(problem)))
    while state.gram is None:
        old, before = state, view.counts.passes
        state = solver.step(view, state)
    here, passes = sizes(view, solver.solution(view, old)), view.counts.passes - before
    rounds = state.gram.memory[-1]
    # a pass is far less here than what else an iteration takes: to rounding
    assert state.work_of_gram == pytest.approx(here.of_gram(rounds, passes), rel=1e-13)
    assert state.work_of_descent == old.work_of_descent
    old = replace(state, work_of_gram=10 * hybrid.MORE * state.work_of_descent)
    before = view.counts.passes
    back = solver.step(view, old)
    passes = view.counts.passes - before
    here = sizes(view, solver.solution(view, old))
    made = back.work_of_descent - old.work_of_descent
    assert made == pytest.approx(here.of_descent(passes), rel=1e-12)
    assert back.work_of_gram == old.work_of_gram


def test_gram_newton_that_can_go_no_further_leaves_the_run_to_panoc():
    solver = Hybrid(worth=0.0)
    view, _, state = first_turn_of_gram_newton(shared(), solver)
    state = replace(state, gram=replace(state.gram, stalled=True))
    for _ in range(100):
        state = solver.step(view, state)
        assert state.gram is None
    assert state.work_of_gram == math.inf


@pytest.mark.parametrize("there", [True, False])
def test_panoc_that_can_go_no_further_leaves_the_run_to_gram_newton(there, monkeypatch):
    problem = shared()
    needed = sizes(problem, latent_start(problem)).gram_passes + hybrid.RESERVE
    solver = Hybrid(worth=1e9, budget=math.inf if there else needed)
    step = Refactored.step

    def stuck(self, problem, state):
        return replace(step(self, problem, state), stalled=state.iteration >= 4)

    monkeypatch.setattr(Refactored, "step", stuck)
    made, result = turns(problem, solver, RelativeKKT(1e-7, every=5))
    assert made[:5] == [False] * 5
    assert result.status is (Status.CONVERGED if there else Status.STALLED)
    assert len(made) > 5 if there else len(made) == 5
    assert all(made[5:])


def test_a_run_ends_where_neither_solver_goes_further(monkeypatch):
    for kind in (Refactored, GramNewton):

        def stuck(self, problem, state, step=kind.step):
            return replace(step(self, problem, state), stalled=state.iteration >= 4)

        monkeypatch.setattr(kind, "step", stuck)
    made, result = turns(shared(), Hybrid(worth=1e9), RelativeKKT(1e-300) | MaxPasses(1000))
    assert result.status is Status.STALLED
    # a turn of each, and the last of PANOC
    assert made == [False] * 5 + [True] * 5 + [False] * 5


def test_no_turn_begins_at_a_stationary_point():
    problem = shared(intercept=False)
    start = tuple(torch.zeros_like(block) for block in latent_start(problem))
    made = []
    result = run(
        problem, Hybrid(), start, MaxPasses(1000), callback=lambda now: made.append(now.long)
    )
    assert result.status is Status.STALLED
    assert made == [False]


def test_what_gram_newton_cannot_take_is_panoc_s_alone():
    X, Y, _ = data()
    sparse = SharedDesign(csr_matrix(X.numpy()), intercept=True)
    problem = LatentMTL(PAIRS).problem(sparse, Y)
    made, _ = turns(problem, Hybrid(worth=0.0), MaxIterations(40))
    assert not any(made)
    # nor, in few iterations, fewer samples than features
    made, _ = turns(shared(n=5), Hybrid(worth=0.0), MaxIterations(40))
    assert not any(made)
    # nor what takes more memory than it may have
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hybrid, "MOST_NUMBERS", 1)
        made, _ = turns(shared(), Hybrid(worth=0.0), MaxIterations(40))
    assert not any(made)
    made, _ = turns(shared(), Hybrid(worth=0.0), MaxIterations(40))
    assert any(made)


@pytest.mark.parametrize(("known", "there"), [(6, False), (10, True)])
def test_samples_without_a_label_are_not_among_those_that_features_need(known, there):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 8))
    Y = np.sign(rng.normal(size=(40, 4)))
    for m in range(4):
        Y[rng.permutation(40)[known:], m] = np.nan
    problem = LatentMTL(PAIRS, fit_intercept=False).problem(X, Y)
    start = tuple(torch.ones(shape, dtype=torch.float64) for shape in ((8, 2), (2, 4)))
    solver = Hybrid(worth=0.0)
    view = problem.in_units()
    state = solver.init(view, view.inside(start))
    for _ in range(hybrid.EVERY + 1):
        state = solver.step(view, state)
    assert (state.gram is not None) is there


@pytest.mark.parametrize("free", [0, None])
def test_what_memory_is_free_is_no_matter(free, monkeypatch):
    expected, result = turns(shared(), Hybrid(worth=0.0), MaxIterations(30))
    assert any(expected)
    monkeypatch.setattr(machine, "available_memory", lambda: free)
    made, again = turns(shared(), Hybrid(worth=0.0), MaxIterations(30))
    assert made == expected
    assert again.certificate == result.certificate


def test_hessians_take_a_gigabyte_at_most():
    assert 5 * 8 * hybrid.MOST_NUMBERS <= 1 << 30  # five copies of eight bytes a number


def test_a_budget_without_room_for_gram_matrices_is_panoc_s_alone():
    problem = shared()
    needed = sizes(problem, latent_start(problem)).gram_passes + hybrid.RESERVE
    for budget, there in ((needed, False), (needed + 60, True)):
        solver = Hybrid(worth=0.0, budget=budget)
        made, result = turns(shared(), solver, RelativeKKT(1e-9) | MaxPasses(budget))
        assert any(made) is there
        assert result.passes <= budget


def test_the_model_takes_it_and_resumes_bitwise():
    X, Y, weight = data()
    model = LatentMTL(PAIRS, tol=0, max_passes=2000)
    whole = model.solve(X, Y, weight, stop=MaxIterations(160))
    assert whole.state.work_of_gram > 0
    for cut in (30, whole.iterations - 2):
        part = model.solve(X, Y, weight, stop=MaxIterations(cut))
        rest = model.solve(X, Y, weight, state=part.state, stop=MaxIterations(160))
        assert rest.certificate == whole.certificate
        assert torch.equal(rest.L, whole.L)


def test_options_are_checked():
    for options in ({"budget": 0.0}, {"worth": -1.0}):
        with pytest.raises(ValueError, match="budget, worth: got"):
            Hybrid(**options)
    assert Hybrid().gram == GramNewton(rounds=hybrid.ROUNDS, whole=0)


# ------------------------------------------------------------------ the counts


def test_more_features_and_entries_take_more_work():
    problem = shared()
    here = sizes(problem, latent_start(problem))
    assert here.labels == problem.targets.labels.numel()
    assert here.unknowns == sum(block.numel() for block in latent_start(problem))
    for name in ("labels", "features", "tasks"):
        more = replace(here, **{name: 10 * getattr(here, name)})
        assert more.predicted > here.predicted
    # an iteration of PANOC grows with the passes it makes
    assert here.of_descent(2.0) - here.of_descent(1.0) == pytest.approx(here.of_pass)
    assert here.of_pass == 4 * here.labels * here.features


def test_many_entries_are_left_to_conjugate_gradients():
    conjugate = 1e9
    few, factored = newton_operations(100, 50, conjugate)
    assert factored
    assert few == pytest.approx(100**3 / 3 + 100**2 * 50 + 50**3)
    many, factored = newton_operations(5000, 50, conjugate)
    assert not factored
    assert many == conjugate


def test_latents_that_are_dead_are_not_counted():
    problem = shared()
    L, S, *rest = latent_start(problem)
    dead = L.clone()
    dead[:, 0] = 0
    all_alive, fewer = (sizes(problem, (each, S, *rest)) for each in (L, dead))
    assert fewer.latents == all_alive.latents - 1
    assert fewer.of_left == np.count_nonzero(dead.numpy())
