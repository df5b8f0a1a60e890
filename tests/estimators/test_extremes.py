"""Every estimator on extreme data: the right answer, or a sentence that says what is wrong."""

import re

import numpy as np
import pytest
from extreme_cases import KINDS, LARGE, RIGHT, cases, outcome

from proxmtl import SingleTaskClassifier
from proxmtl.estimators import (
    LatentMTLClassifierCV,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifierCV,
)

PLAIN = ("SingleTask", "Lasso", "SharedPlusOwn", "LatentMTL")
# a search takes as long as ten fits, and is made of fits: what it adds are folds and units
SEARCHED = {
    "SingleTaskCV": ("1e-30", "zero column", "all columns constant", "N = 2", "one class", "int8"),
    "SharedPlusOwnCV": ("1e160", "equal rows, different labels"),
    "LatentMTLCV": ("1e30", "zero column", "all columns constant", "M = 1", "float32"),
}
NAMES = [name for name, case in cases().items() if not case.slow]
# how arrays are read does not depend on the penalty
NUMERIC = NAMES[: NAMES.index("float32")]
OTHERS = [kind for kind in KINDS if kind not in PLAIN and not KINDS[kind].searches]
RUNS = [
    *((kind, name, True) for kind in PLAIN for name in NAMES),
    *((kind, name, False) for kind in PLAIN for name in NUMERIC),
    *((kind, name, True) for kind in OTHERS for name in NUMERIC),
    *((kind, name, True) for kind, names in SEARCHED.items() for name in names),
    *(("SingleTaskCV", name, False) for name in ("1e30", "1e-30", "1e160", "1e-160")),
    *(("LatentMTLCV", name, False) for name in ("1e-30", "1e160")),
    *((kinds[0], name, True) for name, kinds in LARGE.items()),
    ("LatentMTL", "10^5 features, ten rows", True),
]


@pytest.mark.parametrize(("kind", "name", "standardize"), RUNS)
def test_extremes(kind, name, standardize):
    case = cases()[name]
    seen = outcome(kind, case, standardize=standardize)
    assert case.expects(seen, standardize=standardize), seen


def test_the_judge_tells_wrong_answers(monkeypatch):
    case = cases()["1e160"]
    assert outcome("SingleTask", case, standardize=True) == RIGHT
    decide = SingleTaskClassifier.decision_function
    for wrong in (lambda z: z + 1e-6, lambda z: z * np.nan):
        with monkeypatch.context() as patch:
            patch.setattr(
                SingleTaskClassifier,
                "decision_function",
                lambda self, X, f=wrong: f(decide(self, X)),
            )
            seen = outcome("SingleTask", case, standardize=True)
        assert seen.startswith("wrong: scores are")
        assert not case.expects(seen, standardize=True)
    with monkeypatch.context() as patch:
        patch.setattr(SingleTaskClassifier, "_moments", lambda *_: np.float64(1e300) * 1e300)
        assert outcome("SingleTask", case, standardize=True).startswith("RuntimeWarning: overflow")


@pytest.mark.parametrize(
    "kind", [SingleTaskClassifierCV, SharedPlusOwnClassifierCV, LatentMTLClassifierCV]
)
@pytest.mark.parametrize(
    ("cv", "n_rows", "said"),
    [
        (3, 2, "got 3 folds for 2 rows; give 2."),
        (1, 4, "got 1 fold for 4 rows; give 2 to 4."),
        (9, 4, "got 9 folds for 4 rows; give 2 to 4."),
    ],
)
def test_more_folds_than_rows(kind, cv, n_rows, said):
    Y = [[0, 1], [1, 0]] * (n_rows // 2)
    with pytest.raises(ValueError, match=f"cv: {re.escape(said)}$"):
        kind(cv=cv).fit([[0.0], [1.0]] * (n_rows // 2), Y)


def test_scores_that_overflow_are_said():
    X = np.random.default_rng(0).standard_normal((20, 2)) * 1e-200
    model = SingleTaskClassifier().fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match="X: the scores of row 1 overflow"):
        model.predict([[1e-200, 0.0], [1e200, 1e200]])
