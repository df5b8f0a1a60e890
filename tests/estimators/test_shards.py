"""Features in files, read row by row, in every estimator: the model of features in memory."""

import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import proxmtl as pm
from proxmtl.estimators import cross_validated, paths, stages
from proxmtl.estimators.shared_search import TraceSearch
from proxmtl.io import InputError, open_shards
from proxmtl.row_sources import FeatureRows, JoinedRows
from proxmtl.solvers import span_descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
N, D, M = 160, 9, 4
X = RNG.standard_normal((N, D)) * np.linspace(0.5, 3, D) + 1
X[:, 3] = 2.5  # constant
Z = (X - 1) @ RNG.standard_normal((D, M)) + RNG.standard_normal((N, M))
Y = (Z > 0).astype(float)
Y[RNG.random(Y.shape) < 0.2] = np.nan
Y[7] = np.nan  # a row without labels
WEIGHTS = RNG.random(N)
WEIGHTS[5:9] = 0
MEMORY = 3 * 60 * D * 8
"""A block of 60 rows of float64, and of 120 of float32."""
DEEP = {"tol": 1e-14, "max_passes": 20_000}

CLASSIFIERS = [
    pm.SingleTaskClassifier(**DEEP),
    pm.LassoClassifier(**DEEP),
    pm.L21Classifier(**DEEP),
    pm.GroupLassoClassifier(groups=[[0, 1], [2, 3]], **DEEP),
    pm.SharedPlusOwnClassifier(**DEEP),
    pm.LatentMTLClassifier(tol=1e-6, max_passes=3000),
    pm.GOMTLClassifier(n_latents=2, tol=1e-6, max_passes=3000),
]
REGRESSORS = [
    pm.SingleTaskRegressor(**DEEP),
    pm.LatentMTLRegressor(tol=1e-6, max_passes=3000),
]
CHOOSING = [
    pm.SingleTaskClassifierCV(cv=3, random_state=0, tol=1e-12),
    pm.SharedPlusOwnClassifierCV(cv=3, random_state=0, tol=1e-12),
    pm.SharedPlusOwnRegressorCV(cv=3, random_state=0, tol=1e-12),
]


def named(estimator):
    return type(estimator).__name__


def shards(folder, array=X, dtype=np.float64, memory=MEMORY):
    for number, part in enumerate(np.split(array, [70, 71])):
        np.save(folder / f"part-{number}.npy", part.astype(dtype))
    return open_shards(folder, memory=memory)


class Counted(FeatureRows):
    """Rows of an array, of which those that are read are counted."""

    def __init__(self, array, memory=MEMORY):
        self.array, self.memory, self.read = array, memory, 0
        self.shape, self.dtype = array.shape, array.dtype

    def read_into(self, first, out):
        self.read += len(out)
        np.copyto(out, self.array[first : first + len(out)])


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.parametrize("estimator", CLASSIFIERS + REGRESSORS, ids=named)
def test_the_model_is_that_of_features_in_memory(estimator, weights, tmp_path):
    labels = Z if "Regressor" in named(estimator) else Y
    expected = clone(estimator).fit(X, labels, weights)
    rows = shards(tmp_path)
    found = clone(estimator).fit(rows, labels, weights)
    np.testing.assert_array_equal(found.mean_, expected.mean_)
    np.testing.assert_array_equal(found.scale_, expected.scale_)
    # a gap of 1e-14 leaves the square root of it in the coefficients; a residual of 1e-6 itself
    size = np.abs(expected.coef_).max()
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=0, atol=1e-6 * size)
    np.testing.assert_allclose(found.predict(rows), expected.predict(X), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("estimator", CLASSIFIERS[:5], ids=named)
def test_narrow_features_give_the_model_of_float32(estimator, dtype, tmp_path):
    narrow = X.astype(dtype)
    accurate = clone(estimator).set_params(tol=1e-5)
    expected = clone(accurate).fit(narrow.astype(np.float32), Y)
    found = clone(accurate).fit(shards(tmp_path, dtype=dtype), Y)
    assert found.result_.status.ok
    # both are within a relative gap of 1e-5 of the same minimum; rounding adds as much at most
    assert found.result_.objective == pytest.approx(expected.result_.objective, rel=2e-5)
    np.testing.assert_array_equal(found.mean_, expected.mean_)
    scores = expected.decision_function(X)
    np.testing.assert_allclose(found.decision_function(X), scores, atol=2e-2 * np.abs(scores).max())


@pytest.mark.filterwarnings("ignore::proxmtl.selection.edges.EdgeWarning")
@pytest.mark.parametrize("estimator", CHOOSING, ids=named)
def test_what_is_chosen_is_chosen_of_features_in_memory_too(estimator, monkeypatch, tmp_path):
    # a search ends its descents early, and with other solvers elsewhere: here it does not
    exact = partial(span_descent.descended, most=2000, tolerance=1e-9)
    monkeypatch.setattr(paths, "descended", exact)
    monkeypatch.setattr(cross_validated, "OWN", (1.0, 0.1, 0.01))
    monkeypatch.setattr(TraceSearch, "shares", (0.5, 0.2))
    monkeypatch.setattr(stages, "EXTENSIONS", 0)
    labels = Z if "Regressor" in named(estimator) else Y
    rows = shards(tmp_path)
    expected = clone(estimator).fit(X, labels)
    found = clone(estimator).fit(rows, labels)
    pd.testing.assert_frame_equal(found.report_, expected.report_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.cv_results_["mean"], expected.cv_results_["mean"], atol=1e-3)
    scale = np.abs(expected.coef_).max()
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-4 * scale)


