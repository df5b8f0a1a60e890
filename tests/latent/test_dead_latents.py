"""Latents that have died are none of the descent's variables, and zero in its solution."""

from dataclasses import replace

import pytest
import torch
from solver_cases import latent, latent_start

from proxmtl import MaxIterations, MaxPasses, RelativeKKT
from proxmtl.latent import Refactored
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.refactor import RefactoredState
from proxmtl.solvers import run
from proxmtl.solvers.lbfgs import LBFGSMemory


def padded(problem, dead):
    """A start with as many latents more, which are zero in both factors."""
    L, S, *rest = latent_start(problem)
    zeros = L.new_zeros(len(L), dead), S.new_zeros(dead, S.shape[1])
    return torch.cat([zeros[0], L], 1), torch.cat([zeros[1], S]), *rest


def test_dead_latents_of_a_start_change_no_iterate():
    problem = latent()
    stop = MaxIterations(40)
    plain = run(problem, Refactored(every=5), latent_start(problem), stop)
    more = run(latent(), Refactored(every=5), padded(problem, 3), stop)
    K = len(plain.solution[1])
    for seen, wanted in zip(more.state.inner.blocks, plain.state.inner.blocks, strict=True):
        assert torch.equal(seen, wanted)
    assert len(more.solution[1]) == K + 3
    assert not more.solution[1][:3].any()
    assert not more.solution[0][:, :3].any()
    assert torch.equal(more.solution[1][3:], plain.solution[1])


def strong():
    """A problem at strengths at which most latents die on the way."""
    problem = latent()
    return problem.with_strengths(
        group_strength=8 * problem.group_norm.strength,
        l1_strength=8 * problem.l1.strength,
        frobenius_strength=problem.ridge.strength,
        own_strength=None,
    )


def test_latents_that_die_leave_the_variables_and_the_run_ends_where_it_would():
    problem = strong()
    stop = RelativeKKT(1e-8, every=5) | MaxPasses(3000)
    solver = Refactored(every=5)
    result = run(problem, solver, latent_start(problem), stop)
    state, K = result.state, len(latent_start(problem)[1])
    inside = int(state.live.sum())
    assert 0 < inside < K
    assert len(state.inner.blocks[1]) == inside
    L, S = result.solution[:2]
    assert L.shape[1] == len(S) == K
    assert torch.equal((L != 0).any(0) & (S != 0).any(1), state.live)
    assert problem.certificate(result.solution).relative_kkt <= 1e-8


def test_the_memory_goes_on_with_the_entries_that_stay():
    """A latent that dies does not cost the pairs of those that live."""
    problem = strong()
    solver = Refactored(every=5, worthwhile=1.0)  # never refactored after the start
    state = solver.init(problem, latent_start(problem))
    while bool(state.live.all()):
        before, state = state, solver.step(problem, state)
        assert state.iteration < 500
    assert len(state.inner.memory.s) > 1
    assert len(state.inner.memory.s) >= len(before.inner.memory.s) - 1
    assert all(len(s) == sum(b.numel() for b in state.inner.blocks) for s in state.inner.memory.s)


def test_a_run_that_is_resumed_after_a_death_takes_the_same_path():
    solver = Refactored(every=5)
    whole = run(strong(), solver, latent_start(strong()), MaxIterations(130))
    first = run(strong(), solver, latent_start(strong()), MaxIterations(100))
    assert not bool(first.state.live.all())
    saved = RefactoredState.from_state_dict(first.state.state_dict())
    start = solver.solution(strong(), saved)
    rest = run(strong(), solver, start, MaxIterations(130), state=saved)
    for seen, wanted in zip(rest.solution, whole.solution, strict=True):
        assert torch.equal(seen, wanted)


@pytest.mark.parametrize("times", [1e3, 1e6])
def test_all_latents_may_die(times):
    problem = latent()
    strong = problem.with_strengths(
        group_strength=times * problem.group_norm.strength,
        l1_strength=times * problem.l1.strength,
        frobenius_strength=problem.ridge.strength,
        own_strength=None,
    )
    result = run(strong, Refactored(every=5), latent_start(strong), MaxIterations(60), null=False)
    assert not result.solution[1].any()
    assert result.certificate.relative_kkt <= 1e-3


def test_factors_of_thin_latents_are_taken_one_by_one(monkeypatch):
    """A pass of few latents reads the features for X L, not for X W."""
    problem = latent()
    L, S, *rest = latent_start(problem)
    thin = (L[:, :1], S[:1], *rest)
    monkeypatch.setattr(type(problem.design), "factors_pay", lambda *_: False)
    value, grads = problem.smooth_value_and_grads(thin)
    monkeypatch.setattr(type(problem.design), "factors_pay", lambda *_: True)
    monkeypatch.setattr(LatentProblem, "weights", None)  # W itself is not formed
    seen, found = problem.smooth_value_and_grads(thin)
    torch.testing.assert_close(seen, value)
    assert problem.smooth_value(thin) == pytest.approx(value)
    for one, other in zip(found, grads, strict=True):
        torch.testing.assert_close(one, other)


def test_pairs_without_curvature_on_what_stays_are_left_out():
    s, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 1.0])
    memory = LBFGSMemory(5, [s, s], [y, s])
    kept = memory.restricted(torch.tensor([False, True, False]))
    assert [len(kept.s), kept.s[0].tolist(), kept.y[0].tolist()] == [1, [2.0], [2.0]]
    assert len(memory.restricted(torch.tensor([True, True, True])).s) == 2
    assert len(replace(memory).s) == 2
