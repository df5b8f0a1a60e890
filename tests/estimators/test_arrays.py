"""Arrays of any layout: the fit of a view is the fit of its copy."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone

import proxmtl as pm
from proxmtl import LatentMTL, SharedDesign, Targets, TaskDesign
from proxmtl.arrays import as_float_tensor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.integers(-40, 40, (32, 5)).astype(np.float64)  # exact in every type below
Y = (X @ RNG.normal(size=(5, 3)) > 0).astype(np.int8)
WEIGHTS = RNG.integers(1, 4, 32)


def _read_only(a):
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _field(a):
    """A field of records: strides that are no multiple of its items' size, memory unaligned."""
    records = np.zeros(a.shape, dtype=np.dtype([("flag", "i1"), ("value", a.dtype)]))
    records["value"] = a
    return records["value"]


VIEWS = {
    "rows reversed": lambda a: a[::-1].copy()[::-1],
    "all reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1] if a.ndim == 2 else a,
    "columns reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "Fortran": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "inner": lambda a: np.pad(a, [(0, 0), (2, 3)])[:, 2:-3] if a.ndim == 2 else a,
    "read-only": _read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "field": _field,
    "float32": lambda a: a.astype(np.float32),
    "float16": lambda a: a.astype(np.float16),
    "longdouble": lambda a: a.astype(np.longdouble),
    "int8 reversed": lambda a: a.astype(np.int8)[::-1].copy()[::-1],
    "big-endian int16": lambda a: a.astype(">i2"),
    "objects": lambda a: a.astype(object),
    "frame": pd.DataFrame,
}
CONVEX = [pm.SingleTaskClassifier, pm.LassoClassifier, pm.L21Classifier, pm.RidgeMTLClassifier]
CONVEX += [pm.GroupLassoClassifier]
LATENT = [pm.LatentMTLClassifier, pm.GOMTLClassifier]
CASES = [
    *(
        (pm.SingleTaskClassifier, view, standardize)
        for view in VIEWS
        for standardize in (False, True)
    ),
    *((kind, "all reversed", False) for kind in CONVEX[1:] + LATENT),
    *(
        (pm.LatentMTLClassifier, view, False)
        for view in ("read-only", "Fortran", "float32", "field")
    ),
]


@pytest.mark.parametrize(("kind", "view", "standardize"), CASES)
def test_a_view_is_fitted_as_its_copy(kind, view, standardize):
    # steps of fixed length: a line search may decide otherwise by a rounding
    options = {"algorithm": "palm", "init": "paper"} if kind in LATENT else {}
    estimator = kind(max_passes=20, standardize=standardize, **options)
    features, labels, weights = (VIEWS[view](a) for a in (X, Y, WEIGHTS))
    if view == "frame":
        weights = weights[0]
    kept = np.float32 if view == "float32" else np.float64
    wanted = clone(estimator).fit(X.astype(kept), Y, WEIGHTS)
    seen = estimator.fit(features, labels, weights)
    # memory in another order is summed in another order; a quasi-Newton method divides by small
    # differences of such sums
    scale, eps = np.abs(wanted.coef_).max(), np.finfo(kept).eps
    tolerance = (np.sqrt(eps) if kind is pm.SingleTaskClassifier else 1e3 * eps) * scale
    np.testing.assert_allclose(seen.coef_, wanted.coef_, rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        seen.decision_function(features),
        wanted.decision_function(X.astype(kept)),
        rtol=0,
        atol=np.abs(X).sum(axis=1).max() * tolerance,
    )
    assert seen.score(features, labels) == wanted.score(X.astype(kept), Y)


def test_reversed_rows_and_columns_are_what_they_say():
    options = {"standardize": False, "max_passes": 20}
    wanted = pm.SingleTaskClassifier(**options).fit(X[::-1].copy(), Y[::-1].copy())
    seen = pm.SingleTaskClassifier(**options).fit(X[::-1], Y[::-1])
    np.testing.assert_array_equal(seen.coef_, wanted.coef_)
    wanted = pm.SingleTaskClassifier(**options).fit(X[:, ::-1].copy(), Y[:, ::-1].copy())
    seen = pm.SingleTaskClassifier(**options).fit(X[:, ::-1], Y[:, ::-1])
    np.testing.assert_array_equal(seen.coef_, wanted.coef_)


@pytest.mark.parametrize("view", [name for name in VIEWS if name != "frame"])
def test_the_engine_reads_views(view):
    values = VIEWS[view](X)
    tensor = as_float_tensor("X", values)
    assert torch.equal(tensor.double(), torch.from_numpy(X))
    assert torch.equal(SharedDesign(values).X.double(), torch.from_numpy(X))
    assert torch.equal(TaskDesign([values]).X[0].double(), torch.from_numpy(X))
    assert torch.equal(
        Targets.from_labels(VIEWS[view](2.0 * Y - 1)).labels, torch.tensor(2.0 * Y - 1)
    )


def test_a_solve_of_views():
    options = {"max_passes": 20, "algorithm": "palm"}
    signs = 2.0 * Y - 1
    wanted = LatentMTL(**options).solve(X[::-1, ::-1].copy(), signs[::-1].copy())
    seen = LatentMTL(**options).solve(X[::-1, ::-1], signs[::-1])
    assert torch.equal(seen.coef, wanted.coef)


def test_memory_is_shared_where_it_can_be():
    tensor = as_float_tensor("X", X)
    assert tensor.data_ptr() == X.ctypes.data


@pytest.mark.parametrize("values", [[[1, None]], [[1.0, float("nan")]], [[1, pd.NA]]])
def test_missing_entries_are_nan(values):
    for form in (values, np.array(values, dtype=object), pd.DataFrame(values)):
        tensor = as_float_tensor("Y", form)
        assert tensor.shape == (1, 2)
        assert tensor[0, 0] == 1
        assert tensor[0, 1].isnan()


@pytest.mark.parametrize("values", [["a"], [["1", "2"]], [[1], [1, 2]], object(), [[1j]]])
def test_what_is_no_array_of_numbers(values):
    with pytest.raises(ValueError, match="Y: "):
        as_float_tensor("Y", values)
