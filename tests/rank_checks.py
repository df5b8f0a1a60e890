"""What two processes tell each other; ends with an error if a check fails."""

import pytest
import torch
from rank_cases import ELASTIC, M, N, problem
from strategies import classification

import proxmtl as pm
from proxmtl.ranks import SMALL, ProcessRanks, RankError

ranks = ProcessRanks.join(minutes=1)
FIRST = ranks.rank == 0


def check_sums():
    for length in (1, 7, SMALL + 3, 3 * SMALL):  # gathered, or summed piece by piece
        whole = torch.arange(length, dtype=torch.float32)
        one, other = ranks.sum(whole * (1 + ranks.rank), torch.tensor(0.5, dtype=torch.float64))
        assert torch.equal(one, 3 * whole)
        assert other == 1.0
        assert other.dtype == torch.float64
    counts = ranks.total(torch.tensor([2**40, 1]))
    assert counts.tolist() == [2**41, 2]
    assert ranks.largest(-5.0 + ranks.rank) == -4.0
    assert ranks.maximum(torch.tensor([ranks.rank, -ranks.rank])).tolist() == [1, 0]
    assert ranks.gathered({"rank": ranks.rank}) == [{"rank": 0}, {"rank": 1}]
    assert ranks.concatenated(torch.full((1 + ranks.rank, 2), float(ranks.rank))).shape == (3, 2)
    assert ranks.place(10 + ranks.rank) == ((0, 21) if FIRST else (10, 21))
    assert ranks.agreed(None) is None
    assert ranks.agreed(None if FIRST else "stop") == "stop"


def check_errors_are_raised_on_all():
    def fail():
        with ranks.together():
            if not FIRST:
                raise ValueError("bad")

    with pytest.raises(RankError if FIRST else ValueError, match="rank 1: bad" if FIRST else "bad"):
        fail()
    with pytest.raises(ValueError, match=r"features.*on rank 0, and"):
        pm.ShardedDesign(pm.SharedDesign(torch.ones(4, 2 + ranks.rank)), ranks)
    X, Y = classification(N, 6, M)
    design = pm.ShardedDesign(pm.SharedDesign(X), ranks)
    wrong = Y.clone()
    wrong[0, 0] = torch.inf
    kind, message = (ValueError, "labels: exp") if FIRST else (RankError, "rank 0: labels: exp")
    with pytest.raises(kind, match=message):
        pm.Problem.of(design, wrong if FIRST else Y, ELASTIC)
    with pytest.raises(ValueError if FIRST else RankError, match="for features of 90 samples"):
        pm.Problem.of(design, Y[:-1] if FIRST else Y, ELASTIC)
    with pytest.raises(ValueError, match="number of tasks: 4 on rank 0, and 3 on rank 1"):
        pm.Problem.of(design, Y if FIRST else Y[:, :3], ELASTIC)
    # one class on each rank, both classes on all: nothing is wrong
    one = torch.full((N, 1), 1.0 if FIRST else -1.0)
    assert pm.Problem.of(design, one, ELASTIC, reduction="mean").data.n_observed == 2 * N
    with pytest.raises(ValueError, match="lack a class"):
        pm.Problem.of(design, torch.ones(N, 1), ELASTIC)


def check_all_stop_together():
    posed = problem(ranks, ELASTIC)
    # each rank counts its own iterations, and only one asks to stop
    seen = []

    def callback(progress):
        seen.append(progress.iteration)
        return FIRST and progress.iteration == 7

    never = pm.MaxIterations(1000)
    result = pm.minimize(posed, pm.FISTA(), stop=never, callback=callback)
    assert result.status is pm.Status.INTERRUPTED
    assert seen == list(range(1, 8))
    # clocks differ; the same number of iterations passes on all
    result = pm.minimize(posed, pm.FISTA(), stop=pm.MaxSeconds(0.2) | never)
    assert len(set(ranks.gathered(result.iterations))) == 1


def check_points_that_differ_raise():
    posed = problem(ranks, ELASTIC)
    point = posed.zeros()
    posed.certificate(point)
    if not FIRST:
        point[0, 0] = 1e-300
    with pytest.raises(RankError, match="solution: differs between rank 0 and rank 1"):
        posed.certificate(point)


def check_moments():
    X, _ = classification(N, 6, M, shift=3.0)
    X[:, 2] = 7.0
    weights = torch.linspace(0, 1, N, dtype=torch.float64)
    weights[:60] = 0.0  # none on the first rank
    parts = (slice(0, 50), slice(50, N))
    own = parts[ranks.rank]
    for whole in (None, weights):
        found = pm.ShardedDesign(pm.SharedDesign(X[own]), ranks).moments(
            None if whole is None else whole[own]
        )
        alone = pm.SharedDesign(X).moments(whole)
        torch.testing.assert_close(found.mean, alone.mean, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(found.std, alone.std, rtol=1e-13, atol=1e-14)
        assert torch.equal(found.constant, alone.constant)
        assert found.constant[2]


for check in (check_sums, check_errors_are_raised_on_all, check_all_stop_together,
              check_points_that_differ_raise, check_moments):  # fmt: skip
    check()
    ranks.gathered(check.__name__)  # all ranks have passed it