def test_clusters_of_attributes_and_thresholds_are_found(tmp_path):
    rows = shards(tmp_path)
    found = pm.LatentMTLClassifier(groups="auto").fit(rows, Y)
    expected = pm.LatentMTLClassifier(groups="auto").fit(X, Y)
    assert list(map(found.groups_.members, range(len(found.groups_)))) == list(
        map(expected.groups_.members, range(len(expected.groups_)))
    )
    model = pm.LatentMTLClassifierCV(cv=2, threshold="f1", random_state=0, max_passes=200)
    model.fit(rows, Y)
    assert model.predict_proba(rows).shape == (N, M)
    assert np.isfinite(model.decision_thresholds_).all()


def test_without_standardisation_and_intercept(tmp_path):
    estimator = pm.LassoClassifier(standardize=False, fit_intercept=False, **DEEP)
    expected = clone(estimator).fit(X, Y)
    found = clone(estimator).fit(shards(tmp_path), Y)
    np.testing.assert_allclose(
        found.coef_, expected.coef_, atol=1e-6 * np.abs(expected.coef_).max()
    )


def test_partial_fit_goes_on_with_other_shards(tmp_path):
    chunks = [tmp_path / "first", tmp_path / "second"]
    for folder, part in zip(chunks, (slice(0, 80), slice(80, N)), strict=True):
        folder.mkdir()
        shards(folder, X[part])
    model, expected = pm.LatentMTLClassifier(), pm.LatentMTLClassifier()
    for folder, part in zip(chunks, (slice(0, 80), slice(80, N)), strict=True):
        model.partial_fit(open_shards(folder), Y[part])
        expected.partial_fit(X[part], Y[part])
    np.testing.assert_allclose(model.coef_, expected.coef_, atol=1e-6)
    bad = X.copy()
    bad[100, 2] = np.inf
    with pytest.raises(ValueError, match=r"inf, first in .*part-2\.npy, row 29, feature column 2"):
        model.partial_fit(shards(chunks[0], bad), Y)


