"""Metadata routing: what scikit-learn's tools pass on to the estimators, and that it arrives."""

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

import proxmtl.estimators
from proxmtl.estimators import SingleTaskClassifier, SingleTaskRegressor
from proxmtl.estimators.base import LinearModel
from proxmtl.io import Checkpoint

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
VALUES = X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(60, 3))
Y = (VALUES > 0).astype(int)
WEIGHTS = {"rows": RNG.uniform(0.1, 3, 60), "labels": RNG.uniform(0.1, 3, (60, 3))}
KINDS = [
    kind
    for kind in vars(proxmtl.estimators).values()
    if isinstance(kind, type) and issubclass(kind, LinearModel)
]


@pytest.fixture(autouse=True)
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_all_arguments_of_fit_can_be_requested(kind):
    model = kind().set_fit_request(sample_weight=True, callback=True, checkpoint=False)
    model.set_score_request(sample_weight=True)
    requests = clone(model).get_metadata_routing()
    assert requests.consumes("fit", ["sample_weight", "callback", "checkpoint"]) == {
        "sample_weight",
        "callback",
    }
    assert requests.consumes("score", ["sample_weight"]) == {"sample_weight"}


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize("model", [SingleTaskClassifier(), SingleTaskRegressor()])
def test_weights_reach_the_model_in_a_pipeline(model, weights):
    labels = Y if isinstance(model, SingleTaskClassifier) else VALUES
    asking = clone(model).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
    pipeline = make_pipeline(MaxAbsScaler(), asking).fit(X, labels, sample_weight=weights)
    scaled = MaxAbsScaler().fit_transform(X)
    alone = clone(model).fit(scaled, labels, weights)
    np.testing.assert_array_equal(pipeline[-1].coef_, alone.coef_)
    assert not np.array_equal(alone.coef_, clone(model).fit(scaled, labels).coef_)
    score = pipeline.score(X, labels, sample_weight=weights)
    assert score == alone.score(scaled, labels, weights)
    assert score != alone.score(scaled, labels)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_searches_give_each_fold_its_weights(weights):
    model = SingleTaskClassifier().set_fit_request(sample_weight=True, callback=True)
    model.set_score_request(sample_weight=True)
    reports = []
    search = GridSearchCV(model, {}, cv=KFold(3), error_score="raise")
    search.fit(X, Y, sample_weight=weights, callback=reports.append)
    for number, (train, test) in enumerate(KFold(3).split(X)):
        fold = SingleTaskClassifier().fit(X[train], Y[train], weights[train])
        wanted = fold.score(X[test], Y[test], weights[test])
        assert search.cv_results_[f"split{number}_test_score"] == pytest.approx([wanted])
    whole = SingleTaskClassifier().fit(X, Y, weights)
    np.testing.assert_array_equal(search.best_estimator_.coef_, whole.coef_)
    assert {"iteration", "passes", "objective"} <= set(dir(reports[0]))


def test_weights_that_nobody_asked_for_raise():
    with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
        cross_validate(
            SingleTaskClassifier(), X, Y, cv=KFold(3), params={"sample_weight": WEIGHTS["rows"]}
        )


def test_a_checkpoint_is_passed_on(tmp_path):
    model = SingleTaskClassifier().set_fit_request(checkpoint=True)
    pipeline = make_pipeline(MaxAbsScaler(), model)
    pipeline.fit(X, Y, checkpoint=Checkpoint(tmp_path / "kept", seconds=0))
    assert any((tmp_path / "kept").rglob("*.pt"))
