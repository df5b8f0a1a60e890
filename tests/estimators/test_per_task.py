"""A matrix of features for each task: the model of the same rows with labels missing elsewhere."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

import proxmtl as pm
from proxmtl.designs import TaskDesign
from proxmtl.estimators import load_model, save_model
from proxmtl.estimators.inputs import checked, stacked
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.samples import Samples

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
SIZES, D = (60, 90, 50, 70), 8
M = len(SIZES)
TRUE = RNG.normal(size=(D, 2)) @ RNG.normal(size=(2, M))
XS = [RNG.normal(size=(n, D)) * 2 + 1 for n in SIZES]
YS = [
    (x @ w + 2 * RNG.normal(size=len(x)) > 0).astype(float) for x, w in zip(XS, TRUE.T, strict=True)
]
YS[1][:10] = np.nan
WS = [RNG.random(n) for n in SIZES]
WS[2][:3] = 0
TASK = np.repeat(np.arange(M), SIZES)
TALL = np.concatenate(XS)
WIDE = np.full((len(TALL), M), np.nan)
WIDE[np.arange(len(TALL)), TASK] = np.concatenate(YS)

CONVEX = [
    pm.SingleTaskClassifier(tol=1e-14, max_passes=20000),
    pm.LassoClassifier(tol=1e-14, max_passes=20000),
    pm.L21Classifier(tol=1e-14, max_passes=20000, reduction="mean"),
    pm.RidgeMTLClassifier(tol=1e-14, max_passes=20000, reduction="sum"),
    pm.GroupLassoClassifier(groups=[[0, 1], [2, 3]], tol=1e-14, max_passes=20000),
    pm.SharedPlusOwnClassifier(tol=1e-14, max_passes=20000, class_weight="balanced"),
]
LATENT = [
    pm.LatentMTLClassifier(tol=1e-5, max_passes=5000),
    pm.GOMTLClassifier(n_latents=2, tol=1e-5, max_passes=5000),
]
CHOOSING = [
    pm.SingleTaskClassifierCV(cv=3, random_state=0, tol=1e-10),
    pm.SharedPlusOwnClassifierCV(cv=3, random_state=0, tol=1e-10),
    pm.LatentMTLClassifierCV(cv=3, random_state=0),
]


def named(estimator):
    return type(estimator).__name__


def thin(parts):
    return [sparse.csr_array(part) for part in parts]


@pytest.mark.parametrize("weights", [None, WS], ids=["plain", "weighted"])
@pytest.mark.parametrize("estimator", CONVEX + LATENT, ids=named)
def test_it_is_the_model_of_stacked_rows(estimator, weights):
    tall = clone(estimator).fit(TALL, WIDE, None if weights is None else np.concatenate(weights))
    size = np.abs(tall.coef_).max()
    for features in (XS, tuple(thin(XS))):
        model = clone(estimator).fit(features, YS, weights)
        np.testing.assert_allclose(model.coef_, tall.coef_, atol=1e-4 * size)
        np.testing.assert_allclose(model.intercept_, tall.intercept_, atol=1e-3 * size)
        np.testing.assert_allclose(model.scale_, tall.scale_, rtol=1e-12)
        assert model.n_features_in_ == D


@pytest.mark.parametrize("estimator", CHOOSING, ids=named)
def test_what_is_chosen_is_that_of_stacked_rows(estimator):
    tall = clone(estimator).fit(TALL, WIDE)
    model = clone(estimator).fit(XS, YS)
    pd.testing.assert_frame_equal(model.report_, tall.report_, rtol=2e-2, atol=2e-2)
    whole = tall.predict_proba(TALL)
    for m, found in enumerate(model.predict_proba(XS)):
        np.testing.assert_allclose(found, whole[m == TASK, m], atol=2e-2)


def test_where_nothing_is_shared_each_task_has_the_model_of_its_own_rows():
    # standardisation is of all rows together; without it tasks have nothing in common
    estimator = pm.SingleTaskClassifier(tol=1e-14, standardize=False, max_passes=20000)
    model = clone(estimator).fit(XS, YS, WS)
    for m in range(M):
        seen = ~np.isnan(YS[m])
        alone = clone(estimator).fit(XS[m][seen], YS[m][seen], WS[m][seen])
        np.testing.assert_allclose(model.coef_[m], alone.coef_[0], atol=1e-5)
        np.testing.assert_allclose(model.intercept_[m], alone.intercept_[0], atol=1e-5)


def test_a_pass_reads_each_row_for_its_own_task():
    samples = checked(pm.SingleTaskClassifier(), XS, reset=True)
    labels, _ = stacked(XS, YS, None)
    posed = samples.posed(EncodedLabels(2 * labels - 1), intercept=True, reduction="mean")
    assert isinstance(posed.design, TaskDesign)
    assert [len(part) for part in posed.design.X] == list(SIZES)
    held = samples.X.__array_interface__["data"][0]
    assert posed.design.X[0].data_ptr() == held  # views, not copies
    assert len(posed.targets.labels) == sum(SIZES)


@pytest.mark.parametrize("features", [XS, thin(XS)], ids=["dense", "sparse"])
def test_predictions_are_of_one_matrix_or_of_one_a_task(features):
    model = pm.SharedPlusOwnClassifierCV(cv=2, random_state=0).fit(features, YS)
    tall = TALL if features is XS else sparse.csr_array(TALL)
    for name in ("decision_function", "predict", "predict_proba"):
        whole, parts = getattr(model, name)(tall), getattr(model, name)(features)
        assert whole.shape == (len(TALL), M)
        assert [part.shape for part in parts] == [(n,) for n in SIZES]
        for m, part in enumerate(parts):
            np.testing.assert_allclose(part, whole[m == TASK, m], rtol=1e-10)
    right = [
        np.mean((p == y)[~np.isnan(y)]) for p, y in zip(model.predict(features), YS, strict=True)
    ]
    assert model.score(features, YS) == pytest.approx(np.mean(right))
    assert model.score(tall, WIDE) == pytest.approx(np.mean(right))
    right = [
        np.average((p == y)[~np.isnan(y)], weights=w[~np.isnan(y)])
        for p, y, w in zip(model.predict(features), YS, WS, strict=True)
    ]
    assert model.score(features, YS, WS) == pytest.approx(np.mean(right))


LABELS = {
    "signs": [2 * np.nan_to_num(y) - 1 for y in YS],
    "booleans": [np.nan_to_num(y) > 0 for y in YS],
    "lists": [np.nan_to_num(y).astype(int).tolist() for y in YS],
    "series": [pd.Series(np.nan_to_num(y), dtype="Int64") for y in YS],
    "objects": [np.where(np.isnan(y), None, y > 0) for y in YS],
}


@pytest.mark.parametrize("form", LABELS)
def test_labels_come_back_in_their_coding(form):
    labels = LABELS[form]
    model = pm.SingleTaskClassifier().fit(XS, labels)
    values = {value for part in model.predict(XS) for value in part.tolist()}
    assert values == ({-1, 1} if form == "signs" else {0, 1})
    booleans = form in ("booleans", "objects")
    assert (model.label_values_.dtype.kind == "b") == booleans
    assert 0.5 < model.score(XS, labels) <= 1


def test_one_task_has_any_two_values():
    labels = np.where(YS[0] > 0, "yes", "no")
    model = pm.SingleTaskClassifierCV(cv=2, random_state=0).fit([XS[0]], [labels])
    (values,), (predicted,) = model.predict_proba([XS[0]]), model.predict([XS[0]])
    assert values.shape == (SIZES[0],)
    np.testing.assert_array_equal(predicted, np.where(values > 0.5, "yes", "no"))


def test_frames_have_the_same_columns():
    columns = [f"f{d}" for d in range(D)]
    frames = [pd.DataFrame(x, columns=columns) for x in XS]
    model = pm.SingleTaskClassifier(label_names=list("abcd")).fit(frames, YS)
    assert model.feature_names_in_.tolist() == columns
    assert model.label_names_ == list("abcd")
    np.testing.assert_array_equal(
        np.concatenate(model.decision_function(frames)),
        np.concatenate(pm.SingleTaskClassifier().fit(XS, YS).decision_function(XS)),
    )
    with pytest.raises(ValueError, match="features of number 1 have other names"):
        model.fit([frames[0], frames[1][columns[::-1]], *frames[2:]], YS)
    with pytest.raises(ValueError, match="feature names"):
        model.decision_function([frame.rename(columns={"f0": "g"}) for frame in frames])


def test_copies_and_files(tmp_path):
    model = pm.LatentMTLClassifier(max_passes=50).fit(XS, YS)
    expected = model.decision_function(XS)
    save_model(tmp_path / "model", model)
    for again in (
        pickle.loads(pickle.dumps(model)),
        load_model(tmp_path / "model"),
        clone(model).fit(XS, YS),
    ):
        for found, values in zip(again.decision_function(XS), expected, strict=True):
            np.testing.assert_array_equal(found, values)


def test_partial_fit():
    options = {"max_passes": 5000, "tol": 1e-5, "n_latents": 2}
    tall = pm.LatentMTLClassifier(**options).fit(TALL, WIDE).partial_fit(TALL + 0.1, WIDE)
    model = pm.LatentMTLClassifier(**options).partial_fit(XS, YS)
    model.partial_fit([x + 0.1 for x in XS], YS)
    np.testing.assert_allclose(model.coef_, tall.coef_, atol=1e-3 * np.abs(tall.coef_).max())


def test_lists_of_rows_are_one_matrix():
    expected = pm.SingleTaskClassifier().fit(XS[0], YS[0])
    for rows in (XS[0].tolist(), list(XS[0]), [tuple(row) for row in XS[0]]):
        model = pm.SingleTaskClassifier().fit(rows, YS[0].tolist())
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        np.testing.assert_array_equal(model.predict(rows), expected.predict(XS[0]))


ERRORS = {
    "cube": (lambda: (np.zeros((3, 4, 2)), WIDE), "Found array with dim 3"),
    "nested lists": (lambda: ([x.tolist() for x in XS], YS), r"dim 3|inhomogeneous"),
    "fewer labels": (lambda: (XS, YS[:3]), "y: a list of 3 for the 4 matrices of X"),
    "a matrix of labels": (lambda: (XS, WIDE), "y: got a ndarray, and X is a list of 4 matrices"),
    "lengths": (lambda: (XS, [YS[1], *YS[1:]]), r"y\[0\]: is 90 long, and X\[0\] has 60 rows"),
    "no vector": (lambda: (XS, [1, *YS[1:]]), r"y\[0\]: is no vector"),
    "a column": (lambda: (XS, [YS[0][:, None], *YS[1:]]), r"y\[0\]: has shape \(60, 1\)"),
    "widths": (
        lambda: ([XS[0][:, 1:], *XS[1:]], YS),
        r"differ in their number of features \(7, 8\)",
    ),
    "a vector": (lambda: ([XS[0][:, 0], *XS[1:]], YS), "number 0 is none .ndarray."),
    "kinds": (lambda: ([*thin(XS[:1]), *XS[1:]], YS), "1 of its 4 matrices are sparse"),
    "not finite": (
        lambda: ([XS[0], XS[1] * np.nan, *XS[2:]], YS),
        r"X\[1\]: not finite \(NaN, first in row 0, feature column 0",
    ),
    "one class": (
        lambda: (XS, [YS[0], 0 * YS[1], *YS[2:]]),
        r"one class only for 1 of 4 .*column 1",
    ),
    "text": (lambda: (XS, [np.where(y > 0, "a", "b") for y in YS]), "Y has the values a, b"),
    "no labels": (lambda: (XS, None), "requires y to be passed"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    make, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        pm.SingleTaskClassifier().fit(*make())


def test_errors_of_weights_names_and_predictions():
    with pytest.raises(ValueError, match="sample_weight: got a ndarray"):
        pm.SingleTaskClassifier().fit(XS, YS, np.concatenate(WS))
    with pytest.raises(ValueError, match=r"sample_weight\[0\]: is 90 long"):
        pm.SingleTaskClassifier().fit(XS, YS, [WS[1], *WS[1:]])
    with pytest.raises(ValueError, match="2 names for the 4 columns"):
        pm.SingleTaskClassifier(label_names=["a", "b"]).fit(XS, YS)
    model = pm.SingleTaskClassifier().fit(XS, YS)
    with pytest.raises(ValueError, match="a list of 3 matrices for the 4 tasks of this model"):
        model.predict(XS[:3])
    with pytest.raises(ValueError, match=r"X has 7 features, but .* is expecting 8"):
        model.predict([x[:, 1:] for x in XS])
    with pytest.raises(ValueError, match="y: a list of 3 for the 4 matrices"):
        model.score(XS, YS[:3])


def test_rows_of_a_part_keep_their_tasks():
    samples = Samples(TALL, TASK)
    rows = np.array([200, 0, 61, 3, 201])  # tasks 3, 0, 1, 0, 3
    coef = RNG.normal(size=(D, 2))
    found = samples.rows(rows).scores(coef, None, np.array([0, 3]))
    expected = np.zeros((5, 2))
    expected[[1, 3], 0] = TALL[[0, 3]] @ coef[:, 0]
    expected[[0, 4], 1] = TALL[[200, 201]] @ coef[:, 1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
