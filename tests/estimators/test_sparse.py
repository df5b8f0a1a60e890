"""Sparse features in every estimator: the model of dense ones, without ever making them dense."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from arithmetic import gamma
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

import proxmtl as pm
from proxmtl.estimators import load_model, paths, save_model
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.samples import Samples
from proxmtl.regularizers import UnsupportedError
from proxmtl.solvers import span_descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
N, D, M = 150, 12, 4
X = RNG.normal(size=(N, D)) * (RNG.random((N, D)) < 0.4) + 0.0
X[:, 3] = 2.5  # constant, and stored
X[:, 4] = 0.0
X[:, 5] *= 50
SCALES = np.where(np.arange(D) == 5, 50, 1)
Z = X / SCALES @ RNG.normal(size=(D, 2)) @ RNG.normal(size=(2, M))
Y = (Z + 0.5 * RNG.normal(size=Z.shape) > np.median(Z, axis=0)).astype(float)
Y[RNG.random(Y.shape) < 0.2] = np.nan
WEIGHTS = RNG.random(N)
WEIGHTS[:5] = 0

CONVEX = [
    pm.SingleTaskClassifier(tol=1e-14, max_passes=20000),
    pm.LassoClassifier(tol=1e-14, max_passes=20000),
    pm.L21Classifier(tol=1e-14, max_passes=20000),
    pm.RidgeMTLClassifier(tol=1e-14, max_passes=20000),
    pm.GroupLassoClassifier(groups=[[0, 1], [2, 3]], tol=1e-14, max_passes=20000),
    pm.SharedPlusOwnClassifier(tol=1e-14, max_passes=20000),
]
LATENT = [
    # "auto" goes on by Gram matrices of dense features, to another local minimum
    pm.LatentMTLClassifier(tol=1e-6, max_passes=5000, own_strength=1e-2, algorithm="palm"),
    pm.GOMTLClassifier(n_latents=2, tol=1e-5, max_passes=5000),
]
CHOOSING = [
    pm.SingleTaskClassifierCV(cv=3, random_state=0, tol=1e-10),
    pm.SharedPlusOwnClassifierCV(cv=3, random_state=0, tol=1e-10),
    pm.LatentMTLClassifierCV(cv=3, random_state=0),
]
ALL = CONVEX + LATENT + CHOOSING


def test_sparse_weights_are_an_error_that_says_what_to_give():
    X, y = np.eye(4), np.array([0, 1, 0, 1])
    weights = sparse.csr_array(np.ones((1, 4)))
    for call in (
        lambda: pm.SingleTaskClassifier().fit(X, y, sample_weight=weights),
        lambda: pm.SingleTaskClassifier().fit(X, y).score(X, y, sample_weight=weights),
    ):
        with pytest.raises(TypeError, match=r"sample_weight is a sparse matrix; .*toarray\(\)"):
            call()


def named(estimator):
    return type(estimator).__name__


@pytest.fixture(autouse=True)
def never_dense(monkeypatch):
    """No sparse matrix of more than a row becomes dense."""
    for kind in (sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        original = kind.toarray

        def toarray(self, *args, original=original, **options):
            assert self.shape[0] <= 1, "a sparse matrix was made dense"
            return original(self, *args, **options)

        monkeypatch.setattr(kind, "toarray", toarray)
    monkeypatch.setattr(torch.Tensor, "to_dense", None)


@pytest.mark.parametrize(
    ("weights", "fit_intercept"),
    [(None, True), (WEIGHTS, False)],
    ids=["plain", "weighted, no intercept"],
)
@pytest.mark.parametrize("estimator", CONVEX + LATENT, ids=named)
def test_the_model_is_that_of_dense_features(estimator, fit_intercept, weights):
    dense = clone(estimator).set_params(fit_intercept=fit_intercept).fit(X, Y, weights)
    found = clone(dense).fit(sparse.csr_array(X), Y, weights)
    # a gap of 1e-14 leaves the square root of it in the coefficients, where the loss is flat more
    size = np.abs(dense.coef_ * dense.scale_).max()
    np.testing.assert_allclose(
        found.coef_ * dense.scale_, dense.coef_ * dense.scale_, atol=1e-4 * size
    )
    np.testing.assert_allclose(found.intercept_, dense.intercept_, atol=1e-3 * size)
    np.testing.assert_allclose(found.mean_, dense.mean_, rtol=1e-12)
    np.testing.assert_allclose(found.scale_, dense.scale_, rtol=1e-12)
    values = dense.decision_function(X)
    np.testing.assert_allclose(
        found.decision_function(sparse.csc_matrix(X)), values, atol=1e-3 * np.abs(values).max()
    )


@pytest.mark.parametrize(
    "estimator", [pm.SingleTaskClassifier(tol=1e-12), pm.LassoClassifier(tol=1e-12)]
)
def test_without_standardisation_too(estimator):
    estimator = clone(estimator).set_params(standardize=False)
    plain = X / SCALES
    dense = clone(estimator).fit(plain, Y)
    found = clone(estimator).fit(sparse.csr_matrix(plain), Y)
    np.testing.assert_allclose(found.coef_, dense.coef_, atol=1e-4 * np.abs(dense.coef_).max())


@pytest.mark.parametrize("estimator", CHOOSING, ids=named)
def test_what_is_chosen_is_chosen_of_dense_features_too(estimator, monkeypatch):
    # a search ends its descents early, and with other solvers elsewhere: here it does not
    exact = partial(span_descent.descended, most=2000, tolerance=1e-9)
    monkeypatch.setattr(paths, "descended", exact)
    labels = (Z + 2 * np.random.default_rng(1).normal(size=Z.shape) > 0).astype(int)
    dense = clone(estimator).fit(X, labels)
    found = clone(estimator).fit(sparse.csr_array(X), labels)
    pd.testing.assert_frame_equal(found.report_, dense.report_, rtol=2e-2, atol=2e-2)
    np.testing.assert_allclose(
        found.cv_results_["mean"], dense.cv_results_["mean"], rtol=1e-2, atol=1e-2
    )
    np.testing.assert_allclose(
        found.predict_proba(sparse.csr_array(X)), dense.predict_proba(X), atol=5e-2
    )


def test_constant_features_have_no_weight():
    model = pm.LassoClassifier(strength=1e-6, loss="squared").fit(sparse.csr_array(X), Y)
    assert not model.coef_[:, [3, 4]].any()
    assert np.abs(model.coef_[:, [0, 1, 2]]).min() > 0


@pytest.mark.parametrize(
    "make",
    [
        sparse.csr_array,
        sparse.csr_matrix,
        sparse.csc_array,
        sparse.csc_matrix,
        sparse.coo_array,
        sparse.coo_matrix,
        lambda X: sparse.csr_array(X).astype(np.float32),
        lambda X: pd.DataFrame.sparse.from_spmatrix(sparse.csr_array(X)),
    ],
    ids=["csr", "csr matrix", "csc", "csc matrix", "coo", "coo matrix", "float32", "frame"],
)
def test_every_form_is_read(make):
    expected = pm.SingleTaskClassifier().fit(sparse.csr_array(X), Y)
    given = make(X)
    model = pm.SingleTaskClassifier().fit(given, Y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        model.decision_function(given), expected.decision_function(X), rtol=1e-3, atol=1e-4
    )


def test_an_entry_that_is_stored_twice_counts_as_the_sum():
    once = sparse.coo_array(X)
    places = (np.tile(once.row, 2), np.tile(once.col, 2))
    twice = sparse.csr_array(sparse.coo_array((np.tile(once.data / 2, 2), places), shape=X.shape))
    halves = sparse.csr_array(
        (np.repeat(twice.data / 2, 2), np.repeat(twice.indices, 2), 2 * twice.indptr), shape=X.shape
    )
    kept = halves.data.copy()
    expected = pm.SingleTaskClassifier().fit(sparse.csr_array(X), Y)
    model = pm.SingleTaskClassifier().fit(halves, Y)
    np.testing.assert_array_equal(halves.data, kept)  # the user's own matrix is as it was
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9, atol=1e-12)


def test_partial_fit_keeps_the_standardisation_of_the_first_set():
    options = {"max_passes": 5000, "tol": 1e-5, "n_latents": 2}
    dense = pm.LatentMTLClassifier(**options).fit(X[:100], Y[:100]).partial_fit(X[50:], Y[50:])
    found = pm.LatentMTLClassifier(**options).fit(sparse.csr_array(X[:100]), Y[:100])
    found.partial_fit(sparse.csr_array(X[50:]), Y[50:])
    np.testing.assert_array_equal(found.mean_.shape, dense.mean_.shape)
    values = dense.decision_function(X)
    np.testing.assert_allclose(
        found.decision_function(sparse.csr_array(X)), values, atol=1e-3 * np.abs(values).max()
    )


@pytest.mark.parametrize(
    "estimator", [pm.SingleTaskClassifier(), pm.LatentMTLClassifier(max_passes=50)]
)
def test_search_copies_and_files(tmp_path, estimator):
    features = sparse.csr_array(X)
    name = "l2_strength" if hasattr(estimator, "l2_strength") else "group_strength"
    full = np.nan_to_num(Y)
    search = GridSearchCV(
        clone(estimator), {name: [1e-3, 1e-2]}, cv=KFold(2), error_score="raise"
    ).fit(features, full)
    best = search.best_estimator_
    values = best.decision_function(features)
    again = pickle.loads(pickle.dumps(best))
    np.testing.assert_array_equal(again.decision_function(features), values)
    save_model(tmp_path / "model", best)
    np.testing.assert_array_equal(
        load_model(tmp_path / "model").decision_function(features), values
    )
    assert best.score(features, full) == np.mean((values > 0) == full)


@pytest.mark.parametrize(
    "estimator",
    [pm.SingleTaskClassifier(), pm.LassoClassifier(strength=0.05), pm.SharedPlusOwnClassifier()],
    ids=named,
)
def test_many_features_take_the_memory_of_their_entries(estimator):
    n, d = 2000, 200_000  # 3 GiB where dense
    places = np.repeat(np.arange(n), 10), RNG.integers(0, d, 10 * n)
    wide = sparse.csr_array((RNG.random(10 * n), places), shape=(n, d))
    labels = (wide @ RNG.normal(size=(d, 2)) > 0).astype(int)
    model = clone(estimator).set_params(max_passes=50, tol=1e-2).fit(wide, labels)
    assert model.score(wide, labels) > 0.4
    assert model.decision_function(wide).shape == (n, 2)


def test_the_dense_way_is_an_error():
    with pytest.raises(UnsupportedError, match="GramNewton needs dense features"):
        pm.LatentMTLClassifier(algorithm="gram").fit(sparse.csr_array(X), Y)


def test_bad_sparse_features():
    bad = sparse.csr_array(X)
    bad.data[3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        pm.SingleTaskClassifier().fit(bad, Y)
    model = pm.SingleTaskClassifier().fit(sparse.csr_array(X), Y)
    with pytest.raises(ValueError, match=r"X has 11 features, but .* expecting 12"):
        model.decision_function(sparse.csr_array(X[:, :-1]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        pm.SingleTaskClassifier().fit(sparse.csr_array(X[:-1]), Y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardised_rows_are_those_of_dense_ones(dtype):
    dense, rows = Samples(X.astype(dtype)), np.array([7, 3, 3, 90])
    thin = Samples(sparse.csr_array(X.astype(dtype)))
    moments = dense.moments(WEIGHTS)
    for found, expected in zip(thin.moments(WEIGHTS), moments, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    coef, bias = RNG.normal(size=(D, M)).astype(dtype), RNG.normal(size=M).astype(dtype)
    # the terms of a score: features and means over scales, each rounded, times weights; a bias
    sizes = (np.abs(X) + np.abs(moments.mean)) / moments.scale @ np.abs(coef) + np.abs(bias)
    allowed = 2 * gamma(2 * D + 4, torch.from_numpy(coef).dtype) * sizes
    found = thin.rows(rows).standardized(moments).scores(coef, bias)
    expected = dense.standardized(moments).scores(coef, bias)
    assert (np.abs(found - expected[rows]) <= allowed[rows]).all()
    posed = thin.standardized(moments).posed(
        EncodedLabels(np.sign(Z)), intercept=True, reduction="mean"
    )
    W = torch.from_numpy(np.vstack([coef, bias])).to(posed.design.dtype)
    assert (np.abs(posed.design.scores(W).numpy() - expected) <= allowed).all()
