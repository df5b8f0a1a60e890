"""Labels of regressors: the forms in which they come, and those that can't serve."""

import numpy as np
import pandas as pd
import pytest
from regression_cases import ALL, hidden, planted
from sklearn.base import clone

from proxmtl.estimators import SingleTaskRegressor


@pytest.mark.parametrize("form", ["frame", "masked", "object", "list", "nullable"])
def test_forms_of_labels(form):
    X, Y = planted(30)
    Y = hidden(Y, 0.8)
    wanted = SingleTaskRegressor().fit(X, Y)
    given = {
        "frame": lambda: pd.DataFrame(Y, columns=list("abcde")),
        "masked": lambda: np.ma.MaskedArray(np.nan_to_num(Y, nan=9e9), np.isnan(Y)),
        "object": lambda: np.where(np.isnan(Y), None, Y.astype(object)),
        "list": Y.tolist,
        "nullable": lambda: pd.DataFrame(Y).convert_dtypes(),
    }[form]()
    model = SingleTaskRegressor().fit(X, given)
    np.testing.assert_array_equal(model.coef_, wanted.coef_)
    assert model.score(X, given) == wanted.score(X, Y)
    assert model.label_names_ == (list("abcde") if form == "frame" else model.label_names_)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([["a"], ["b"], ["c"]], "Y has the value 'a'; targets of a regressor are real numbers"),
        ([1.0, np.inf, 2.0], "Y has infinite values"),
        ([np.nan] * 3, "no observed label"),
        (
            [[1.0, np.nan], [2.0, np.nan], [3.0, np.nan]],
            r"no label for 1 of 2 attributes \(column 1",
        ),
        ([1.0, 2.0], "inconsistent numbers of samples"),
        (None, "requires y"),
    ],
)
def test_labels_that_can_not_serve_raise(labels, message):
    with pytest.raises(ValueError, match=message):
        SingleTaskRegressor().fit(np.eye(3), labels)


@pytest.mark.parametrize("model", ALL, ids=lambda model: type(model).__name__)
def test_losses_of_classes_raise(model):
    X, Y = planted(20)
    with pytest.raises(ValueError, match=r"loss: got 'logistic'; known are 'squared' and 'huber'"):
        clone(model).set_params(loss="logistic").fit(X, Y)
