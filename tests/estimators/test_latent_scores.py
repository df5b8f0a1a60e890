"""What attributes share, as features: ``transform`` and the decisions that are made of it."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from proxmtl import Groups, SharedPlusOwn
from proxmtl.estimators import (
    GOMTLClassifier,
    LatentMTLClassifier,
    LatentMTLClassifierCV,
    LatentMTLRegressor,
    LatentMTLRegressorCV,
    SharedPlusOwnClassifier,
    SharedPlusOwnClassifierCV,
    SharedPlusOwnRegressor,
    SharedPlusOwnRegressorCV,
    load_model,
    save_model,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BRIEF = {"max_passes": 80}
SMALL = {"cv": 3, "random_state": 0}
PART = {"fallback": False, "relevance": False}  # a shared part in any case
GROUPS = {"first": list(range(4)), "second": list(range(4, 8))}
TASKS = [
    LatentMTLClassifier(**BRIEF),
    LatentMTLClassifier(own_strength=0.01, standardize=False, **BRIEF),
    GOMTLClassifier(n_latents=3, fit_intercept=False, **BRIEF),
    LatentMTLClassifierCV(**PART, **SMALL),
    LatentMTLRegressor(**BRIEF),
    LatentMTLRegressorCV(fallback=False, **SMALL),
]
SHARED = [
    SharedPlusOwnClassifier(),
    SharedPlusOwnClassifier(groups=GROUPS, standardize=False),
    SharedPlusOwnClassifierCV(**PART, **SMALL),
    SharedPlusOwnRegressor(groups=GROUPS),
    SharedPlusOwnRegressorCV(fallback=False, **SMALL),
]
ALL = [*TASKS, *SHARED]


def named(model):
    return type(model).__name__


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 20)) * rng.uniform(0.5, 2, 20) + 1
    Z = X @ rng.normal(size=(20, 2)) @ rng.normal(size=(2, 8)) / 6
    Z += 0.3 * rng.normal(size=Z.shape)
    Y = np.where(rng.random(Z.shape) < 0.4, np.nan, 1.0) * Z
    Y[:2] = np.array([[-1.0], [1.0]])
    return X, Y


def labels_for(model, Y):
    real = named(model).endswith(("Regressor", "RegressorCV"))
    return 10 * Y + 3 if real else np.where(np.isnan(Y), np.nan, Y > 0)


def scores_of(model, X):
    return (model.predict if hasattr(model, "target_scale_") else model.decision_function)(X)


@pytest.mark.parametrize("model", ALL, ids=named)
def test_scores_are_made_of_latent_scores(model, data):
    X, Y = data
    model = clone(model).fit(X, labels_for(model, Y))
    latent = model.transform(X)
    if hasattr(model, "shared_loadings_"):
        loadings = model.shared_loadings_
        own = model.coef_ - model.shared_coef_
        factors = model.shared_directions_ @ loadings
        np.testing.assert_allclose(factors.T, model.shared_coef_, rtol=1e-9, atol=1e-12)
        assert latent.shape == (90, model.n_shared_)
    else:
        loadings = model.S_
        own = getattr(model, "V_", 0 * model.coef_.T).T
    assert latent.shape[1] > 0
    constant = model.intercept_ + model.coef_ @ model.mean_
    made = latent @ loadings + (X - model.mean_) @ own.T + constant
    np.testing.assert_allclose(made, scores_of(model, X), rtol=1e-6, atol=1e-8)
    if model.standardize:
        np.testing.assert_allclose(latent.mean(axis=0), 0, atol=1e-9 * np.abs(latent).max())


@pytest.mark.parametrize("model", ALL, ids=named)
def test_names_frames_and_files(model, data, tmp_path):
    X, Y = data
    frame = pd.DataFrame(X).add_prefix("x")
    model = clone(model).set_output(transform="pandas").fit(frame, labels_for(model, Y))
    latent = model.transform(frame)
    names = [f"{named(model).lower()}{k}" for k in range(latent.shape[1])]
    assert list(latent.columns) == list(model.get_feature_names_out()) == names
    save_model(tmp_path / "model", model)
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(frame), latent)


@pytest.mark.parametrize("model", ALL, ids=named)
def test_nothing_without_a_fit(model, data):
    with pytest.raises(NotFittedError):
        clone(model).transform(data[0])


def test_latent_scores_in_a_pipeline(data):
    X, Y = data
    y = (Y[:, 0] > 0).astype(float)
    piped = make_pipeline(SharedPlusOwnClassifier(), LogisticRegression()).fit(X, y)
    alone = SharedPlusOwnClassifier().fit(X, y)
    peer = LogisticRegression().fit(alone.transform(X), y)
    assert alone.n_shared_ == 1
    np.testing.assert_array_equal(piped.predict(X), peer.predict(alone.transform(X)))
    labels = np.where(np.isnan(Y), np.nan, Y > 0)
    both = SharedPlusOwnClassifier().fit_transform(X, labels)
    np.testing.assert_array_equal(both, SharedPlusOwnClassifier().fit(X, labels).transform(X))


@pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
def test_attributes_alone_have_no_latent_scores():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 5)), (rng.random((40, 3)) < 0.5).astype(float)
    for kind in (SharedPlusOwnClassifierCV, LatentMTLClassifierCV):
        model = kind(
            cv=2, random_state=0, scoring=lambda _labels, values: -values.std(), relevance=False
        ).fit(X, Y)
        assert not model.sharing_.any()
        assert model.transform(X).shape == (40, 0)
        assert len(model.get_feature_names_out()) == 0


@pytest.mark.parametrize("groups", [None, Groups.from_lists([[0, 2], [1, 3, 4]], weights=[1, 2])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_factors_have_the_least_squares_of_all(groups, dtype):
    W = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    R = SharedPlusOwn(0.5, 0.4, groups)
    W = W.to(dtype)
    L, S = R.factors(W)
    shared = R.split(W)[0]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(L @ S, shared, rtol=0, atol=tolerance)
    assert L.shape[1] == R.rank(W)
    norms = sum(
        float(torch.linalg.matrix_norm(shared[:, columns], "nuc"))
        for columns in ([[0, 1, 2, 3, 4]] if groups is None else [[0, 2], [1, 3, 4]])
    )
    half = float(L.square().sum() + S.square().sum()) / 2
    assert half == pytest.approx(norms, rel=10 * tolerance)
    assert bool((L.gather(0, L.abs().argmax(0, keepdim=True)) > 0).all())
