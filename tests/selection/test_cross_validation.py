import numpy as np
import pytest
import torch
from solver_cases import PAIRS, convex, data, ragged
from strategies import classification

import proxmtl as pm
from proxmtl.experiments import random_splits, sample_folds, stratified_folds
from proxmtl.io import InputError
from proxmtl.selection import cross_validate, invariant_grid, mean_average_precision, trainers

# few candidates, some chosen at an edge: test_edges.py looks at that
pytestmark = pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
STOP = pm.RelativeGap(1e-8) | pm.MaxIterations(3000)


def sparse_data(n=60, d=15, seed=0):
    """Three of the features matter."""
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(n, d, generator=generator, dtype=torch.float64)
    W = torch.zeros(d, 2, dtype=torch.float64)
    W[:3] = torch.randn(3, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    return X, torch.sign(X @ W + 0.7 * noise)


def sparse_problem():
    X, Y = sparse_data()
    targets = pm.Targets.from_labels(Y, reduction="mean")
    return (
        pm.Problem(pm.SquaredHinge(), pm.SharedDesign(X, intercept=True), targets, pm.L1(0.1)),
        X,
        Y,
    )


def test_scores_are_those_of_problems_trained_on_the_rows():
    problem, X, Y = sparse_problem()
    splits = sample_folds(len(X), 3)
    strengths = [0.2, 0.05, 0.01]
    cv = cross_validate(problem, strengths, splits, stop=STOP)
    assert list(cv.table["strength"]) == [s for s in strengths for _ in splits]
    for _, line in cv.table.iterrows():
        train, test = splits[line["split"]]
        part = pm.Problem(
            pm.SquaredHinge(),
            pm.SharedDesign(X[train], intercept=True),
            pm.Targets.from_labels(Y[train], reduction="mean"),
            pm.L1(line["strength"]),
        )
        result = pm.minimize(part, stop=STOP)
        scores = pm.SharedDesign(X[test], intercept=True).scores(result.solution)
        assert line["score"] == pytest.approx(mean_average_precision(scores, Y[test]), abs=1e-6)
        assert line["nonzeros"] == pytest.approx(float((result.solution[:-1] != 0).double().mean()))


def test_summary_and_choices_by_hand():
    problem, X, _ = sparse_problem()
    splits = sample_folds(len(X), 5, seed=1)
    strengths = [0.3, 0.15, 0.08, 0.03, 0.005, 0.001]
    cv = cross_validate(problem, strengths, splits, rule="one_standard_error")
    scores = cv.table["score"].to_numpy().reshape(6, 5)
    errors = scores.std(axis=1, ddof=1) / np.sqrt(5)
    np.testing.assert_allclose(cv.summary["mean"], scores.mean(axis=1))
    np.testing.assert_allclose(cv.summary["standard_error"], errors)
    best = scores.mean(axis=1).argmax()
    assert cv.best == best
    within = scores.mean(axis=1) >= scores.mean(axis=1)[best] - errors[best]
    sparsity = np.where(within, cv.summary["nonzeros"], np.inf)
    assert cv.one_standard_error == cv.chosen == sparsity.argmin()
    assert cv.chosen < best  # stronger, and not the same on these data
    refitted = pm.minimize(problem.with_regularizers(pm.L1(strengths[cv.chosen])))
    torch.testing.assert_close(cv.model.solution, refitted.solution, atol=1e-4, rtol=0)


def test_any_metric_and_one_split():
    problem, X, Y = sparse_problem()
    splits = random_splits(len(X), 1, 0.3, Y=Y.numpy())

    def negative_zeros(scores, labels):
        assert scores.shape == labels.shape == (18, 2)
        return -float((scores == 0).sum())

    cv = cross_validate(problem, [[9.0], [0.01]], splits, metric=negative_zeros, refit=False)
    assert cv.model is None
    assert cv.best == cv.one_standard_error
    assert list(cv.summary["strength_0"]) == [9.0, 0.01]
    with pytest.raises(ValueError, match="no candidate has a score"):
        cross_validate(problem, [0.1], splits, metric=lambda *_: float("nan"))


def test_another_solver_for_penalties_that_are_not_convex():
    problem, X, _ = sparse_problem()
    folded = problem.with_regularizers([pm.MCP(0.1), pm.SquaredFrobenius(0.1)])
    splits = sample_folds(len(X), 2)
    stop = pm.RelativeKKT(1e-4) | pm.MaxIterations(3000)
    cv = cross_validate(folded, [0.2, 0.1], splits, solver=pm.PGD(), stop=stop)
    assert set(cv.table["status"]) == {"CONVERGED"}
    assert cv.best == cv.summary["mean"].argmax()
    with pytest.raises(pm.UnsupportedError, match="MCP"):
        cross_validate(folded, [0.1], splits)


def test_missing_labels_are_not_scored():
    _X, Y, _ = data()
    problem = convex("l1", intercept=True)
    seen = []

    def metric(_scores, labels):
        seen.append(labels)
        return 0.0

    splits = stratified_folds(Y, 2)
    cross_validate(problem, [1.0], splits, metric=metric, refit=False)
    for labels, split in zip(seen, splits, strict=True):
        np.testing.assert_array_equal(labels, Y[split.test])


def test_batches_of_any_size_give_the_same(monkeypatch):
    problem, X, _ = sparse_problem()
    splits = sample_folds(len(X), 3)
    whole = cross_validate(problem, [0.1, 0.02], splits, stop=STOP, refit=False)
    monkeypatch.setattr(trainers, "BATCH_SCORES", 1)
    single = cross_validate(problem, [0.1, 0.02], splits, stop=STOP, refit=False)
    np.testing.assert_allclose(whole.table["score"], single.table["score"], atol=1e-9)


def test_it_goes_on_where_it_was(tmp_path, monkeypatch):
    problem, X, _ = sparse_problem()
    splits = sample_folds(len(X), 3)
    first = cross_validate(problem, [0.1, 0.02], splits, folder=tmp_path / "cv")
    (tmp_path / "cv" / "candidate_0001_split_02.safetensors").unlink()
    trained = []
    solve = trainers.solve_batch

    def counted(problems, **options):
        trained.append(len(problems))
        return solve(problems, **options)

    monkeypatch.setattr(trainers, "solve_batch", counted)
    again = cross_validate(problem, [0.1, 0.02], splits, folder=tmp_path / "cv")
    assert trained == [1]
    np.testing.assert_allclose(first.table["score"], again.table["score"], rtol=1e-6)
    assert list(first.table["status"]) == list(again.table["status"])
    with pytest.raises(InputError, match="candidates"):
        cross_validate(problem, [0.1, 0.03], splits, folder=tmp_path / "cv")
    with pytest.raises(InputError, match="splits"):
        cross_validate(problem, [0.1, 0.02], sample_folds(len(X), 3, 9), folder=tmp_path / "cv")


# ------------------------------------------------------------------ models


def test_invariant_grid_has_the_asked_invariants():
    grid = invariant_grid([1e-6, 1e-4, 0.0], [1e-5, 0.0], group_strength=0.02)
    found = [
        (p["group_strength"] * p["l1_strength"], p["group_strength"] ** 2 * p["frobenius_strength"])
        for p in grid
    ]
    expected = [(1e-6, 1e-5), (1e-6, 0), (1e-4, 1e-5), (1e-4, 0), (0, 1e-5)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match=">= 0"):
        invariant_grid([-1.0], [1.0])
    with pytest.raises(ValueError, match="at least one"):
        invariant_grid([], [])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_latent_model_is_chosen_over_its_invariants():
    X, Y = classification(60, 6, 4, seed=3)
    grid = invariant_grid([1e-6, 1.0], [1e-6], group_strength=0.05)
    model = pm.LatentMTL(PAIRS, n_latents=2, max_passes=60)
    cv = cross_validate(model, grid, stratified_folds(Y, 2), X, Y)
    assert list(cv.summary["mu_gamma"]) == pytest.approx([1e-6, 1.0])
    assert list(cv.summary["mu2_lambda"]) == pytest.approx([1e-6, 1e-6])
    assert set(cv.table["status"][2:]) == {"COLLAPSED"}
    assert cv.best == 0
    assert cv.model.coef.shape == (6, 4)
    assert not cv.model.collapsed
    same = [{**point, "tol": 1e-3} for point in grid[:1]]
    estimator = pm.LatentMTLClassifier(groups=PAIRS, n_latents=2, max_passes=60, standardize=False)
    of_estimator = cross_validate(estimator, same, stratified_folds(Y, 2), X, Y, refit=False)
    np.testing.assert_allclose(of_estimator.table["score"], cv.table["score"][:2], atol=1e-9)


def test_an_estimator_is_chosen_by_its_parameters(tmp_path):
    X, Y = classification(60, 6, 3, seed=3)
    candidates = [{"l2_strength": 100.0}, {"l2_strength": 0.01}]
    splits = stratified_folds(Y, 3)
    cv = cross_validate(pm.SingleTaskClassifier(), candidates, splits, X, Y, folder=tmp_path / "e")
    assert cv.model.l2_strength == candidates[cv.best]["l2_strength"]
    assert cv.model.coef_.shape == (3, 6)
    again = cross_validate(
        pm.SingleTaskClassifier(), candidates, splits, X, Y, folder=tmp_path / "e"
    )
    assert list(again.table["score"]) == list(cv.table["score"])


def test_bad_requests_are_refused():
    problem, X, Y = sparse_problem()
    splits = sample_folds(len(X), 3)
    for options, message in [
        ({"rule": "worst"}, "rule"),
        ({"X": X}, "own data"),
        ({"splits": []}, "splits: empty"),
        ({"splits": [([0, 1], [])]}, "empty part"),
        ({"splits": [([0, 1], [1])]}, "both parts"),
        ({"splits": [([0, 1], [60])]}, "outside 0..59"),
        ({"candidates": []}, "candidates: empty"),
        ({"model": pm.LatentMTL()}, "give both"),
        ({"model": object(), "X": X, "Y": Y}, "fit and decision_function"),
        ({"model": pm.LatentMTL(), "X": X[:5], "Y": Y}, "one row a sample"),
    ]:
        arguments = {"model": problem, "candidates": [0.1], "splits": splits, **options}
        with pytest.raises(ValueError, match=message):
            cross_validate(**arguments)
    with pytest.raises(NotImplementedError, match="features by task"):
        cross_validate(ragged(), [0.1], splits)


def test_a_number_of_folds_will_do_and_real_labels_need_a_metric():
    problem, X, _ = sparse_problem()
    strengths = [0.2, 0.05]
    by_number = cross_validate(problem, strengths, 3, stop=STOP)
    given = cross_validate(problem, strengths, sample_folds(len(X), 3), stop=STOP)
    assert by_number.table["score"].tolist() == given.table["score"].tolist()
    real = pm.Targets.from_labels(X[:, :2] + 0.1, coding="real")
    problem = pm.Problem(pm.Squared(), pm.SharedDesign(X), real, pm.L1(0.1))
    with pytest.raises(ValueError, match="metric: mean average precision needs labels of two"):
        cross_validate(problem, strengths, 3)
    squares = cross_validate(
        problem, strengths, 3, metric=lambda scores, labels: -np.nanmean((scores - labels) ** 2)
    )
    assert squares.table["score"].max() < 0
