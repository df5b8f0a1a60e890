"""The estimators as scikit-learn sees them, and what they promise beyond it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

import proxmtl as pm
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.experiments import mean_ap
from proxmtl.groups import Groups

# budgets are short; those that say so are tests of their own
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CONVEX = [
    pm.SingleTaskClassifier(),
    pm.LassoClassifier(),
    pm.L21Classifier(),
    pm.RidgeMTLClassifier(),
    pm.GroupLassoClassifier(),
]
# what is promised holds on the way to a solution as well as there
LATENT = pm.LatentMTLClassifier(max_passes=50)
BOTH = [LATENT, pm.SingleTaskClassifier(), pm.GroupLassoClassifier()]
ALL = [LATENT, pm.GOMTLClassifier(max_passes=50), *CONVEX]


# Weights and copies of rows give one problem, but not one path: the solutions agree as far as they
# are solved, and this check compares eight digits. scikit-learn gives it to its solvers likewise.
PRECISE = {
    "LatentMTLClassifier": {"tol": 1e-8, "max_passes": 5000},
    "GOMTLClassifier": {"tol": 1e-9, "max_passes": 5000},
    **{type(e).__name__: {"tol": 1e-16, "max_passes": 3000} for e in CONVEX},
    "SingleTaskClassifier": {"tol": 1e-21, "max_passes": 3000},
}


SHORT = {"max_passes": 12}
"""Budget of the other checks: what they ask for holds on the way to a solution, too."""


# One check weighs the classes 1000 to 0.0001: W = 0 with an intercept is then the right answer, and
# saying so is right as well.
@pytest.mark.filterwarnings("ignore:(LatentMTL|GOMTL)Classifier. The model collapsed:UserWarning")
@pytest.mark.filterwarnings("ignore:(LatentMTL|GOMTL)Classifier. W = 0 is lower:UserWarning")
@parametrize_with_checks([clone(each).set_params(**SHORT) for each in ALL])
def test_scikit_learn_contract(estimator, check):
    if check.func.__name__.startswith("check_sample_weight_equivalence"):
        estimator = clone(estimator).set_params(**PRECISE[type(estimator).__name__])
    check(estimator)


def test_the_contract_includes_multilabel_checks():
    names = {check.func.__name__ for _, check in estimator_checks_generator(BOTH[0])}
    assert "check_classifier_multioutput" in names
    assert "check_sample_weight_equivalence_on_dense_data" in names
    assert "check_sample_weight_equivalence_on_sparse_data" in names
    assert "check_estimator_sparse_array" in names


@pytest.fixture(scope="module")
def data():
    X, Y = make_multilabel_classification(150, 12, n_classes=6, n_labels=3, random_state=0)
    return X - X.mean(axis=0), Y


def _with_missing(Y, rate=0.3):
    Y = Y.astype(float)
    Y[np.random.default_rng(1).random(Y.shape) < rate] = np.nan
    return Y


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_search_clone_pickle_pipeline(data, estimator):
    X, Y = data
    Y = _with_missing(Y)
    name = next(n for n in ("strength", "l2_strength", "group_strength") if hasattr(estimator, n))
    # Whole numbers of folds make scikit-learn look for the type of Y, which has NaN here.
    search = GridSearchCV(
        clone(estimator), {name: [1e-3, 1e-2]}, cv=KFold(2), scoring=mean_ap, error_score="raise"
    ).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(best)).decision_function(X), best.decision_function(X)
    )
    again = clone(best).fit(X, Y)
    np.testing.assert_array_equal(again.coef_, best.coef_)
    piped = make_pipeline(MinMaxScaler(), clone(estimator)).fit(X, Y)
    assert 0.5 < piped.score(X, Y) <= 1


@pytest.mark.parametrize("estimator", BOTH, ids=lambda e: type(e).__name__)
def test_standardisation_is_folded_back(data, estimator):
    X, Y = data
    model = clone(estimator).fit(X, Y)
    Z = (X - model.mean_) / model.scale_
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-12)
    plain = clone(estimator).set_params(standardize=False).fit(Z, Y)
    np.testing.assert_allclose(
        model.decision_function(X), plain.decision_function(Z), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize("estimator", BOTH, ids=lambda e: type(e).__name__)
def test_codings_agree_and_come_back(data, estimator):
    X, Y = data
    zero_one = clone(estimator).fit(X, Y)
    minus_one = clone(estimator).fit(X, 2 * Y - 1)
    np.testing.assert_array_equal(zero_one.coef_, minus_one.coef_)
    assert set(np.unique(zero_one.predict(X))) == {0, 1}
    assert set(np.unique(minus_one.predict(X))) == {-1, 1}
    assert zero_one.score(X, Y) == pytest.approx((zero_one.predict(X) == Y).mean(axis=0).mean())


@pytest.mark.parametrize("estimator", BOTH, ids=lambda e: type(e).__name__)
def test_a_missing_label_is_a_label_of_weight_zero(data, estimator):
    X, Y = data
    missing = _with_missing(Y)
    by_nan = clone(estimator).fit(X, missing)
    by_weight = clone(estimator).fit(X, Y, sample_weight=(~np.isnan(missing)).astype(float))
    np.testing.assert_allclose(by_weight.coef_, by_nan.coef_, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    "estimator", [*BOTH, pm.SharedPlusOwnClassifier()], ids=lambda e: type(e).__name__
)
def test_weights_of_missing_labels_have_no_effect(data, estimator):
    X, Y = data
    missing = _with_missing(Y)
    missing[7, 1:], missing[7, 0] = np.nan, Y[7, 0]
    rng = np.random.default_rng(2)
    weights = rng.uniform(0.5, 2, size=Y.shape)
    weights[rng.random(Y.shape) < 0.1] = 0
    weights[7, 0] = 0  # a row without a label that counts
    other = np.where(np.isnan(missing), rng.uniform(0, 9, size=Y.shape), weights)
    wanted = clone(estimator).fit(X, missing, sample_weight=weights)
    found = clone(estimator).fit(X, missing, sample_weight=other)
    np.testing.assert_array_equal(found.mean_, wanted.mean_)
    np.testing.assert_array_equal(found.coef_, wanted.coef_)
    hidden = np.where((weights == 0) & (np.arange(len(Y)) != 7)[:, None], np.nan, missing)
    left_out = clone(estimator).fit(X, hidden, sample_weight=other)
    np.testing.assert_array_equal(left_out.coef_, wanted.coef_)


def test_weights_of_one_are_none():
    numbers = np.array([[1.0, -1, np.nan], [np.nan] * 3, [-1, 1, 1]])
    ones = EncodedLabels(numbers, np.ones(numbers.shape))
    labels, rows = ones.weighted()
    np.testing.assert_array_equal(rows, range(3))
    np.testing.assert_array_equal(labels.numbers, numbers)
    np.testing.assert_array_equal(labels.weights, ones.weights)
    weights = np.array([[1.0, 3, 9], [2, 2, 2], [0, 4, 6]])
    labels, _ = EncodedLabels(numbers, weights).weighted()
    np.testing.assert_array_equal(labels.per_row(), [2, 2, 5])


@pytest.mark.parametrize("estimator", BOTH, ids=lambda e: type(e).__name__)
def test_float32_stays_float32(data, estimator):
    X, Y = data
    single = clone(estimator).fit(X.astype(np.float32), Y)
    double = clone(estimator).fit(X, Y)
    assert single.result_.certificate.solved_in == "float32"
    assert np.mean(single.predict(X) == double.predict(X)) > 0.98


def test_single_task_equals_liblinear(data):
    X, Y = data
    C = 0.5
    model = pm.SingleTaskClassifier(
        l2_strength=1 / (4 * C), reduction="sum", standardize=False, fit_intercept=False, tol=1e-12
    ).fit(X, Y)
    for task in range(Y.shape[1]):
        oracle = LinearSVC(C=C, fit_intercept=False, tol=1e-12, max_iter=200_000, dual=False)
        oracle.fit(X, Y[:, task])
        np.testing.assert_allclose(model.coef_[task], oracle.coef_[0], rtol=1e-4, atol=1e-6)


def test_single_task_certificate_bounds_the_error(data):
    X, Y = data
    rough = pm.SingleTaskClassifier(tol=1e-2).fit(X, Y).result_
    fine = pm.SingleTaskClassifier(tol=1e-12).fit(X, Y).result_
    assert rough.status.name == fine.status.name == "CONVERGED"
    error = rough.certificate.objective - fine.certificate.objective
    assert 0 <= error <= rough.certificate.gap


def test_single_task_says_when_the_budget_ran_out(data):
    X, Y = data
    with pytest.warns(ConvergenceWarning, match="Budget used up"):
        pm.SingleTaskClassifier(max_passes=2, tol=1e-12).fit(X, Y)


def test_latent_tasks_say_when_the_budget_ran_out(data):
    X, Y = data
    with pytest.warns(ConvergenceWarning, match="LatentMTLClassifier: Budget used up"):
        pm.LatentMTLClassifier(max_passes=25, tol=1e-12).fit(X, Y)


def test_latent_factors(data):
    X, Y = data
    groups = {"a": [0, 1, 2], "b": [3, 4]}
    model = pm.LatentMTLClassifier(groups=groups, group_strength=3e-3, n_latents=5).fit(X, Y)
    assert model.L_.shape == (12, 5)
    assert model.S_.shape == (5, 6)
    np.testing.assert_allclose(model.coef_, (model.L_ @ model.S_).T, atol=1e-12)
    np.testing.assert_allclose(model.L_ * model.scale_[:, None], model.result_.L.numpy())
    for columns in ([0, 1, 2], [3, 4]):
        block = model.S_[:, columns] != 0
        np.testing.assert_array_equal(block.all(axis=1), block.any(axis=1))
    assert [model.groups_.members(g) for g in range(3)] == [[0, 1, 2], [3, 4], [5]]


def test_groups_in_every_form_give_one_model(data):
    X, Y = data
    names = list("uvwxyz")
    frame = pd.DataFrame(Y, columns=names)
    by_name = {"a": ["u", "v", "w"], "b": ["x", "y", "z"]}
    lists = [[0, 1, 2], [3, 4, 5]]
    models = [
        pm.LatentMTLClassifier(groups=Groups.from_lists(lists), max_passes=20).fit(X, Y),
        pm.LatentMTLClassifier(groups=lists, max_passes=20).fit(X, Y),
        pm.LatentMTLClassifier(groups=by_name, label_names=names, max_passes=20).fit(X, Y),
        pm.LatentMTLClassifier(groups=by_name, max_passes=20).fit(X, frame),
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.coef_, models[0].coef_)
    assert models[3].label_names_ == names
    everyone = pm.LatentMTLClassifier(groups=None, max_passes=20).fit(X, Y)
    np.testing.assert_array_equal(
        everyone.coef_, pm.LatentMTLClassifier(groups=[range(6)], max_passes=20).fit(X, Y).coef_
    )


def test_partial_fit_goes_on_from_the_earlier_set(data):
    X, Y = data
    first, second = slice(0, 75), slice(75, 150)
    model = pm.LatentMTLClassifier(max_passes=100).fit(X[first], Y[first])
    moments, start = model.mean_, model.coef_
    went_on = clone(model).partial_fit(X[first], Y[first]).partial_fit(X[second], Y[second])
    np.testing.assert_array_equal(went_on.mean_, moments)
    afresh = pm.LatentMTLClassifier(max_passes=100).fit(X[second], Y[second])
    assert not np.allclose(went_on.coef_, start)
    # The start is the end of the first set: a few passes over the second set stay near it.
    near = clone(model).partial_fit(X[first], Y[first])
    near.set_params(max_passes=4).partial_fit(X[second], Y[second])
    assert np.linalg.norm(near.coef_ - start) < np.linalg.norm(afresh.coef_ - start)


@pytest.mark.parametrize("own", [np.inf, 0.01])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_partial_fit_starts_where_it_was(data, fit_intercept, own):
    """On features with means, which the standardisation takes out of the intercepts."""
    X, Y = data
    X = X + np.linspace(2, 5, X.shape[1]) * X.std(axis=0)
    model = pm.LatentMTLClassifier(
        max_passes=100, fit_intercept=fit_intercept, own_strength=own
    ).fit(X, Y)
    assert hasattr(model, "V_") == (own < np.inf)
    reached = model.result_.certificate.objective
    scores = model.decision_function(X)
    model.set_params(max_passes=1).partial_fit(X, Y)
    assert model.result_.certificate.objective <= reached * (1 + 1e-12)
    moved = np.abs(model.decision_function(X) - scores).max()
    assert moved < 0.1 * np.abs(scores).max()


def test_own_parts_come_and_go_with_their_strength(data):
    X, Y = data
    model = pm.LatentMTLClassifier(max_passes=60, shared_strength=0.1, own_strength=np.inf).fit(
        X, Y
    )
    model.set_params(own_strength=1.0).partial_fit(X, Y)
    np.testing.assert_allclose(model.coef_.T, model.L_ @ model.S_ + model.V_, rtol=1e-12)
    assert model.V_.any()
    assert 0 < model.result_.own_share < 1
    model.set_params(own_strength=np.inf).partial_fit(X, Y)
    assert not hasattr(model, "V_")
    np.testing.assert_allclose(model.coef_.T, model.L_ @ model.S_, rtol=1e-12)
    model.set_params(own_strength=1.0).fit(3 * X + 1, Y)  # on other units
    np.testing.assert_allclose(model.coef_.T, model.L_ @ model.S_ + model.V_, rtol=1e-12)


def test_partial_fit_knows_the_classes_it_is_told(data):
    X, Y = data
    y = np.where(Y[:, 0] > 0, "yes", "no")
    model = pm.LatentMTLClassifier(max_passes=20)
    told = clone(model).partial_fit(X, y, classes=["no", "yes"])
    np.testing.assert_array_equal(told.coef_, clone(model).partial_fit(X, y).coef_)
    with pytest.raises(ValueError, match="it has 3 classes"):
        clone(model).partial_fit(X, y, classes=["no", "maybe"])
    one = np.full(len(y), "no")
    with pytest.raises(ValueError, match="one class only"):
        clone(model).partial_fit(X, one, classes=["no", "yes"])


def test_partial_fit_of_other_data_is_refused(data):
    X, Y = data
    model = pm.LatentMTLClassifier(max_passes=20).partial_fit(X, Y)
    with pytest.raises(ValueError, match="5 columns, and this model was fitted on 6"):
        model.partial_fit(X, Y[:, :5])
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3], Y)


def test_collapse_is_reported(data):
    X, Y = data
    with pytest.warns(UserWarning, match="collapsed to W = 0"):
        model = pm.LatentMTLClassifier(group_strength=100.0).fit(X, Y)
    assert not model.coef_.any()


BAD_PARAMETERS = {
    "group_strength": (pm.LatentMTLClassifier(group_strength=0.0), "group_strength"),
    "negative l1": (pm.LatentMTLClassifier(l1_strength=-1.0), "l1_strength"),
    "free L": (pm.LatentMTLClassifier(l1_strength=0.0, frobenius_strength=0.0), "strength"),
    "algorithm": (pm.LatentMTLClassifier(algorithm="magic"), "algorithm.*magic"),
    "init": (pm.LatentMTLClassifier(init="magic"), "init.*magic"),
    "reduction": (pm.LatentMTLClassifier(reduction="max"), "reduction.*max"),
    "n_latents": (pm.LatentMTLClassifier(n_latents=0), "n_latents"),
    "groups": (pm.LatentMTLClassifier(groups=[[0, 9]]), "9"),
    "class_weight": (pm.SingleTaskClassifier(class_weight="heavy"), "class_weight.*heavy"),
    "l2_strength": (pm.SingleTaskClassifier(l2_strength=0.0), "l2_strength: got 0.0"),
    "loss": (pm.SingleTaskClassifier(loss="absolute"), "loss: got 'absolute'"),
    "tol": (pm.SingleTaskClassifier(tol=-1.0), "tol: got -1.0; it must be >= 0"),
    "tol, latent": (pm.LatentMTLClassifier(tol=float("nan")), "tol: got nan"),
    "label_names": (pm.SingleTaskClassifier(label_names=["a"]), "1 names for the 6 columns"),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters_are_refused_by_name(data, case):
    estimator, message = BAD_PARAMETERS[case]
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(*data)


BAD_DATA = {
    "nan feature": (lambda X, Y: (np.where(X[3, 1] == X, np.nan, X), Y), "NaN"),
    "infinite feature": (lambda X, Y: (np.where(X[3, 1] == X, np.inf, X), Y), r"finite \(inf, "),
    "rows": (lambda X, Y: (X, Y[:-1]), r"\[150, 149\]"),
    "text": (lambda X, Y: (X.astype(str)[:, :1] + "x", Y), "could not convert"),
    "two values": (lambda X, Y: (X, 3 * Y), "labels of several attributes are 0/1"),
    "one class": (lambda X, Y: (X, np.minimum(Y, [1, 1, 1, 1, 1, 0])), r"column 5"),
}


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("estimator", BOTH, ids=lambda e: type(e).__name__)
def test_bad_data_are_refused(data, estimator, case):
    change, message = BAD_DATA[case]
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(*change(*data))


def test_scores_need_the_labels_of_the_fit(data):
    X, Y = data
    model = pm.SingleTaskClassifier().fit(X, Y)
    with pytest.raises(ValueError, match=r"shape \(150, 5\) and the predictions \(150, 6\)"):
        model.score(X, Y[:, :5])
    with pytest.raises(ValueError, match="no observed label with a weight"):
        model.score(X, np.full(Y.shape, np.nan))


BAD_WEIGHTS = {
    "negative": (lambda w: w - 2, "negative values, down to -1"),
    "not a number": (lambda w: np.where(np.arange(len(w)) == 3, np.nan, w), "not finite"),
    "zero": (lambda w: 0 * w, "zero for every sample"),
    "rows": (lambda w: w[:-1], r"shape \(149,\) and Y \(150, 6\)"),
    "columns": (lambda w: np.tile(w[:, None], 5), r"shape \(150, 5\) and Y \(150, 6\)"),
    "one column": (lambda w: w[:, None], r"shape \(150, 1\) and Y \(150, 6\)"),
    "a number": (lambda w: w[0], r"shape \(\) and Y \(150, 6\)"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
@pytest.mark.parametrize("kind", [pm.SingleTaskClassifier, pm.SingleTaskRegressor])
def test_weights_of_a_score_are_checked(data, kind, case):
    X, Y = data
    change, message = BAD_WEIGHTS[case]
    model = kind().fit(X, Y)
    with pytest.raises(ValueError, match=message):
        model.score(X, Y, sample_weight=change(np.ones(len(X))))
