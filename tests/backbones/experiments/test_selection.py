"""What is chosen on the validation part, and the rows of the tables on small problems."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import average_precision_score

from proxmtl import Groups
from proxmtl.backbones.experiments.protocol import Part
from proxmtl.backbones.experiments.selection import OneByOne, searched, tuned
from proxmtl.backbones.experiments.systems import bilinear, systems_of
from proxmtl.estimators import SingleTaskClassifierCV
from proxmtl.estimators.calibration import calibration

pytestmark = pytest.mark.filterwarnings("ignore")  # budgets and grids are small on purpose


def part(n=160, M=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 5)).astype(np.float32)
    Y = (X @ rng.standard_normal((5, M)) + rng.standard_normal((n, M)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    rows = np.arange(n)
    names = tuple("abcd"[:M])
    return Part(
        X,
        Y,
        ((rows[: n // 2], rows[n // 2 :]),),
        rows,
        Groups.from_lists([[0, 1], [2, 3]], M),
        names,
        None,
        {},
        0,
        standardize=True,
    )


class Fixed:
    """Scores of one feature, with a sign."""

    def __init__(self, feature, sign):
        self.feature, self.sign, self.seen = feature, sign, 0

    def fit(self, X, Y):
        self.seen, self.columns = len(X), Y.shape[1]
        return self

    def decision_function(self, X):
        return np.repeat(self.sign * X[:, self.feature : self.feature + 1], self.columns, 1)


def test_the_best_on_the_validation_part_is_fitted_on_all_rows():
    given = part()
    given.Y[:] = given.X[:, 2:3] > 0.8
    given.Y[::9] = 0.0
    made = []

    def make(_, **parameters):
        made.append(Fixed(**parameters))
        return made[-1]

    grid = [{"feature": 1, "sign": 1}, {"feature": 2, "sign": 1}, {"feature": 2, "sign": -1}]
    fitted = searched(given, make, grid)
    assert fitted.chosen == grid[1]
    assert [model.seen for model in made] == [80, 80, 80, 160]
    assert [line["feature"] for line in fitted.validation] == [1, 2, 2]
    ((_, held),) = given.parts
    expected = np.mean([average_precision_score(y, given.X[held, 2]) for y in given.Y[held].T])
    assert fitted.validation[1]["ap"] == pytest.approx(expected, abs=1e-5)
    # calibrated: the threshold is where labels change, not where the score does
    yes = fitted.log_odds(given.X)[:, 0] > 0
    assert np.mean(yes == (given.Y[:, 0] > 0)) > np.mean((given.X[:, 2] > 0) == given.Y[:, 0])


def test_parts_that_validate_in_turn_choose_by_their_mean_and_calibrate_together():
    given = part()
    quarters = np.split(np.arange(len(given.X)), 4)
    turns = tuple((np.setdiff1d(given.refit, held), held) for held in quarters)
    given = replace(given, parts=turns)
    given.Y[:] = given.X[:, 2:3] > 0.8
    given.Y[quarters[0], 1:] = given.X[quarters[0], 1:2] > 0.8  # one part prefers another feature
    given.Y[quarters[3], 3] = 0.0  # of one class: its average precision is of the other parts
    grid = [{"feature": 1, "sign": 1}, {"feature": 2, "sign": 1}]
    fitted = searched(given, lambda _, **p: Fixed(**p), grid)
    assert fitted.chosen == grid[1]
    known = [[q for q in quarters if given.Y[q, m].any()] for m in range(4)]
    expected = np.mean(
        [
            np.mean([average_precision_score(given.Y[q, m], given.X[q, 2]) for q in known[m]])
            for m in range(4)
        ]
    )
    assert fitted.validation[1]["ap"] == pytest.approx(expected, abs=1e-5)
    sigmoids = calibration(np.repeat(given.X[:, 2:3], 4, 1), given.Y, np.ones_like(given.Y))
    np.testing.assert_allclose(
        fitted.log_odds(given.X), sigmoids.slopes * (given.X[:, 2:3] + sigmoids.shifts), rtol=1e-6
    )
    assert tuned(given, SingleTaskClassifierCV()).chosen


def test_both_ways_calibrate_the_same_scores_alike(monkeypatch):
    given = part()
    ((_, held),) = given.parts
    given.Y[held, 1] = np.nan
    calls = []
    calibrate = SingleTaskClassifierCV._calibrate

    def seen(self, held_out, *rest):
        shift = calibrate(self, held_out, *rest)
        calls.append((held_out[held].astype(float), shift))
        return shift

    monkeypatch.setattr(SingleTaskClassifierCV, "_calibrate", seen)
    estimator = SingleTaskClassifierCV()
    expected = tuned(given, estimator)
    ((held_out, shift),) = calls

    class Replayed:
        def fit(self, *_):
            return self

        def decision_function(self, X):
            held = len(X) == len(held_out)
            return held_out if held else estimator.decision_function(X) - shift

    found = searched(given, lambda _: Replayed(), [{}])
    np.testing.assert_allclose(
        found.log_odds(given.X), expected.log_odds(given.X), rtol=1e-6, atol=1e-6
    )
    p = estimator.predict_proba(given.X)
    np.testing.assert_allclose(expected.log_odds(given.X), np.log(p / (1 - p)), rtol=1e-5)


def test_of_equal_candidates_the_strongest_penalty_is_chosen():
    given = part()
    strengths = [
        system.options[name]
        for system in [*systems_of("awa"), *systems_of("awa-unseen")]
        for name in ("strength", "shared_strength", "gamma", "lambda")
        if name in system.options
    ]
    assert len(strengths) > 5
    assert all(list(grid) == sorted(grid, reverse=True) for grid in strengths)
    fitted = searched(given, lambda *_, **__: Fixed(2, 1), [{"k": 2}, {"k": 1}])
    assert fitted.chosen == {"k": 2}


def test_each_attribute_may_have_a_candidate_of_its_own():
    given = part()
    for m in range(4):
        given.Y[:, m] = given.X[:, m] > 0
    grid = [{"feature": k, "sign": 1} for k in range(4)]
    fitted = searched(given, lambda _, **p: Fixed(**p), grid, each=True)
    assert fitted.chosen == {"feature": [0, 1, 2, 3], "sign": [1] * 4}
    yes = fitted.log_odds(given.X) > 0
    assert (yes == (given.Y > 0)).mean() > 0.9


def test_attributes_one_by_one_are_fitted_on_rows_with_their_labels():
    given = part()
    model = OneByOne(lambda n: LogisticRegression(C=80 / n)).fit(given.X, given.Y)
    seen = ~np.isnan(given.Y[:, 1])
    alone = LogisticRegression(C=80 / seen.sum()).fit(given.X[seen], given.Y[seen, 1])
    np.testing.assert_allclose(
        model.decision_function(given.X)[:, 1],
        alone.decision_function(given.X),
        rtol=1e-4,
        atol=1e-4,
    )
    given.Y[:, 2] = 1.0
    scores = (
        OneByOne(lambda _: LogisticRegression()).fit(given.X, given.Y).decision_function(given.X)
    )
    assert not scores[:, 2].any()


HAND_MADE = [system for system in systems_of("clothing") if system.features == "hand-made"]


@pytest.mark.parametrize("system", [*systems_of("awa"), *HAND_MADE], ids=lambda system: system.name)
def test_every_row_learns_and_says_what_it_chose(system):
    given = part()
    fitted = system.fit(given)
    log_odds = fitted.log_odds(given.X)
    seen = ~np.isnan(given.Y)
    right = (log_odds > 0)[seen] == (given.Y[seen] > 0)
    assert right.mean() > 0.7  # 0.5 by chance, some 0.85 at best
    assert fitted.chosen
    assert len(fitted.validation) > 1
    scores = [line.get("ap", line.get("mean_score")) for line in fitted.validation]
    assert all(score is None or math.isfinite(float(score)) for score in scores)


@pytest.mark.parametrize("name", ["logistic", "ridge", "mg", "own-groups"])
def test_an_attribute_of_one_class_in_the_training_part_is_learnt_in_the_end(name):
    given = part()
    ((learnt, held),) = given.parts
    given.Y[learnt, 1] = 0.0  # as of the classes of a fold
    (system,) = (each for each in systems_of("awa") if each.name == name)
    log_odds = system.fit(given).log_odds(given.X[held])
    truth = given.Y[held]
    assert all(
        average_precision_score(y[~np.isnan(y)], z[~np.isnan(y)]) > y[~np.isnan(y)].mean() + 0.1
        for y, z in zip(truth.T, log_odds.T, strict=True)
    )


def test_bilinear_solution_is_the_stationary_point():
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 6
    S = rng.random((6, 3))
    X = (S[classes] @ rng.standard_normal((3, 5)) + 0.05 * rng.standard_normal((60, 5))).astype(
        np.float32
    )
    rows = np.arange(60)
    given = Part(
        X,
        np.zeros((60, 3)),
        tuple((rows[classes // 2 != k], rows[classes // 2 == k]) for k in range(3)),
        rows,
        Groups.single(3),
        ("a", "b", "c"),
        classes,
        {"binary": S},
        0,
        standardize=False,
    )
    accuracies = [
        bilinear((0.1,), (0.01,), replace(given, parts=(each,))).validation[0]["accuracy"]
        for each in given.parts
    ]
    assert len(set(accuracies)) > 1
    fitted = bilinear((0.1,), (0.01,), given)
    assert fitted.validation[0]["accuracy"] == pytest.approx(np.mean(accuracies), abs=1e-5)
    assert fitted.chosen == {"signatures": "binary", "gamma": 0.1, "lambda": 0.01}
    assert fitted.validation[0]["accuracy"] > 0.9
    unit = S / np.linalg.norm(S, axis=1, keepdims=True)
    centred = X - X.astype(float).mean(0)
    T = np.where(np.arange(6) == classes[:, None], 1.0, -1.0)
    gamma = 0.1 * np.trace(centred.T @ centred) / 5
    ridge = 0.01 * np.trace(unit.T @ unit) / 3
    half = Ridge(alpha=gamma, fit_intercept=False).fit(centred, T @ unit).coef_.T
    expected = half @ np.linalg.inv(unit.T @ unit + ridge * np.eye(3))
    np.testing.assert_allclose(
        fitted.class_scores(X, {"binary": S}), centred @ expected @ unit.T, rtol=1e-4, atol=1e-5
    )
    with pytest.raises(ValueError, match="class of each row"):
        bilinear((0.1,), (0.01,), part())


def test_attributes_that_a_part_cannot_learn_or_score_are_left_out_there():
    given = part(n=200)
    given.Y[np.isnan(given.Y)] = 0.0
    quarters = np.split(np.arange(200), 4)
    turns = tuple((np.setdiff1d(given.refit, held), held) for held in quarters)
    given.Y[quarters[0], 0] = 1.0  # scored on the other three
    given.Y[np.concatenate(quarters[:3]), 1] = 0.0  # without the last quarter there is no yes
    given = replace(given, parts=turns)
    grid = [{"feature": 2, "sign": 1}]
    fitted = searched(given, lambda _, **p: Fixed(**p), grid)
    of_parts = [
        [average_precision_score(given.Y[q, 0], given.X[q, 2]) for q in quarters[1:]],
        [],
        *(
            [average_precision_score(given.Y[q, m], given.X[q, 2]) for q in quarters]
            for m in (2, 3)
        ),
    ]
    expected = np.mean([np.mean(each) for each in of_parts if each])
    assert fitted.validation[0]["ap"] == pytest.approx(expected, abs=1e-5)
    held = np.repeat(given.X[:, 2:3].astype(float), 4, 1)
    held[quarters[3], 1] = np.nan  # not learnt: no score is calibrated there
    sigmoids = calibration(held, given.Y, np.ones_like(given.Y))
    np.testing.assert_allclose(
        fitted.log_odds(given.X), sigmoids.slopes * (given.X[:, 2:3] + sigmoids.shifts), rtol=1e-6
    )


def test_a_search_uses_every_part():
    given = part(n=200)
    quarters = np.split(np.arange(200), 4)
    turns = tuple((np.setdiff1d(given.refit, held), held) for held in quarters)
    estimator = SingleTaskClassifierCV()
    tuned(replace(given, parts=turns), estimator)
    assert estimator.cv_results_["folds"].max() == 4
