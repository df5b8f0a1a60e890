"""Sparse matrices of labels: of known pairs, and indicators, in estimators."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone

from proxmtl import LassoClassifier, LatentMTLClassifier, machine
from proxmtl.estimators import (
    GroupLassoClassifier,
    L21Classifier,
    LatentMTLClassifierCV,
    LatentMTLRegressor,
    SharedPlusOwnClassifier,
    SharedPlusOwnClassifierCV,
    SharedPlusOwnRegressor,
    SingleTaskClassifier,
    SingleTaskClassifierCV,
    SingleTaskRegressor,
    SingleTaskRegressorCV,
)
from proxmtl.io import open_shards
from proxmtl.regularizers import UnsupportedError

N, M, D = 120, 6, 5


def table(real=False):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) + 0.5
    Z = X @ rng.standard_normal((D, M)) + rng.standard_normal((N, M))
    Z = Z if real else np.sign(Z - np.median(Z, axis=0) + 1e-9)
    Z[rng.random((N, M)) < 0.4] = np.nan
    weights = rng.random(N)
    weights[:9] = 0
    return X, Z, weights


def rounding(size):
    """Of a sum over all labels, with some operations a label."""
    return 8 * N * M * np.finfo(np.float64).eps * abs(size)


def stored(Y):
    rows, tasks = np.nonzero(~np.isnan(Y))
    return sparse.csr_matrix((Y[rows, tasks], (rows, tasks)), shape=Y.shape)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "model",
    [
        LassoClassifier(strength=0.02),
        L21Classifier(strength=0.02),
        GroupLassoClassifier(groups=[[0, 1, 2], [3, 4, 5]], strength=0.02),
        SharedPlusOwnClassifier(class_weight="balanced"),
        SharedPlusOwnRegressor(),
        LatentMTLClassifier(),
        LatentMTLRegressor(),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_known_pairs_are_dense_labels_with_nan(model, weighted):
    X, Y, weights = table(real=type(model).__name__.endswith("Regressor"))
    weights = weights if weighted else None
    one = model.fit(X, Y, weights).result_.certificate
    found = model.fit(X, stored(Y), weights)
    other = found.result_.certificate
    # convex models within their gaps, the others within their relative accuracy
    apart = model.tol * one.objective if one.gap is None else one.gap + other.gap
    assert abs(other.objective - one.objective) <= apart + rounding(one.objective)
    score = found.score(X, Y, weights)
    assert found.score(X, stored(Y), weights) == pytest.approx(score, abs=rounding(1.0))


@pytest.mark.parametrize("kind", [SingleTaskClassifier, SingleTaskRegressor])
def test_a_ridge_ends_within_its_gap(kind):
    X, Y, _ = table(real=kind is SingleTaskRegressor)
    model = kind(l2_strength=0.1, tol=1e-9)
    one = model.fit(X, Y).result_.certificate
    other = model.fit(X, stored(Y)).result_.certificate
    apart = one.gap + other.gap + rounding(one.objective)
    assert abs(other.objective - one.objective) <= apart


def test_an_indicator_stands_for_a_dense_matrix():
    X, Y, _ = table()
    yes = np.where(np.isnan(Y), 0, Y > 0)
    dense = LassoClassifier(strength=0.02).fit(X, yes)
    for indicator in (sparse.csc_matrix(yes), sparse.csr_array(yes.astype(bool))):
        model = LassoClassifier(strength=0.02).fit(X, indicator)
        np.testing.assert_array_equal(model.coef_, dense.coef_)
        assert model.score(X, indicator) == dense.score(X, yes)


def test_rows_in_files(tmp_path):
    X, Y, _ = table()
    for number in range(2):
        np.save(tmp_path / f"part-{number}.npy", X[60 * number : 60 * (number + 1)])
    rows = open_shards(tmp_path, memory=8 * D * N)
    found = LassoClassifier(strength=0.02, tol=1e-9).fit(rows, stored(Y))
    wanted = LassoClassifier(strength=0.02, tol=1e-9).fit(X, stored(Y))
    one, other = found.result_.certificate, wanted.result_.certificate
    apart = one.gap + other.gap + rounding(one.objective)
    assert abs(one.objective - other.objective) <= apart
    score = found.score(X, stored(Y))
    assert found.score(rows, stored(Y)) == pytest.approx(score, abs=rounding(1.0))


def test_what_is_not_clear_or_not_served_raises():
    X, Y, weights = table()
    pairs, model = stored(Y), LassoClassifier(strength=0.02)
    zeros = stored(np.where(Y < 0, 0, Y))
    with pytest.raises(ValueError, match=r"stores zeros.*eliminate_zeros"):
        model.fit(X, zeros)
    with pytest.raises(ValueError, match=r"stores \[-3.0, 3.0\]"):
        model.fit(X, 3 * pairs)
    beside = stored(np.where(Y < 0, np.nan, Y))
    beside.data[0] = np.nan
    with pytest.raises(ValueError, match="NaN beside 1 alone"):
        model.fit(X, beside)
    with pytest.raises(UnsupportedError, match="need dense features"):
        model.fit(sparse.csr_matrix(X), pairs)
    with pytest.raises(UnsupportedError, match="'auto' compares all labels"):
        GroupLassoClassifier(groups="auto", strength=0.1).fit(X, pairs)
    with pytest.raises(ValueError, match="one weight a sample"):
        model.fit(X, pairs, np.ones(Y.shape))
    lone = Y.copy()
    lone[:, 2] = 1
    with pytest.raises(ValueError, match=r"one class only for 1 of 6 attributes \(column 2\)"):
        model.fit(X, stored(lone))
    fitted = model.fit(X, pairs, weights)
    with pytest.raises(ValueError, match="y has shape"):
        fitted.score(X, pairs[:, :4])


def test_pairs_are_scored_at_the_thresholds_of_the_model():
    X, Y, _ = table()
    model = SharedPlusOwnClassifierCV(threshold=0.99).fit(X, Y)
    score = model.score(X, Y)
    assert model.score(X, stored(Y)) == pytest.approx(score, abs=rounding(1.0))


@pytest.mark.parametrize(
    "model",
    [
        SingleTaskClassifierCV(cv=3, random_state=0, class_weight="balanced"),
        SharedPlusOwnClassifierCV(cv=3, random_state=0),
        LatentMTLClassifierCV(cv=3, random_state=0, max_passes=40),
        SingleTaskRegressorCV(cv=3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_searches_take_pairs_as_a_table(model, monkeypatch):
    X, Y, weights = table()
    found = clone(model).fit(X, stored(Y), weights)
    wanted = clone(model).fit(X, Y, weights)
    np.testing.assert_array_equal(found.coef_, wanted.coef_)
    assert found.score(X, stored(Y)) == pytest.approx(wanted.score(X, stored(Y)), abs=rounding(1.0))
    monkeypatch.setattr(machine, "available_memory", lambda: 119 * Y.size)
    with pytest.raises(ValueError, match=r"labels of 120 x 6, which a cross-validation takes as"):
        clone(model).fit(X, stored(Y))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_searches_take_with_pairs_what_they_take_with_tables():
    X, Y, _ = table()
    weights = np.random.default_rng(1).random(Y.shape)
    model = SingleTaskClassifierCV(cv=3, random_state=0)
    for features, own in ((sparse.csr_matrix(X), None), (X, weights)):
        found = clone(model).fit(features, stored(Y), own)
        np.testing.assert_array_equal(found.coef_, clone(model).fit(features, Y, own).coef_)
    grouped = LatentMTLClassifierCV(groups="auto", cv=3, random_state=0, max_passes=20)
    assert grouped.fit(X, stored(Y)).coef_.shape == (M, D)