def test_what_fits_into_memory_is_read_once_and_gives_the_very_model(tmp_path):
    rows = Counted(X, memory=4 * X.nbytes)
    found = pm.SharedPlusOwnClassifierCV(cv=2, random_state=0).fit(rows, Y)
    assert rows.read == N
    expected = pm.SharedPlusOwnClassifierCV(cv=2, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(found.coef_, expected.coef_)
    bad = X.copy()
    bad[75, 2] = np.nan
    with pytest.raises(ValueError, match=r"part-2\.npy, row 4, feature column 2"):
        pm.LassoClassifier().fit(shards(tmp_path, bad, memory=1 << 20), Y)


def test_reads_are_few():
    rows = Counted(X)
    model = pm.LassoClassifier(max_passes=30, fit_intercept=False)
    model.fit(rows, Y)
    # moments, which check the values, and the size and the figure of the standardised features;
    # FISTA takes about a read an iteration, of which each counts as a pass
    assert rows.read <= N * (2 + 1.5 * model.result_.passes)
    for method in (model.predict, model.decision_function):
        rows.read = 0
        method(rows)
        assert rows.read == N


def test_some_rows_parts_and_lists_of_parts(tmp_path):
    rows = shards(tmp_path)
    expected = pm.LassoClassifier().fit(X[10:150], Y[10:150])
    found = pm.LassoClassifier().fit(rows.take(slice(10, 150)), Y[10:150])
    np.testing.assert_allclose(found.coef_, expected.coef_, atol=1e-10)
    whole = pm.LassoClassifier().fit(X, Y)
    for given in (rows.parts, JoinedRows([X[:50], X[50:]])):
        np.testing.assert_allclose(
            pm.LassoClassifier().fit(given, Y).coef_, whole.coef_, atol=1e-10
        )


@pytest.mark.parametrize("standardize", [True, False])
def test_a_value_that_is_not_finite_is_named_by_shard_and_row(tmp_path, standardize):
    bad = X.copy()
    bad[75, 2] = np.nan
    rows = shards(tmp_path, bad)
    place = r"part-2\.npy, row 4, feature column 2"
    with pytest.raises(ValueError, match=rf"nan.* in .*{place}"):
        pm.LassoClassifier(standardize=standardize).fit(rows, Y)
    model = pm.LassoClassifier(standardize=standardize).fit(X, Y)
    with pytest.raises(ValueError, match=rf"nan in .*{place}"):
        model.predict(rows)
    weights = np.ones(N)
    weights[75] = 0
    pm.LassoClassifier(standardize=standardize).fit(rows, Y, weights)  # a row that is not used
    huge = X.copy()
    huge[3] = 1e308
    with pytest.raises(ValueError, match="the scores of row 3 overflow"):
        model.predict(shards(tmp_path, huge))


def test_shards_that_change_between_fit_and_prediction_raise(tmp_path):
    rows = shards(tmp_path)
    model = pm.LassoClassifier().fit(rows, Y)
    rows.paths[1].unlink()
    with pytest.raises(InputError, match=r"part-1\.npy: no such file"):
        model.predict(rows)
    with pytest.raises(InputError, match=r"part-1\.npy: no such file"):
        clone(model).fit(rows, Y)
    np.save(rows.paths[1], X[:2])
    with pytest.raises(InputError, match=r"part-1\.npy: has changed"):
        model.predict(rows)


def test_what_needs_rows_in_memory_raises_before_they_are_read():
    rows = Counted(X)
    with pytest.raises(pm.UnsupportedError, match="'gram' takes rows that are in memory"):
        pm.LatentMTLClassifier(algorithm="gram").fit(rows, Y)
    assert rows.read == 0
    held = Counted(X, memory=4 * X.nbytes)
    assert pm.LatentMTLClassifier(algorithm="gram").fit(held, Y).coef_.any()


def test_features_of_another_shape_raise(tmp_path):
    rows = shards(tmp_path)
    model = pm.LassoClassifier().fit(rows, Y)
    with pytest.raises(ValueError, match="8 features, but LassoClassifier is expecting 9"):
        model.predict(shards(tmp_path, X[:, :8]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        pm.LassoClassifier().fit(shards(tmp_path), Y[:-1])
    with pytest.raises(ValueError, match="rows in files are float16"):
        model.predict(JoinedRows([X.astype(int)]))
    with pytest.raises(ValueError, match="memory: got 100 bytes; a row takes"):
        pm.LassoClassifier().fit(shards(tmp_path, memory=100), Y)


def test_a_fitted_model_holds_nothing_of_the_files(tmp_path):
    rows = shards(tmp_path)
    model = pm.SharedPlusOwnClassifierCV(cv=2, random_state=0).fit(rows, Y)
    expected = model.predict(X)
    again = pickle.loads(pickle.dumps(model))
    for path in rows.paths:
        path.unlink()
    np.testing.assert_array_equal(again.predict(X), expected)
    assert b"part-0.npy" not in pickle.dumps(model)
    clone(model).fit(X, Y)


MEASURED = """
import resource, sys
import numpy as np, torch
import proxmtl as pm
from proxmtl.io import open_shards
torch.set_num_threads(1)

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def fitted(rows):
    labels = np.arange(len(rows)) % 2
    model = pm.LassoClassifier(max_passes=6).fit(rows, labels)
    model.predict(rows)

fitted(open_shards(sys.argv[1] + "/small", memory=1 << 20))  # compilers, libraries
before = peak()
fitted(open_shards(sys.argv[1] + "/large", memory=int(sys.argv[2])))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory as Linux gives it")
def test_memory_is_that_of_the_budget_and_of_the_labels(tmp_path):
    n, d, budget = 48_000, 1024, 24 << 20
    block = np.random.default_rng(0).standard_normal((n // 4, d), dtype=np.float32)
    (tmp_path / "small").mkdir()
    np.save(tmp_path / "small" / "x.npy", block[:300])
    (tmp_path / "large").mkdir()
    for number in range(4):  # 188 MiB, eight times the budget
        np.save(tmp_path / "large" / f"{number}.npy", block)
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, str(tmp_path), str(budget)]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    # beside the budget: twenty columns of the size of the scores, as wide as labels are given, and
    # blocks of moments, of 8 MiB of float64, with what is computed from them
    assert grown <= budget + 20 * 8 * n + 3 * (8 << 20)
