"""Labels in every form that users have: what `fit` takes, `score` and the metrics take too."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from proxmtl import Targets
from proxmtl.estimators import LatentMTLClassifier, SingleTaskClassifier
from proxmtl.experiments import attribute_metrics, average_precision, mean_ap, one_class_attributes
from proxmtl.label_coding import observed_labels

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5))
Y = (X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(40, 3)) > 0).astype(float)
Y[RNG.random(Y.shape) < 0.2] = np.nan
MISSING = np.isnan(Y)
FRAME = pd.DataFrame(Y, columns=["a", "b", "c"])
WHOLE = FRAME.astype("Int64")


def _objects(missing, kind=int):
    cells = [[missing if np.isnan(y) else kind(y) for y in row] for row in Y]
    return np.array(cells, dtype=object)


MATRICES = {
    "NaN": Y,
    "float32": Y.astype(np.float32),
    "signs": 2 * Y - 1,
    "Int64": WHOLE,
    "Int8": FRAME.astype("Int8"),
    "Float32": FRAME.astype("Float32"),
    "boolean": WHOLE.astype("boolean"),
    "int64 of Arrow": WHOLE.astype("int64[pyarrow]"),
    "double of Arrow": WHOLE.astype("double[pyarrow]"),
    "bool of Arrow": WHOLE.astype("boolean").astype("bool[pyarrow]"),
    "category": WHOLE.astype("category"),
    "mixed columns": WHOLE.assign(b=WHOLE["b"].astype("boolean"), c=FRAME["c"]),
    "objects with NA": _objects(pd.NA),
    "objects with None": _objects(None),
    "objects with NaN": _objects(np.nan, bool),
    "lists with None": _objects(None).tolist(),
    "frame of objects": pd.DataFrame(_objects(pd.NA)),
    "masked": np.ma.masked_array(np.where(MISSING, 1, Y).astype(int), MISSING),
    "tensor": torch.from_numpy(Y),
    "bfloat16 tensor": torch.from_numpy(Y).bfloat16(),
}

MODEL = SingleTaskClassifier().fit(X, Y)


@pytest.mark.parametrize("form", MATRICES)
def test_every_form_of_a_matrix_is_fitted_scored_and_measured_alike(form):
    labels = MATRICES[form]
    fitted = SingleTaskClassifier().fit(X, labels)
    np.testing.assert_array_equal(fitted.coef_, MODEL.coef_)
    assert fitted.score(X, labels) == MODEL.score(X, Y)
    scores = fitted.decision_function(X)
    assert mean_ap(fitted, X, labels) == mean_ap(MODEL, X, Y)
    pd.testing.assert_frame_equal(attribute_metrics(scores, labels), attribute_metrics(scores, Y))
    assert one_class_attributes(labels, np.flatnonzero(Y[:, 0] == 1), list("abc")) == ["a"]


@pytest.mark.parametrize("form", MATRICES)
def test_the_engine_reads_the_same_numbers(form):
    targets = Targets.from_labels(MATRICES[form], coding="real")
    numbers = np.where(targets.weights == 0, np.nan, targets.labels)
    np.testing.assert_array_equal(numbers, 2 * Y - 1 if form == "signs" else Y)


Y1 = (X @ RNG.normal(size=5) > 0).astype(int)
TEXT = np.where(Y1 > 0, "yes", "no")
VECTORS = {
    "0 and 1": Y1,
    "floats": Y1.astype(float),
    "booleans": Y1 > 0,
    "any two numbers": np.where(Y1 > 0, 5, 2),
    "text": TEXT,
    "objects": TEXT.astype(object),
    "list": TEXT.tolist(),
    "series": pd.Series(TEXT),
    "string": pd.Series(TEXT, dtype="string"),
    "string of Arrow": pd.Series(TEXT, dtype="string[pyarrow]"),
    "category": pd.Series(TEXT, dtype="category"),
    "category of numbers": pd.Series(Y1, dtype="category"),
    "boolean": pd.Series(Y1 > 0, dtype="boolean"),
    "tensor": torch.from_numpy(Y1),
}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("form", VECTORS)
def test_every_form_of_one_attribute(form, column, missing):
    labels, known = VECTORS[form], Y1.astype(float)
    if missing:
        known[3:6] = np.nan
        cells = [None if 3 <= i < 6 else y for i, y in enumerate(list(np.asarray(labels)))]
        labels = pd.Series(cells, dtype=getattr(labels, "dtype", object)) if isinstance(
            labels, pd.Series
        ) else np.array(cells, dtype=object)  # fmt: skip
    if column:
        labels = np.asarray(labels, dtype=object)[:, None]
    wanted = SingleTaskClassifier().fit(X, known)
    fitted = SingleTaskClassifier().fit(X, labels)
    np.testing.assert_array_equal(fitted.coef_, wanted.coef_)
    assert fitted.score(X, labels) == wanted.score(X, known)
    assert mean_ap(fitted, X, labels) == mean_ap(wanted, X, known)
    scores = fitted.decision_function(X)
    assert scores.shape == ((40, 1) if column else (40,))
    table = attribute_metrics(scores, labels)
    assert table["ap"].iloc[0] == mean_ap(wanted, X, known)
    assert average_precision(scores, labels) == table["ap"].iloc[0]
    assert table["n_observed"].iloc[0] == (37 if missing else 40)


def test_one_class_of_text_is_measured_by_the_model_that_knows_both():
    model = SingleTaskClassifier().fit(X, TEXT)
    rows = TEXT == "yes"
    assert mean_ap(model, X[rows], TEXT[rows]) == pytest.approx(1)
    assert np.isnan(mean_ap(model, X[~rows], TEXT[~rows]))
    with pytest.raises(ValueError, match="both of them have to occur"):
        attribute_metrics(model.decision_function(X[rows]), TEXT[rows])


def test_mean_ap_of_other_classifiers_and_of_pipelines():
    other = LinearSVC().fit(X, TEXT)
    wanted = average_precision(other.decision_function(X), Y1)
    assert mean_ap(other, X, TEXT) == wanted
    rows = TEXT == "yes"
    assert mean_ap(other, X[rows], TEXT[rows]) == pytest.approx(1)
    pipeline = make_pipeline(StandardScaler(), SingleTaskClassifier()).fit(X, TEXT)
    assert mean_ap(pipeline, X[rows], pd.Series(TEXT[rows], dtype="category")) == pytest.approx(1)
    pipeline = make_pipeline(StandardScaler(), LatentMTLClassifier()).fit(X, WHOLE)
    assert mean_ap(pipeline, X, WHOLE) == mean_ap(pipeline, X, Y)


@pytest.mark.parametrize(
    ("labels", "seen"),
    [(2 * Y - 1, "-1"), (np.where(MISSING, np.nan, 2.0), "2.0"), (Y.astype(str), "'")],
)
def test_labels_in_another_coding_are_not_scored_in_part(labels, seen):
    with pytest.raises(ValueError, match=rf"Y has the value .*{seen}.*, and the labels are .*0"):
        MODEL.score(X, labels)


def test_average_precision_is_of_one_attribute():
    with pytest.raises(ValueError, match="3 attributes; give those of one"):
        average_precision(MODEL.decision_function(X), Y)


def test_what_is_observed():
    values, where = observed_labels(pd.array([True, None, False], dtype="boolean"))
    assert values.tolist() == [True, False]
    assert where.tolist() == [True, False, True]
    assert observed_labels(np.array(["NaT", "2020-01-01"], "M8[D]")).where.tolist() == [False, True]
    assert observed_labels(["yes", np.nan]).labels.tolist() == ["yes"]
    assert observed_labels([1.0, np.nan]).labels.dtype == np.int64
