"""The search of strengths: which candidates are given up, and descents along a path."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.base import clone
from strategies import classification

import proxmtl as pm
from proxmtl.estimators import (
    LatentMTLClassifierCV,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifierCV,
    paths,
)
from proxmtl.estimators.paths import followed
from proxmtl.estimators.racing import promising

EVERYONE = np.ones(3, dtype=bool)


def scored(lead, noise=0.0, folds=3, tasks=8):
    """Scores of candidates that lie so far behind, on easy and on hard folds and attributes."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(1, folds, tasks))
    return (
        common - np.reshape(lead, (-1, 1, 1)) + noise * rng.normal(size=(len(lead), folds, tasks))
    )


def test_who_is_behind_by_much_more_than_the_noise_is_given_up():
    one_path = np.zeros(3, dtype=int)
    kept = promising(scored([0.0, 0.01, 0.5], noise=0.1), EVERYONE, one_path)
    np.testing.assert_array_equal(kept, [True, True, False])


@pytest.mark.parametrize(
    ("n_folds", "m", "share"), [(2, 1, 0.0), (3, 2, 0.0), (2, 20, 0.2), (1, 40, 0.05)]
)
def test_noise_gives_few_up(n_folds, m, share):
    rng = np.random.default_rng(0)
    gone = 0
    for _ in range(200):
        scores = rng.normal(size=(9, n_folds, m))  # nobody is better
        gone += (~promising(scores, np.ones(9, dtype=bool), np.zeros(9, dtype=int))).sum()
    assert gone <= share * 9 * 200


def test_each_path_keeps_its_leader():
    kept = promising(scored([0.0, 5.0, 6.0], noise=0.1), EVERYONE, np.array([0, 1, 1]))
    np.testing.assert_array_equal(kept, [True, True, False])


def test_after_one_fold_only_a_large_gap_counts():
    """Attributes of one fold have its rows in common: three standard errors, where there are 8."""
    one_path = np.zeros(3, dtype=int)
    first = scored([0.0, 0.0, 1.0], noise=0.2)[:, :1]
    np.testing.assert_array_equal(promising(first, EVERYONE, one_path), [True, True, False])
    gap = np.array([0.0, 1.0]).reshape(2, 1, 1)
    spread = np.sqrt(40) * np.resize([1.0, -1.0], 40) / 2.5  # the gap is 2.5 standard errors
    scores = np.concatenate([np.zeros((1, 2, 40)), -gap[1:] + np.tile(spread, (1, 2, 1))])
    both, path = np.ones(2, dtype=bool), np.zeros(2, dtype=int)
    assert promising(scores[:, :1], both, path).all()
    np.testing.assert_array_equal(promising(scores, both, path), [True, False])


def test_few_scores_give_nobody_up_and_nobody_comes_back():
    scores, one_path = scored([0.0, 1.0, 2.0], tasks=7), np.zeros(3, dtype=int)
    assert promising(scores[:, :1], EVERYONE, one_path).all()
    scores[:, 1] = np.nan  # this fold scores nothing
    assert promising(scores[:, :2], EVERYONE, one_path).all()
    gone = np.array([True, False, True])
    assert not promising(scores, gone, one_path)[1]


def test_who_is_behind_a_rival_is_given_up_but_the_leader_of_each_path():
    scores = scored([2.0, 0.99, 1.0, 0.3, 0.0], noise=0.1)
    race_of, everyone = np.array([0, 0, 0, 1, 1]), np.ones(5, dtype=bool)
    alone = promising(scores, everyone, race_of)
    np.testing.assert_array_equal(alone, [False, True, True, False, True])
    (rival,) = scored([-1.0], noise=0.1)
    kept = promising(scores, everyone, race_of, rival)
    assert kept[:3].sum() == kept[3:].sum() == 1
    assert kept[4]
    (behind,) = scored([3.0], noise=0.1)  # a rival that is worse changes nothing
    np.testing.assert_array_equal(promising(scores, everyone, race_of, behind), alone)
    rival[1] = np.nan  # a fold that it has no score of says nothing
    np.testing.assert_array_equal(promising(scores, everyone, race_of, rival), kept)


def test_who_leads_a_fold_is_kept():
    scores = scored([0.0, 1.0, 2.0])
    scores[1, 2] = scores[0, 2] + 0.01
    np.testing.assert_array_equal(promising(scores, EVERYONE, np.zeros(3, dtype=int)), [1, 1, 0])


