"""scikit-learn's conventions for several labels: what its tools make of the estimators."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier

from proxmtl.estimators import LassoClassifier, LatentMTLClassifier, SingleTaskClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
Y = (X @ RNG.normal(size=(5, 4)) + RNG.normal(size=(60, 4)) > 0).astype(int)
MODELS = [SingleTaskClassifier(), LassoClassifier(), LatentMTLClassifier(tol=1e-1, max_passes=20)]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("n_attributes", [2, 3])
@pytest.mark.parametrize("method", ["decision_function", "predict"])
def test_predictions_of_cross_validation(model, n_attributes, method):
    labels = Y[:, :n_attributes]
    seen = cross_val_predict(model, X, labels, method=method, cv=KFold(3))
    assert seen.shape == cross_val_predict(RidgeClassifier(), X, labels, method=method).shape
    for train, test in KFold(3).split(X):
        fold = clone(model).fit(X[train], labels[train])
        np.testing.assert_array_equal(seen[test], getattr(fold, method)(X[test]))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("labels", [Y[:, 0], np.where(Y[:, 0] > 0, "yes", "no")])
def test_predictions_of_one_attribute(model, labels):
    scores = cross_val_predict(model, X, labels, method="decision_function", cv=KFold(3))
    assert scores.shape == (60,)
    predicted = cross_val_predict(model, X, labels, cv=KFold(3))
    np.testing.assert_array_equal(predicted == max(labels), scores > 0)


@pytest.mark.parametrize("shape", [(60, 2), (60, 3), (60, 1), (60,)])
def test_classes(shape):
    labels = Y.ravel()[: np.prod(shape)].reshape(shape)
    model = SingleTaskClassifier().fit(X, labels)
    wanted = RidgeClassifier().fit(X, labels).classes_ if shape != (60, 1) else [0, 1]
    np.testing.assert_array_equal(model.classes_, wanted)
    np.testing.assert_array_equal(model.label_values_, [0, 1])


def test_label_values_are_those_of_the_labels():
    model = SingleTaskClassifier().fit(X, 2 * Y - 1)
    np.testing.assert_array_equal(model.label_values_, [-1, 1])
    np.testing.assert_array_equal(model.classes_, np.arange(4))
    assert set(np.unique(model.predict(X))) == {-1, 1}
    assert not hasattr(SingleTaskClassifier(), "classes_")


@pytest.mark.parametrize("n_attributes", [1, 2, 3])
@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision"])
def test_scorers_read_the_scores_the_right_way_round(scoring, n_attributes):
    labels, scorer = Y[:, :n_attributes], get_scorer(scoring)
    model = SingleTaskClassifier().fit(X, labels)
    wanted = scorer._score_func(labels, model.decision_function(X))
    assert scorer(model, X, labels) == pytest.approx(wanted)
    assert wanted > 0.6


def test_roc_auc_of_cross_validation():
    seen = cross_val_score(SingleTaskClassifier(), X, Y, scoring="roc_auc", cv=KFold(3))
    for (train, test), auc in zip(KFold(3).split(X), seen, strict=True):
        scores = SingleTaskClassifier().fit(X[train], Y[train]).decision_function(X[test])
        assert auc == pytest.approx(roc_auc_score(Y[test], scores))
    search = GridSearchCV(SingleTaskClassifier(), {"l2_strength": [1e-3, 1]}, scoring="roc_auc")
    assert np.isfinite(search.fit(X, Y).cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("wrapper", [MultiOutputClassifier, OneVsRestClassifier, ClassifierChain])
def test_wrappers_of_binary_classifiers(wrapper):
    wrapped = wrapper(SingleTaskClassifier(tol=1e-10)).fit(X, Y)
    predicted = wrapped.predict(X)
    assert predicted.shape == Y.shape
    if wrapper is not ClassifierChain:
        wanted = np.column_stack(
            [SingleTaskClassifier(tol=1e-10).fit(X, y).predict(X) for y in Y.T]
        )
        np.testing.assert_array_equal(predicted, wanted)


def test_frames_of_features_and_labels():
    frame = pd.DataFrame(X, columns=list("vwxyz"))
    labels = pd.DataFrame(Y, columns=list("abcd"))
    scores = cross_val_predict(
        SingleTaskClassifier(), frame, labels, method="decision_function", cv=KFold(3)
    )
    assert scores.shape == (60, 4)
