"""Several processes that share the samples, against one that has them all."""

import re

import pytest
import rank_cases
import torch
from rank_cases import CASES, CONVEX, LATENT, ended

import proxmtl as pm
from proxmtl.ranks import ALONE, ProcessRanks, Ranks

EPS = torch.finfo(torch.float64).eps


@pytest.mark.timeout(280)
@pytest.mark.parametrize("divided", ["samples", "tasks", "three"])
def test_ranks_agree_to_the_last_bit_and_solve_what_one_process_solves(divided, tmp_path):
    several = found_by_ranks(divided, tmp_path / "found")
    check_agreement(several)
    check_certificates(several)
    check_solutions(several)


def found_by_ranks(divided, out):
    """What each rank of a group has found."""
    names = {
        "samples": [name for name in CASES if not name.startswith("tasks")],
        "tasks": [name for name in CASES if name.startswith("tasks")],
        "three": ["FISTA, task", "LBFGS, logistic", "ProxNewton", "tasks, groups", "tasks, latent"],
    }[divided]
    size = 3 if divided == "three" else 2
    ended(rank_cases.start(rank_cases.__file__, size, out, *names))
    return [torch.load(f"{out}-{rank}.pt") for rank in range(size)]


def check_agreement(several):
    for name, found in several[0].items():
        for other in several[1:]:
            for key, value in found.items():
                if isinstance(value, torch.Tensor):
                    assert torch.equal(value, other[name][key]), (name, key)
                elif key != "blocks":
                    assert value == other[name][key], (name, key)


def check_certificates(several):
    """At the same point: sums over the same samples, in another order."""
    for name, found in several[0].items():
        if name in CONVEX:
            _, penalties, options = CONVEX[name]
            posed = rank_cases.problem(ALONE, penalties, **options)
            alone = posed.certificate(found["solution"])
            # the loss at zero bounds every sum that a certificate takes differences of
            scale = 2 * posed.loss_at_zero + abs(found["objective"])
        elif name in LATENT:
            posed = rank_cases.latent_problem(name, ALONE)
            alone, scale = posed.certificate(tuple(found["blocks"])), found["objective"]
        else:
            continue
        rounding = 1e3 * EPS * scale
        assert found["objective"] == pytest.approx(alone.objective, abs=rounding), name
        assert found["kkt"] == pytest.approx(alone.relative_kkt, rel=1e-6, abs=1e4 * EPS), name
        if alone.gap is not None:
            assert found["gap"] == pytest.approx(alone.gap, rel=1e-6, abs=rounding), name


def check_solutions(several):
    for name in set(several[0]) & set(CONVEX):
        found, alone = several[0][name], rank_cases.solved(name, ALONE)
        if found["status"] == alone["status"] == "CONVERGED":
            apart = abs(found["objective"] - alone["objective"])
            assert apart <= found["gap"] + alone["gap"] + 1e3 * EPS * alone["objective"], name
        assert found["iterations"] == pytest.approx(alone["iterations"], rel=0.2), name
    for name in {"latent, gram", "latent, gram, tasks apart"} & set(several[0]):
        # few iterations, which round otherwise and end in the same minimum to their accuracy
        found, alone = several[0][name], rank_cases.latent(name, ALONE)
        assert found["status"] == alone["status"] == "CONVERGED"
        assert found["objective"] == pytest.approx(alone["objective"], rel=1e-4)
    for name in {"strengths", "tasks, strengths"} & set(several[0]):
        found, alone = several[0][name], rank_cases.strengths(name, ALONE)
        torch.testing.assert_close(found["solution"], alone["solution"], rtol=1e-9, atol=0)


def test_one_process_is_its_own_rank(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert ProcessRanks.join() is ALONE
    with pytest.raises(ValueError, match="start the program with torchrun"):
        ProcessRanks()
    part = torch.ones(2)
    assert ALONE.sum(part)[0] is part
    assert ALONE.agreed("stop") == "stop"
    with pytest.raises(ZeroDivisionError), ALONE.together():
        1 / 0  # noqa: B018


def test_labels_of_other_ranks_raise():
    posed = rank_cases.problem(ALONE, [pm.L1(0.1)])
    design = pm.ShardedDesign(posed.design.own, Ranks())
    with pytest.raises(ValueError, match="are not divided among the ranks of the features"):
        pm.Problem(pm.SquaredHinge(), design, posed.targets, pm.L1(0.1))
    turned = torch.zeros(rank_cases.M, rank_cases.N)
    with pytest.raises(ValueError, match="Is it the other way round"):
        pm.Problem.of(posed.design, turned, pm.L1(0.1))


@pytest.mark.timeout(280)
def test_what_ranks_tell_each_other(tmp_path):
    """The checks are in the processes: they end with 0 if all hold."""
    ended(rank_cases.start(rank_cases.HERE / "rank_checks.py", 2, tmp_path))


@pytest.mark.timeout(280)
@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_lost_rank_ends_the_others_with_a_sentence(how, tmp_path):
    processes = rank_cases.start(rank_cases.HERE / "rank_lost.py", 3, how, tmp_path)
    errors = ended([processes[0], processes[2]], [1, 1], seconds=120)
    if how == "hangs":
        processes[1].kill()
    ended([processes[1]], [9] if how == "dies" else [-9])
    for error in errors:
        assert "RankError: rank" in error
        assert "One of them has ended or hangs" in error


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("how", "why"),
    [("full", r"File too large: '.*rank-1-of-2"), ("gone", r"part-1\.npy")],
)
def test_a_lost_disk_ends_all_with_a_sentence(how, why, tmp_path):
    job = rank_cases.HERE / "rank_lost.py"
    first, second = ended(rank_cases.start(job, 2, how, tmp_path), [1, 1], seconds=120)
    assert re.search(why, second)
    # what a rank meets while all write, it tells; in a read of its own it ends
    told = why if how == "full" else "One of them has ended or hangs"
    assert "RankError: rank" in first
    assert re.search(told, first)