def test_candidates_given_up_have_fewer_folds_and_no_mean():
    X, Y = classification(200, 10, 6, seed=0)
    Y = np.where(Y.numpy() > 0, 1.0, 0.0)

    def scoring(_labels, values):
        return float(-((np.log(values.std()) - 1.0) ** 2))  # clear, and best within the path

    model = SharedPlusOwnClassifierCV(scoring=scoring, random_state=0).fit(X.numpy(), Y)
    table = model.cv_results_
    given_up = table["folds"] < 5
    assert given_up.any()
    assert (table["folds"] >= 2).all()
    assert table["mean"][given_up].isna().all()
    assert np.isfinite(table["mean"][~given_up]).all()


def posed(missing=0.0, n=120, d=30):
    X, Y = classification(n, d, 8, seed=3, missing=missing)
    design = pm.SharedDesign(X, intercept=True)
    return pm.Problem(pm.Logistic(), design, pm.Targets.from_labels(Y, reduction="mean", like=X))


def objective(problem, penalty, point):
    return float(problem.with_regularizers(penalty).objective(point))


STRENGTHS = (0.04, 0.025, 0.016, 0.01, 0.006, 0.004)


@pytest.mark.parametrize("kind", ["shared", "alone"])
def test_points_of_a_path_are_near_the_minimisers(kind):
    problem = posed(missing=0.2)
    path = [
        pm.SharedPlusOwn(a, 0.02 / a) if kind == "shared" else pm.SquaredFrobenius(a)
        for a in STRENGTHS
    ]
    for penalty, point in zip(path, followed(problem, path), strict=True):
        best = pm.minimize(
            problem.with_regularizers(penalty), pm.FISTA(), stop=pm.MaxIterations(500)
        )
        assert objective(problem, penalty, point) <= best.certificate.objective * (1 + 5e-3)


def test_descents_start_from_where_the_last_two_solutions_point(monkeypatch):
    path = [pm.SharedPlusOwn(a, 0.005 / a) for a in STRENGTHS]
    ahead, spent = paths.ahead, {}
    for name, start in {
        "further": ahead,
        "the last": lambda found, *args: ahead(found[-1:], *args),
    }.items():
        monkeypatch.setattr(paths, "ahead", start)
        problem = posed(d=60)
        list(followed(problem, path))
        spent[name] = problem.counts.passes
    assert spent["further"] < 0.9 * spent["the last"]


@pytest.mark.parametrize("kind", ["shared", "alone"])
def test_a_strength_that_is_repeated_goes_on_from_where_it_is(kind):
    penalty = pm.SharedPlusOwn(0.01, 0.5) if kind == "shared" else pm.SquaredFrobenius(0.01)
    problem = posed()
    values = [objective(problem, penalty, each) for each in followed(problem, [penalty] * 4)]
    for before, after in itertools.pairwise(values):
        # a step may lower nothing, but for rounding
        assert after <= before * (1 + 8 * torch.finfo(torch.float64).eps)


def test_a_path_that_shares_nothing_yet_is_solved_already():
    problem, own = posed(), 0.02
    (alone,) = followed(problem, [pm.SquaredFrobenius(own)])
    largest = float(torch.linalg.svdvals(alone[:-1])[0])
    path = [pm.SharedPlusOwn(a * 2 * own * largest, 1 / (a * 2 * largest)) for a in (1.5, 1.1, 0.5)]
    before = problem.counts.passes
    first, second, third = followed(problem, path, alone)
    assert first is alone
    assert second is alone
    assert third is not alone
    assert problem.counts.passes > before
    passes = problem.counts.passes
    list(followed(problem, path[:2], alone))
    assert problem.counts.passes == passes


def test_rows_without_a_label_cost_nothing():
    problem = posed()
    labels = problem.targets.labels.clone()
    labels[60:] = 0
    path = [pm.SharedPlusOwn(0.01, 1.0)]
    hidden = pm.Problem(
        pm.Logistic(), problem.design, pm.Targets.from_labels(labels, reduction="mean")
    )
    part = pm.Problem(
        pm.Logistic(),
        pm.SharedDesign(problem.design.X[:60], intercept=True),
        pm.Targets.from_labels(labels[:60], reduction="mean"),
    )
    (one,), (other,) = followed(hidden, path), followed(part, path)
    torch.testing.assert_close(one, other)
    assert hidden.counts.passes == pytest.approx(part.counts.passes / 2)


