"""Extreme data, what each estimator is to do with it, and what it does.

The table of numeric extremes (``bench/solvers/extremes.py``) and the tests share these cases.
Scales are powers of two, and entries whole numbers of sixteenths: scaled data have the same digits
down to the smallest denormal number, so that answers can be compared to the last few bits.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import proxmtl as pm
from proxmtl.selection.edges import EdgeWarning

NAN = np.nan
RIGHT = "right"

ALIKE = 2.0**-26
"""Half the digits: sums in another order, solved in the same number of steps."""
SOLVED = 2.0**-6
"""Of two paths to one optimum, each to a relative gap of 1e-4 or less: its root."""

N, D, M = 20, 4, 3
_RNG = np.random.default_rng(3)
X = _RNG.integers(-40, 41, (N, D)) / 16
Y = (X @ _RNG.normal(size=(D, M)) + _RNG.normal(size=(N, M)) > 0).astype(float)

OUT_OF_RANGE = (
    r"^ValueError: (features: the curvature of the loss|X: the mean squared norm|"
    r"X: feature column \d+ has a standard deviation)"
)
SCALES = [
    ("1e30", 2.0**100, None),
    ("1e-30", 2.0**-100, None),
    ("1e160", 2.0**532, OUT_OF_RANGE),  # squares are beyond the range
    ("1e-160", 2.0**-532, OUT_OF_RANGE),
]
ONE_CLASS = r"^ValueError: Y has .*one class only for \d of \d attributes"


@dataclass(frozen=True)
class Kind:
    """An estimator, and how its strengths go with the unit of the features."""

    make: Callable[..., Any]
    options: dict[str, Any]
    strengths: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Name -> strength for features in unit 1, and the power of the unit that it goes with."""
    convex: bool = True
    searches: bool = False

    def estimator(self, n_attributes: int, *, standardize: bool, unit: float = 1.0) -> Any:
        """Make it; where features aren't standardised its strengths are for those in ``unit``."""
        unit = 1.0 if standardize else unit
        options = {name: s * unit**power for name, (s, power) in self.strengths.items()}
        options |= self.options
        if options.pop("grouped", False):
            half = max(1, n_attributes // 2)
            lists = [list(range(half)), list(range(half, n_attributes))]
            options["groups"] = [group for group in lists if group]
        return self.make(standardize=standardize, **options)


_BUDGET = {"max_passes": 60}
_LATENT = {"max_passes": 12}
_SEARCH = {"cv": 2, "random_state": 0}
KINDS = {
    "SingleTask": Kind(pm.SingleTaskClassifier, _BUDGET, {"l2_strength": (1e-2, 2)}),
    "Lasso": Kind(pm.LassoClassifier, _BUDGET, {"strength": (1e-2, 1)}),
    "L21": Kind(pm.L21Classifier, _BUDGET, {"strength": (1e-2, 1)}),
    "RidgeMTL": Kind(pm.RidgeMTLClassifier, _BUDGET, {"strength": (1e-2, 2)}),
    "GroupLasso": Kind(
        pm.GroupLassoClassifier, {**_BUDGET, "grouped": True}, {"strength": (1e-2, 1)}
    ),
    "SharedPlusOwn": Kind(pm.SharedPlusOwnClassifier, _BUDGET),
    "LatentMTL": Kind(
        pm.LatentMTLClassifier,
        {**_LATENT, "grouped": True},
        {"l1_strength": (1e-4, 1), "frobenius_strength": (1e-4, 2)},
        convex=False,
    ),
    "LatentMTL with own parts": Kind(
        pm.LatentMTLClassifier,
        {"max_passes": 40, "grouped": True},
        {"l1_strength": (1e-4, 1), "frobenius_strength": (1e-4, 2), "own_strength": (1e-2, 2)},
        convex=False,
    ),
    "GOMTL": Kind(
        pm.GOMTLClassifier,
        {**_LATENT, "n_latents": 2},
        {"frobenius_strength": (1e-3, 2)},
        convex=False,
    ),
    "SingleTaskCV": Kind(pm.SingleTaskClassifierCV, _SEARCH, searches=True),
    "SharedPlusOwnCV": Kind(pm.SharedPlusOwnClassifierCV, _SEARCH, searches=True),
    "LatentMTLCV": Kind(pm.LatentMTLClassifierCV, _SEARCH, convex=False, searches=True),
}


@dataclass(frozen=True)
class Case:
    """Data, and what is right for it.

    Attributes
    ----------
    like : pair of arrays, optional
        Features and labels in plain numbers whose scores are those of this case.
    unit : float
        Of the features, relative to those of ``like``.
    raises : str, optional
        The sentence that is to be raised, as a regular expression.
    limit : str, optional
        A sentence that is right without standardisation, where squares of features overflow.
    limit_standardized : bool
        Also with it.
    silent : int, optional
        A column that says nothing: its coefficients are 0.
    centred : bool
        This and ``like`` are right with standardisation only.
    counted : bool
        ``like`` has fewer rows, on which strengths of an estimator may depend.
    twins : pair of int, optional
        Equal columns: their coefficients are the same, where the problem is convex.
    rtol : float
        Difference of scores from those of ``like``, relative to the largest.
    slow : bool
        Large: for one estimator of a kind (:data:`LARGE`).
    """

    name: str
    X: Any
    Y: Any
    like: tuple[np.ndarray, np.ndarray] | None = None
    unit: float = 1.0
    raises: str | None = None
    limit: str | None = None
    limit_standardized: bool = False
    silent: int | None = None
    centred: bool = False
    counted: bool = False
    twins: tuple[int, int] | None = None
    rtol: float = ALIKE
    slow: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def expects(self, outcome: str, *, standardize: bool) -> bool:
        """Whether an outcome is the right one."""
        if self.raises is not None:
            return re.search(self.raises, outcome, re.DOTALL) is not None
        may_raise = self.limit is not None and (not standardize or self.limit_standardized)
        return outcome == RIGHT or (may_raise and re.search(self.limit, outcome) is not None)


def _column(values: Any, at: int = 1) -> np.ndarray:
    changed = X.copy()
    changed[:, at] = values
    return changed


@cache
def cases() -> dict[str, Case]:
    """All cases, by name."""
    less = np.delete(X, 1, axis=1)
    plain, signs = (X, Y), np.where(Y > 0, 1.0, -1.0)
    few = np.array([[0, 1] * 5, [0, 0, 0, 1, 1] * 2, [1, 0, 0, 1, 1] * 2], dtype=float).T
    wide = np.random.default_rng(1).standard_normal((10, 100_000))
    many = np.random.default_rng(2).random((N, 10_000)) < 0.5
    many[:2] = [[False], [True]]
    narrow = X.astype(np.float32)
    one, none = Y.copy(), Y.copy()
    one[:, 1], none[:, 1] = 1, NAN
    equal = np.repeat(X[:1], N, axis=0)
    once = X[::4].copy(), Y[::4].copy()
    four = np.tile(once[0], (4, 1)), np.tile(once[1], (4, 1))
    found = [
        *(
            Case(name, X * c, Y, plain, c, limit=limit)
            for name, c, limit in SCALES
        ),
        Case("1e-322", X * 2.0**-1070, Y, plain, limit=OUT_OF_RANGE, limit_standardized=True),
        *(
            Case(f"float32, {name}", narrow * np.float32(c), Y, (narrow, Y), c, limit=OUT_OF_RANGE)
            for name, c in (("1e30", 2.0**100), ("1e-30", 2.0**-100), ("1e-44", 2.0**-145))
        ),
        Case("columns from 1e-160 to 1e160", X * 2.0 ** np.array([-532, -100, 100, 532]), Y, plain,
             limit=OUT_OF_RANGE),
        Case("constant column", _column(3.7), Y, (less, Y), silent=1, centred=True, rtol=SOLVED),
        Case("zero column", _column(0), Y, (less, Y), silent=1, rtol=SOLVED),
        Case("duplicated column", _column(X[:, 0]), Y, twins=(0, 1)),
        Case("all columns zero", 0 * X, Y, silent=0),
        Case("all columns constant", 0 * X + 2.5, Y, silent=0, centred=True),
        Case("duplicated rows", *four, once, counted=True, rtol=SOLVED),
        Case("equal rows, different labels", equal, Y, silent=0, centred=True),
        Case("N = 1", X[:1], Y[:1], raises=ONE_CLASS),
        Case("N = 2", X[:2], np.array([[0.0, 1, 0], [1, 0, 1]]), raises=None,
             limit="^ValueError: cv: no training part", limit_standardized=True),
        Case("M = 1", X, Y[:, :1], (X, Y[:, 0])),
        Case("D = 1", X[:, :1], Y),
        Case("K = 1", X, Y, options={"n_latents": 1}),
        Case("one class", X, one, raises=ONE_CLASS),
        Case("all labels missing", X, none, raises=r"^ValueError: Y has no label or one class"),
        Case("10^5 features, ten rows", wide, few, slow=True, options={"max_passes": 15}),
        Case("10^4 groups", X, many.astype(float), slow=True,
             options={"groups": [[g] for g in range(10_000)], "max_passes": 15}),
        Case("float32", narrow, Y, plain, rtol=SOLVED),
        Case("float16", X.astype(np.float16), Y, plain),
        Case("int8", (16 * X).astype(np.int8), Y, plain, 16.0),
        Case("bool", X > 0, Y > 0, ((X > 0).astype(float), Y)),
        Case("big-endian", X.astype(">f8"), signs.astype(">i2"), plain),
        Case("Fortran order", np.asfortranarray(X), np.asfortranarray(Y), plain),
        Case("negative strides", X[::-1, ::-1].copy()[::-1, ::-1], Y[::-1].copy()[::-1], plain),
        Case("features 0-d", np.float64(1), Y, raises="^ValueError: Expected 2D array"),
        Case("features 1-d", X[:, 0], Y, raises="^ValueError: Expected 2D array"),
        Case("features 3-d", X[:, :, None], Y, raises="^ValueError: Found array with dim 3"),
        Case("labels 0-d", X, np.float64(1), raises=r"^ValueError: Y has shape \(\);"),
        Case("labels 3-d", X, Y[:, :, None], raises=r"^ValueError: Y has shape \(20, 3, 1\);"),
    ]  # fmt: skip
    return {case.name: case for case in found}


LARGE = {
    "10^5 features, ten rows": ("SingleTask", "Lasso", "SharedPlusOwn", "LatentMTL"),
    "10^4 groups": ("GroupLasso", "LatentMTL"),
}
"""Estimators of the cases that take seconds."""


def outcome(name: str, case: Case, *, standardize: bool) -> str:
    """What an estimator does: ``right``, an error's type and sentence, or what is wrong."""
    kind = KINDS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # how a solve ended, and that strengths are far off, is said rightly
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        warnings.filterwarnings("ignore", category=EdgeWarning)
        warnings.filterwarnings("ignore", ".*model collapsed")
        try:
            return _compared(kind, case, standardize=standardize)
        except Exception as error:  # noqa: BLE001 - any is an outcome
            return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _compared(kind: Kind, case: Case, *, standardize: bool) -> str:
    model = _fitted(kind, case, case.X, case.Y, case.unit, standardize=standardize)
    scores = model.decision_function(case.X)
    for attribute, value in vars(model).items():
        numbers = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if numbers and not np.isfinite(value).all():
            return f"wrong: {attribute} is not finite"
    if not (np.isfinite(scores).all() and 0 <= model.score(case.X, case.Y) <= 1):
        return "wrong: scores are not finite"
    null = _null_objective(kind, case)
    if not model.result_.certificate.objective <= null * (1 + model.tol):
        return f"wrong: objective {model.result_.certificate.objective} above {null} at W = 0"
    exact = standardize or not case.centred
    if case.silent is not None and exact:
        sizes = np.abs(model.coef_ * model.scale_)
        # of a singular value decomposition, zero but for rounding; a random start only fades
        if sizes[:, case.silent].max() > (1e-12 if kind.convex else 1e-3) * sizes.max():
            return "wrong: a column that says nothing has a coefficient"
    if case.twins is not None and kind.convex:
        one, other = (model.coef_[:, column] for column in case.twins)
        if np.abs(one - other).max() > 1e-8 * np.abs(model.coef_).max():
            return "wrong: equal columns have different coefficients"
    if case.like is not None and exact and _comparable(kind, case, standardize=standardize):
        wanted = _reference(kind, case, standardize=standardize)
        wanted = np.resize(wanted, (len(scores), *wanted.shape[1:])).reshape(scores.shape)
        away = np.abs(scores - wanted).max() / max(np.abs(wanted).max(), 1.0)
        if away > case.rtol:
            return f"wrong: scores are off by {away:.2g}"
    return RIGHT


def _comparable(kind: Kind, case: Case, *, standardize: bool) -> bool:
    """Whether the scores have to be those of ``like``."""
    if case.counted and not kind.strengths:
        return False
    if case.limit is not None and not standardize:
        return False  # strengths for such features are no numbers either
    # what rounds otherwise, or has L in another unit, may descend to another local minimum
    return kind.convex or (case.rtol <= ALIKE and (standardize or case.unit == 1))


def _fitted(kind: Kind, case: Case, X: Any, Y: Any, unit: float, *, standardize: bool) -> Any:
    in_range = standardize or case.limit is None
    n_attributes = Y.shape[1] if Y.ndim > 1 else 1
    model = kind.estimator(n_attributes, standardize=standardize, unit=unit if in_range else 1.0)
    known = model.get_params(deep=False)
    model.set_params(**{name: v for name, v in case.options.items() if name in known})
    return model.fit(X, Y)


def _reference(kind: Kind, case: Case, *, standardize: bool) -> np.ndarray:
    X, Y = case.like
    key = (id(kind), X.tobytes(), X.dtype.str, Y.tobytes(), Y.ndim, standardize)
    if key not in _REFERENCES:
        model = _fitted(kind, case, X, Y, 1.0, standardize=standardize)
        _REFERENCES[key] = model.decision_function(X)
    return _REFERENCES[key]


def _null_objective(kind: Kind, case: Case) -> float:
    """Objective at W = 0 with the best intercepts: that of features that say nothing."""
    Y = np.asarray(case.Y, dtype=float)
    key = (id(kind), Y.tobytes())
    if key not in _REFERENCES:
        model = _fitted(kind, case, np.zeros((len(Y), 1)), Y, 1.0, standardize=True)
        _REFERENCES[key] = model.result_.certificate.objective
    return _REFERENCES[key]


_REFERENCES: dict[tuple, Any] = {}
