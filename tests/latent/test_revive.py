"""Dead latents come back when they are needed again, and only then."""

import copy

import pytest
import torch

from proxmtl import Groups, LatentMTL
from proxmtl.backbones.training import LatentHead
from proxmtl.latent.reactivation import reactivate_latents
from proxmtl.nn import LatentMTLHead

N, D, M = 120, 6, 4
GROUPS = Groups.from_lists([[0, 1], [2, 3]])
OPTIONS = {
    "group_strength": 0.05,
    "l1_strength": 0.005,
    "frobenius_strength": 0.005,
    "tol": 1e-6,
    "max_passes": 400,
}


def two_epochs():
    """Labels, and features before and after the networks of the second group have learned."""
    generator = torch.Generator().manual_seed(0)
    after = torch.randn(N, D, generator=generator, dtype=torch.float64)
    noise = torch.randn(N, M, generator=generator, dtype=torch.float64)
    Y = torch.sign(after[:, [0, 0, 3, 3]] + 0.3 * noise)
    before = after.clone()
    before[:, 3] = torch.randn(N, generator=generator, dtype=torch.float64)
    return before, after, Y


def test_a_latent_that_is_needed_again_comes_back():
    before, after, Y = two_epochs()
    objectives, live = {}, {}
    for name in (True, False, "afresh"):
        head = LatentMTLHead(D, M, GROUPS, 3, dtype=torch.float64, revive=name is True, **OPTIONS)
        if name != "afresh":
            first = head.solve(before, Y)
            assert first.live_latents == 1
        second = head.solve(after, Y)
        objectives[name], live[name] = second.certificate.objective, second.live_latents
    assert live[False] == 1
    assert live[True] == live["afresh"] == 2
    assert objectives[True] < 0.8 * objectives[False]
    assert objectives[True] == pytest.approx(objectives["afresh"], rel=1e-3)


def test_latents_come_back_where_the_algorithm_can_and_it_was_not_declined():
    for algorithm in ("auto", "gram", "panoc", "palm", "paper"):
        model = LatentMTL(algorithm=algorithm)
        able = algorithm in {"auto", "gram"}
        assert LatentHead(model).layer(D, M).model.revive is able
        if not able:
            with pytest.raises(ValueError, match=f"revive: algorithm='{algorithm}'"):
                LatentMTLHead(D, M, algorithm=algorithm, revive=True)
    assert LatentHead(LatentMTL(revive=False)).layer(D, M).model.revive is False


def test_the_objective_never_rises_and_nothing_comes_back_without_need():
    before, after, Y = two_epochs()
    model = LatentMTL(GROUPS, 3, **OPTIONS)
    for X in (before, after):
        problem = model.problem(X, Y)
        solved = model.solve(X, Y)
        blocks = (solved.L, solved.S, solved.intercept)
        assert solved.live_latents < 3
        assert reactivate_latents(problem, blocks) is blocks
        passes = problem.counts.passes
        assert passes == 2.5
    dead = (torch.zeros(D, 3).double(), torch.zeros(3, M).double(), torch.zeros(M).double())
    found = reactivate_latents(problem, dead)
    assert problem.objective(found) < 0.8 * problem.objective(dead)
    assert bool((found[0] @ found[1] != 0).any())
    assert not bool(dead[0].any())
    strong = LatentMTL(GROUPS, 3, **{**OPTIONS, "group_strength": 50.0}).problem(after, Y)
    assert reactivate_latents(strong, dead) is dead


def test_all_alive_costs_nothing():
    _, after, Y = two_epochs()
    problem = LatentMTL(GROUPS, 3, **OPTIONS).problem(after, Y)
    blocks = (torch.ones(D, 3).double(), torch.ones(3, M).double(), torch.zeros(M).double())
    assert reactivate_latents(problem, blocks) is blocks
    assert problem.counts.passes == 0


def test_a_solve_that_revives_is_resumed_exactly():
    before, after, Y = two_epochs()

    solved = LatentMTLHead(D, M, GROUPS, 3, dtype=torch.float64, **OPTIONS)
    solved.solve(before, Y)
    part, rest = copy.deepcopy(solved), copy.deepcopy(solved)
    expected = solved.solve(after, Y)
    state = part.solve(after, Y, callback=lambda progress: progress.iteration == 7).state
    rest = rest.solve(after, Y, state=state.state_dict())
    assert rest.iterations == expected.iterations
    assert torch.equal(rest.L, expected.L)