def test_a_shared_fit_starts_beside_attributes_alone_and_counts_what_that_takes():
    X, Y = classification(60, 300, 4, seed=1, missing=0.5)
    design, own = pm.SharedDesign(X, intercept=True), 0.05
    problem = pm.Problem(pm.Logistic(), design, pm.Targets.from_labels(Y, reduction="mean"))
    penalty = pm.SharedPlusOwn(0.01, own / 0.01)
    start = paths.alone_beside(problem, penalty, 200)
    ridge = pm.SquaredFrobenius(own)
    best = pm.minimize(problem.with_regularizers(ridge), pm.FISTA(), stop=pm.MaxIterations(300))
    assert objective(problem, ridge, start) <= best.certificate.objective * (1 + 1e-3)
    assert paths.alone_beside(problem, penalty, 2) is None
    assert paths.alone_beside(problem, ridge, 200) is None


def test_one_standard_error_takes_the_strongest_that_is_as_good():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 8))
    Y = (X @ rng.normal(size=(8, 3)) + 4 * rng.normal(size=(120, 3)) > 0).astype(float)
    best = SingleTaskClassifierCV(standardize=True, random_state=0).fit(X, Y)
    careful = clone(best).set_params(one_standard_error=True).fit(X, Y)
    table = best.cv_results_
    leader = table.loc[table["mean"].idxmax()]
    close = table[table["mean"] >= leader["mean"] - leader["standard_error"]]
    assert close["own_strength"].max() > leader["own_strength"]  # the folds do not agree so well
    ratio = careful.report_["own_strength"] / best.report_["own_strength"]
    np.testing.assert_allclose(ratio, close["own_strength"].max() / leader["own_strength"])


def test_weights_that_overflow_are_no_start():
    """Features near the end of float32's range: a sentence, and not of the linear algebra's."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    Y = (X @ rng.normal(size=(5, 3)) > 0).astype(float)
    model = SharedPlusOwnClassifierCV(cv=2, random_state=0, standardize=False)
    with pytest.raises(ValueError, match="overflow or vanish in float32"):
        model.fit((1e-44 * X).astype(np.float32), Y)


@pytest.mark.parametrize(
    ("kind", "fallback"),
    [
        (SharedPlusOwnClassifierCV, True),
        (SharedPlusOwnClassifierCV, False),
        (LatentMTLClassifierCV, False),
    ],
)
def test_the_single_task_model_beside_is_that_of_its_own_estimator(kind, fallback):
    rng = np.random.default_rng(1)
    X, directions = rng.normal(size=(120, 8)), rng.normal(size=(8, 1))
    Y = (X @ directions @ rng.normal(size=(1, 10)) + rng.normal(size=(120, 10)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.75] = np.nan
    options = {"cv": 2, "random_state": 0, "tol": 1e-5, "threshold": "f1"}
    model = kind(fallback=fallback, keep_single_task=True, **options).fit(X, Y)
    plain = kind(fallback=fallback, **options).fit(X, Y)
    assert model.sharing_.any()
    assert model.sharing_.all() or fallback
    np.testing.assert_array_equal(model.decision_function(X), plain.decision_function(X))
    assert [each.passes for each in model.results_] == [each.passes for each in plain.results_]
    assert not hasattr(plain, "single_task_")
    alone, own = model.single_task_, SingleTaskClassifierCV(**options).fit(X, Y)
    assert not alone.sharing_.any()
    np.testing.assert_allclose(alone.predict_proba(X), own.predict_proba(X), atol=5e-3)
    np.testing.assert_allclose(alone.thresholds_, own.thresholds_, atol=5e-3)
    np.testing.assert_array_equal(alone.report_["score"], own.report_["score"])
    # its result is that of its own solve, and its report has the columns of its class
    assert alone.result_ is not model.result_
    assert alone.results_ == [alone.result_]
    assert float(alone.result_.certificate.objective) == pytest.approx(
        float(own.result_.certificate.objective), rel=1e-4
    )
    assert list(alone.report_) == list(model.report_)
    np.testing.assert_array_equal(alone.report_["shared_strength"], np.inf)
    np.testing.assert_array_equal(alone.report_["own_strength"], own.report_["own_strength"])
    assert (np.abs(alone.predict_proba(X) - model.predict_proba(X)) > 0.02).any()


def test_the_single_task_model_beside_is_that_of_the_last_fit():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(60, 4))
    Y = (X @ rng.normal(size=(4, 3)) + rng.normal(size=(60, 3)) > 0).astype(float)
    model = SharedPlusOwnClassifierCV(cv=2, random_state=0, keep_single_task=True)
    first = model.fit(X, Y).single_task_
    second = model.fit(X, 1 - Y).single_task_
    for alone, labels in ((first, Y), (second, 1 - Y)):
        assert (alone.predict(X) == labels).mean() > 0.7
    assert not hasattr(second, "single_task_")  # nor one of each fit before
    model.set_params(keep_single_task=False).fit(X, Y)
    assert not hasattr(model, "single_task_")
