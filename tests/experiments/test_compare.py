import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV

from proxmtl import Status
from proxmtl.experiments import (
    Holdout,
    attribute_metrics,
    compare,
    fit_report,
    group_means,
    mean_ap,
    random_splits,
)

NAMES = ["a", "b", "c"]
GROUPS = {"first": ["a", "b"], "second": ["c"]}


class RidgeScores(BaseEstimator):
    """Ridge on -1/+1 labels, missing ones as zero: enough of a model to be compared."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def fit(self, X, Y):
        signs = np.where(np.isnan(Y), 0.0, np.where(Y > 0, 1.0, -1.0))
        self.model_ = Ridge(alpha=self.alpha).fit(X, signs)
        self.coef_ = self.model_.coef_
        return self

    def decision_function(self, X):
        return self.model_.predict(X)


class Constant(BaseEstimator):
    def fit(self, X, Y):  # noqa: ARG002 - the shape alone decides
        self.n_ = Y.shape[1]
        return self

    def decision_function(self, X):
        return np.full((len(X), self.n_), -1.0)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 6))
    Y = (X @ rng.normal(size=(6, 3)) + 0.3 * rng.normal(size=(120, 3)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    return X, Y, random_splits(120, 3, 0.4, seed=5, Y=Y)


def test_numbers_are_those_of_a_loop_by_hand(data):
    X, Y, splits = data
    seen = []
    rows = {"ridge": RidgeScores(), "constant": Constant()}
    result = compare(rows, X, Y, GROUPS, NAMES, splits, seen.append)
    by_hand = []
    for train, test in splits:
        scores = RidgeScores().fit(X[train], Y[train]).decision_function(X[test])
        by_hand.append(group_means(attribute_metrics(scores, Y[test], NAMES), GROUPS)["ap"])
    expected = pd.concat(by_hand, axis=1)
    for group in ("first", "second", "Total"):
        line = result.summary.loc[("ridge", group), "ap"]
        assert line["mean"] == pytest.approx(expected.loc[group].mean())
        assert line["std"] == pytest.approx(expected.loc[group].std(ddof=1))
    total = result.mean.loc[("constant", "Total")]
    assert total["ap"] == pytest.approx(total["prevalence"])
    assert total["accuracy"] <= total["majority"]
    assert result.mean.loc[("ridge", "Total"), "accuracy"] > total["majority"]
    assert [(p.row, p.split, p.done) for p in seen[:3]] == [
        ("ridge", 0, 1),
        ("constant", 0, 2),
        ("ridge", 1, 3),
    ]
    assert len(result.fits) == seen[-1].total == 6


def test_given_estimators_stay_unfitted_and_rows_keep_their_order(data):
    X, Y, splits = data
    rows = {"z": RidgeScores(), "a": Constant()}
    result = compare(rows, X, Y, None, None, splits[:1])
    assert not hasattr(rows["z"], "coef_")
    assert list(result.mean.index) == [("z", "Total"), ("a", "Total")]
    assert result.std["ap"].isna().all()
    table = result.table("ap")
    assert list(table.index) == ["z", "a"]
    assert "±" not in table.loc["z", "Total"]


def test_text_table_shows_mean_and_std(data):
    X, Y, splits = data
    result = compare({"ridge": RidgeScores()}, X, Y, GROUPS, NAMES, splits)
    mean, std = result.summary.loc[("ridge", "Total"), "accuracy"]
    assert result.table().loc["ridge", "Total"] == f"{100 * mean:.2f} ± {100 * std:.2f}"
    assert list(result.table().columns) == ["first", "second", "Total"]
    with pytest.raises(ValueError, match="metric='f2' is unknown"):
        result.table("f2")


def test_inner_search_is_reported(data):
    X, Y, splits = data
    search = GridSearchCV(RidgeScores(), {"alpha": [0.1, 1e6]}, cv=Holdout(), scoring=mean_ap)
    result = compare({"search": search}, X, Y, GROUPS, NAMES, splits)
    assert all(fit.report["params"]["alpha"] in {0.1, 1e6} for fit in result.fits)
    record = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert len(record["fits"]) == 3
    assert len(record["per_group"]) == 9


def test_report_reads_status_certificate_and_sparsity():
    result = SimpleNamespace(
        status=Status.BUDGET,
        certificate=SimpleNamespace(to_dict=lambda: {"objective": 1.5}, solved_in="float64"),
        passes=np.int64(12),
        iterations=6,
    )
    model = SimpleNamespace(
        result_=result, coef_=np.array([[0.0, 1.0]]), S_=np.array([[0.0, 0.0, 2.0, 0.0]])
    )
    report = json.loads(json.dumps(fit_report(model)))
    assert report["status"] == "BUDGET"
    assert report["advice"].startswith("Budget used up")
    assert report["certificate"] == {"objective": 1.5}
    assert report["passes"] == 12
    assert report["sparsity"] == {"coef": 0.5, "S": 0.75}


def test_bad_input_is_refused_before_any_fit(data):
    X, Y, splits = data

    class Untouched(BaseEstimator):
        def fit(self, X, Y):  # noqa: ARG002 - never reached
            raise AssertionError("fitted")

    rows = {"row": Untouched()}
    train, test = splits[0]
    lonely = Y.copy()
    lonely[:, 1] = 0.0
    cases = [
        (({}, X, Y, GROUPS, NAMES, splits), "rows is empty"),
        ((rows, X[:-1], Y, GROUPS, NAMES, splits), "X has 119 rows and Y has 120"),
        ((rows, X, Y, {"g": ["x"]}, NAMES, splits), "names .'x'."),
        ((rows, X, Y, {"Total": ["a"]}, NAMES, splits), "rename it"),
        ((rows, X, Y, GROUPS, NAMES, []), "splits: empty"),
        ((rows, X, Y, GROUPS, NAMES, [(train, train)]), "in both parts"),
        ((rows, X, Y, GROUPS, NAMES, [(train, test + 100)]), "outside 0..119"),
        ((rows, X, lonely, GROUPS, NAMES, splits), "attributes .'b'. have a single class"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            compare(*arguments)
