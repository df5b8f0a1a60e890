"""Fitted estimators come back from disk and do what they did."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from proxmtl.estimators import (
    GOMTLClassifier,
    GroupLassoClassifier,
    LatentMTLClassifier,
    RidgeMTLClassifier,
    SingleTaskClassifier,
)
from proxmtl.io import InputError, load_model, save_model, seal_folder


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((60, 5)), columns=list("abcde"))
    Y = pd.DataFrame(
        (X.to_numpy() @ rng.standard_normal((5, 3)) > 0) * 2.0 - 1, columns=list("uvw")
    )
    Y.iloc[3, 1] = np.nan
    return X, Y


MODELS = {
    "latent": LatentMTLClassifier(groups={"g": ["u", "w"]}, max_passes=60),
    "weighted": LatentMTLClassifier(class_weight={-1: 1.0, 1: 2.0}, max_passes=60),
    "decorrelated": GroupLassoClassifier(groups={"g": ["u", "w"]}, strength=0.05),
    "ridge": RidgeMTLClassifier(loss="huber"),
    "go-mtl": GOMTLClassifier(n_latents=2, max_passes=60),
    "single": SingleTaskClassifier(class_weight="balanced", reduction="mean"),
}


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path, data, name):
    X, Y = data
    model = MODELS[name].fit(X, Y)
    save_model(tmp_path, model)
    read = load_model(tmp_path)
    assert type(read) is type(model)
    np.testing.assert_array_equal(read.decision_function(X), model.decision_function(X))
    np.testing.assert_array_equal(read.predict(X), model.predict(X))
    assert set(np.unique(read.predict(X))) == {-1, 1}
    assert read.label_names_ == ["u", "v", "w"]
    assert list(read.feature_names_in_) == list("abcde")
    assert read.fit_report_["status"] == model.result_.status.name
    save_model(tmp_path, read)  # saving what was read changes nothing
    again = load_model(tmp_path)
    np.testing.assert_array_equal(again.coef_, model.coef_)
    assert again.fit_report_ == read.fit_report_


def test_a_read_model_can_be_fitted_further_and_anew(tmp_path, data):
    X, Y = data
    model = LatentMTLClassifier(groups={"g": ["u", "w"]}, max_passes=60).fit(X, Y)
    save_model(tmp_path, model)
    read = load_model(tmp_path)
    assert [read.groups_.members(g) for g in range(2)] == [[0, 2], [1]]
    np.testing.assert_allclose(
        read.partial_fit(X, Y).coef_, model.partial_fit(X, Y).coef_, rtol=1e-6, atol=1e-9
    )
    afresh = load_model(tmp_path).fit(X, Y)
    model.fit(X, Y)
    np.testing.assert_array_equal(afresh.coef_, model.coef_)


def test_what_is_not_fitted_is_not_saved(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(tmp_path, SingleTaskClassifier())
    assert not list(tmp_path.iterdir())


def test_descriptions_that_do_not_fit_are_refused(tmp_path, data):
    save_model(tmp_path, SingleTaskClassifier().fit(*data))
    path = tmp_path / "model.json"
    document = json.loads(path.read_text())
    document["description"]["label_names"] = ["u"]
    path.write_text(json.dumps(document))
    seal_folder(tmp_path)
    with pytest.raises(InputError, match=r"1 label names for 3 attributes"):
        load_model(tmp_path)
