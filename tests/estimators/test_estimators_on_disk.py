"""Fitted estimators come back from disk and do what they did."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from documents_cases import ODD, places
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from proxmtl.cli.run import summary_lines
from proxmtl.estimators import (
    GOMTLClassifier,
    GroupLassoClassifier,
    LatentMTLClassifier,
    LatentMTLClassifierCV,
    RidgeMTLClassifier,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifier,
    load_model,
    save_model,
)
from proxmtl.io import InputError, seal_folder

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
    "own parts": LatentMTLClassifier(own_strength=0.01, max_passes=60),
    "no own parts": LatentMTLClassifier(own_strength=np.inf, max_passes=60),
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
    with pytest.raises(TypeError, match="got a Pipeline; save its last step"):
        save_model(tmp_path, make_pipeline(SingleTaskClassifier()))
    with pytest.raises(TypeError, match="call save_model\\(folder, estimator\\)"):
        save_model(SingleTaskClassifier(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_descriptions_that_do_not_fit_are_refused(tmp_path, data):
    save_model(tmp_path, SingleTaskClassifier().fit(*data))
    path = tmp_path / "model.json"
    document = json.loads(path.read_text())
    document["description"]["label_names"] = ["u"]
    path.write_text(json.dumps(document))
    seal_folder(tmp_path)
    with pytest.raises(InputError, match=r"label_names: \['u'\], and a list of 3 is needed"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["latent", "single"])
def test_wrong_types_anywhere_are_refused_or_harmless(tmp_path, data, name):
    """A model that is read is of use: it predicts, and says what it is."""
    X = data[0].to_numpy()
    save_model(tmp_path, MODELS[name].fit(X, data[1]))
    path = tmp_path / "model.json"
    whole = json.loads(path.read_text())
    refused, odd_ones = 0, itertools.cycle(ODD)
    for place in places(whole):
        for odd in itertools.islice(odd_ones, 3):
            document = json.loads(json.dumps(whole))
            inner = document
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = odd
            path.write_text(json.dumps(document))
            seal_folder(tmp_path)
            try:
                model = load_model(tmp_path)
            except InputError:
                refused += 1
                continue
            assert model.decision_function(X).shape == (60, 3)
            assert model.predict(X).shape == (60, 3)
            summary_lines(model.fit_report_)
            assert len(model.label_names_ or "uvw") == 3
    assert refused > 100


@pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
@pytest.mark.parametrize("kind", [SharedPlusOwnClassifierCV, LatentMTLClassifierCV])
def test_what_a_search_found_comes_back(tmp_path, data, kind):
    """With attributes alone, whose strength of sharing is infinite, and no gain."""
    X, Y = data
    model = kind(cv=3, random_state=0).fit(X, Y)
    model.report_.loc["v", "gain"] = np.nan
    save_model(tmp_path, model)
    read = load_model(tmp_path)
    pd.testing.assert_frame_equal(read.report_, model.report_)
    np.testing.assert_array_equal(read.sharing_, model.sharing_)
    assert np.isinf(read.report_["shared_strength"]).any() == (~model.sharing_).any()


def test_a_strength_that_leaves_a_part_out_comes_back(tmp_path, data):
    model = LatentMTLClassifier(own_strength=np.inf).fit(*data)
    save_model(tmp_path, model)
    assert load_model(tmp_path).get_params() == model.get_params()
