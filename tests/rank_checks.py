"""What two processes tell each other; ends with an error if a check fails."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rank_cases import ELASTIC, M, N, problem
from strategies import classification

import proxmtl as pm
from proxmtl.io import Checkpoint, open_shards
from proxmtl.ranks import SMALL, ProcessRanks, RankError, Told
from proxmtl.selection import cross_validate
from proxmtl.solvers import quasi_newton

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
    with pytest.raises(ValueError, match="labels: expected 0 and 1"):
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

    # the coding is that of all labels: ones alone have either
    signs = torch.where(Y.isnan(), 1.0, Y)
    part = signs if FIRST else torch.where(signs > 0, signs, torch.nan)
    targets = pm.Problem.of(design, part, ELASTIC).targets
    own = N * M if FIRST else int((signs > 0).sum())
    assert targets.per_task((targets.weights > 0).double()).sum() == sum(ranks.gathered(own))
    with pytest.raises(ValueError, match="are divided among ranks, and the features are not"):
        pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X), targets, ELASTIC)
    zeros = torch.where(signs > 0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"saw \[-1, 0, 1\]"):
        pm.Problem.of(design, signs if FIRST else zeros, ELASTIC)
    # 0 is missing: no rank needs labels of both classes, or any
    targets = pm.Targets.from_labels(signs if FIRST else zeros, ranks=ranks)
    assert targets.per_task(targets.weights).sum() == N * M + (signs > 0).sum()
    with pytest.raises(ValueError, match="saw 0 and 1 but no -1"):
        pm.Targets.from_labels(zeros if FIRST else signs.abs(), ranks=ranks)


def check_estimators(folder):
    X, Y = classification(201, 6, M, missing=0.1)
    if FIRST:
        (folder / "shards").mkdir()
        for number, part in enumerate(torch.split(X, 90)):
            np.save(folder / "shards" / f"part-{number}.npy", part.numpy())
    ranks.gathered("written")
    whole = open_shards(folder / "shards", memory=8_000)
    rows = whole.among(ranks)
    for make in (
        lambda: pm.LassoClassifier(strength=0.02, class_weight="balanced", tol=1e-10),
        lambda: pm.SingleTaskClassifierCV(tol=1e-10),  # random_state=None: one seed for all ranks
    ):
        model = make().fit(rows, Y.numpy())
        for found in ranks.gathered(model.coef_):
            assert np.array_equal(found, model.coef_)
        scores = model.decision_function(rows)
        np.testing.assert_allclose(scores, model.decision_function(whole), rtol=0, atol=1e-12)
        assert model.decision_function(rows.take([5])).shape == (1, M)  # a rank has none
    alone = pm.LassoClassifier(strength=0.02, class_weight="balanced", tol=1e-10)
    alone.fit(whole, Y.numpy())
    model = pm.LassoClassifier(strength=0.02, class_weight="balanced", tol=1e-10)
    np.testing.assert_allclose(model.fit(rows, Y.numpy()).coef_, alone.coef_, rtol=0, atol=1e-4)
    with pytest.raises(RankError, match="labels: differs between rank 0 and rank 1"):
        model.fit(rows, Y.numpy() if FIRST else -Y.numpy())


def check_checkpoints(folder):
    """The last state that all ranks have written is the one from which they go on."""
    whole = pm.minimize(problem(ranks, ELASTIC), pm.FISTA(), stop=pm.MaxIterations(9))
    kept = Checkpoint(folder / "kept", seconds=1000)

    def run(iterations):
        stop = pm.MaxIterations(iterations)
        return pm.minimize(problem(ranks, ELASTIC), pm.FISTA(), stop=stop, checkpoint=kept)

    run(4)
    if FIRST:
        shutil.copytree(kept.folder, folder / "four")
    ranks.gathered("copied")
    run(6)
    if FIRST:  # as if rank 1 had been killed before its second file was whole
        assert len(list(kept.folder.iterdir())) == 2
        (kept.folder / "rank-1-of-2-iteration-6.pt").unlink()
        for path in (folder / "four").iterdir():
            shutil.copy(path, kept.folder)
    ranks.gathered("undone")
    seen = kept.load({}, ranks)
    assert seen["state"]["iteration"] == 4
    assert torch.equal(run(9).solution, whole.solution)
    with pytest.raises(ValueError, match=r"writes: 60\.0 on rank 0, and None on rank 1"):
        pm.minimize(
            problem(ranks, ELASTIC),
            pm.FISTA(),
            stop=pm.MaxIterations(3),
            checkpoint=Checkpoint(folder / "other") if FIRST else None,
        )


def check_tasks_of_lbfgs_are_decided_by_all_samples():
    """Whether a task rests, or its step overflows, may be seen by one rank alone."""
    X, Y = classification(N, 6, M)
    design = pm.ShardedDesign(pm.SharedDesign(X, intercept=True), ranks)
    posed = pm.Problem.of(design, Y, [pm.SquaredFrobenius(0.5)])
    shape = posed.zeros().shape
    # gap = |g|^2 / (4 ridge) + |sum of the residuals| * largest score, over the samples of all
    scores, residuals = (torch.full((N, M), value, dtype=torch.float64) for value in (1.0, 0.01))
    scores[0, 0] = 5.0 + ranks.rank
    grad = torch.ones(shape, dtype=torch.float64)
    expected = torch.full((M,), 6 / 2 + 0.02 * N, dtype=torch.float64)
    expected[0] += 0.02 * N * 5.0
    torch.testing.assert_close(quasi_newton._gaps(posed, grad, scores, residuals), expected)

    X = X.double()
    X[0, 0] = 1.0 if FIRST else 1e200  # times the step it overflows
    design = pm.ShardedDesign(pm.SharedDesign(X, intercept=True), ranks)
    step = torch.zeros(shape, dtype=torch.float64)
    step[0, 0], step[1, 1] = 1e150, 1.0
    before = torch.zeros(shape, dtype=torch.float64), scores, grad, torch.ones(M).double()
    line, _ = quasi_newton._Line.along(
        pm.Problem.of(design, Y, [pm.SquaredFrobenius(0.5)]), step, before, None
    )
    assert line.slope.tolist() == [0.0, 1.0, 0.0, 0.0]
    assert not line.move[:, 0].any()
    assert line.move[:, 1].any()


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


def check_solves_that_differ_raise():
    posed = problem(ranks, [pm.L1(0.02 if FIRST else 0.03)])
    with pytest.raises(ValueError, match=r"L1\(strength=0.02\).* on rank 0, and .*0.03"):
        pm.minimize(posed, pm.FISTA(), stop=pm.MaxIterations(3))


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


def check_tasks(folder):
    X, Y = classification(N, 6, M)
    own = pm.SharedDesign(X)

    def divided(*parts):
        return pm.ShardedDesign(own, ranks, tasks=parts[ranks.rank])

    with pytest.raises(ValueError, match="tasks: rank 1 of 2 has none") as raised:
        divided([0, 1, 2, 3], [])
    assert isinstance(raised.value.__cause__, Told) != FIRST  # the first rank reports it
    with pytest.raises(ValueError, match=r"tasks: the ranks have \[\[0, 1\], \[1, 2\]\]"):
        divided([0, 1], [1, 2])
    with pytest.raises(ValueError, match=r"samples, which all tasks share: 90 on rank 0, and 89"):
        pm.ShardedDesign(pm.SharedDesign(X[ranks.rank :]), ranks, tasks=[ranks.rank])
    design = divided([1, 3, 0], [2])
    with pytest.raises(RankError if FIRST else ValueError, match="labels: of 2 tasks, and this"):
        pm.Problem.of(design, Y[:, [1, 3, 0] if FIRST else [2, 0]], ELASTIC)
    with pytest.raises(ValueError, match="couples the tasks, which are divided among ranks"):
        pm.Problem.of(design, torch.arange(N) % M, ELASTIC, loss=pm.WestonWatkins(M))
    posed = pm.Problem.of(design, Y[:, design.tasks], ELASTIC)
    assert posed.targets.n_entries == N  # all ranks have the same samples
    same = "are not divided among the ranks of the features"
    with pytest.raises((ValueError, RankError), match=same):
        pm.Problem(pm.SquaredHinge(), divided([1, 0, 3], [2]), posed.targets, ELASTIC)
    with pytest.raises(pm.UnsupportedError, match="needs all tasks, and they are divided"):
        pm.minimize(posed.with_regularizers(pm.SquaredFrobenius(0.1)), pm.LBFGS())

    def run(iterations, kept=None):
        posed = problem(ranks, ELASTIC, divided="tasks")
        return pm.minimize(
            posed, pm.FISTA(), stop=pm.MaxIterations(iterations), checkpoint=kept
        ).solution

    kept = Checkpoint(folder / "tasks", seconds=1000)
    run(4, kept)
    assert torch.equal(run(9, kept), run(9))


def check_spread():
    done = []

    def work(own):
        for job in own:
            done.append(job)
            if job == "bad":
                raise ValueError("job: bad")
            yield job * 2

    assert ranks.spread([1, 2, 3, 4, 5], work) == [2, 4, 6, 8, 10]
    assert done == ([1, 3, 5] if FIRST else [2, 4])
    assert ranks.spread([1], work) == [2]
    assert ranks.spread([], work) == []
    with pytest.raises(ValueError if FIRST else RankError, match="bad"):
        ranks.spread(["bad", 1], work)


def check_cross_validation(folder):
    X, Y = classification(N, 6, M)
    given = {"candidates": [0.1, 0.02, 0.005], "splits": 2, "stop": pm.RelativeGap(1e-8)}
    posed = pm.Problem.of(X, Y, pm.L1(1.0))
    alone = cross_validate(posed, **given)
    found = cross_validate(posed, **given, ranks=ranks, folder=folder / "cross-validation")
    assert found.table[["candidate", "split"]].equals(alone.table[["candidate", "split"]])
    # batches are of other problems, and round otherwise
    np.testing.assert_allclose(found.table["score"], alone.table["score"], rtol=0, atol=1e-3)
    for table in ranks.gathered(found.table):
        assert table.equals(found.table)
    candidates = [{"strength": 0.1}, {"strength": 0.02}, {"strength": 0.005}]
    told = []
    given = {"candidates": candidates, "splits": 2, "X": X, "Y": Y.clamp_min(0)}
    found = cross_validate(
        pm.LassoClassifier(), **given, ranks=ranks, progress=lambda *count: told.append(count)
    )
    assert told == [(n, 6) for n in range(1, 7)]
    assert found.table.equals(cross_validate(pm.LassoClassifier(), **given).table)
    with pytest.raises(ValueError, match="candidates, splits and labels"):
        cross_validate(pm.LassoClassifier(), **{**given, "splits": 2 + ranks.rank}, ranks=ranks)


folder = Path(sys.argv[1])
for check in (check_sums, check_tasks_of_lbfgs_are_decided_by_all_samples,
              check_errors_are_raised_on_all, check_all_stop_together,
              check_solves_that_differ_raise, check_points_that_differ_raise, check_moments,
              lambda: check_tasks(folder), check_spread, lambda: check_cross_validation(folder),
              lambda: check_estimators(folder), lambda: check_checkpoints(folder)):  # fmt: skip
    check()
    ranks.gathered(check.__name__)  # all ranks have passed it
