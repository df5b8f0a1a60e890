"""Warnings name the line of the caller, however deep they arise."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from proxmtl import (
    LatentMTLClassifier,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifier,
    SingleTaskClassifierCV,
)
from proxmtl.wording import warn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 8))
Y = (X @ RNG.normal(size=(8, 3)) + RNG.normal(size=(60, 3)) > 0).astype(int)


@pytest.mark.parametrize(
    "model",
    [
        SingleTaskClassifier(max_passes=3),
        SingleTaskClassifierCV(max_passes=3, tol=1e-14, random_state=0),
        SharedPlusOwnClassifierCV(max_passes=3, tol=1e-14, random_state=0),
        LatentMTLClassifier(max_passes=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_fit_that_ends_early_points_at_its_call(model):
    with pytest.warns(ConvergenceWarning) as caught:
        model.fit(X, Y)
    assert {each.filename for each in caught if each.category is ConvergenceWarning} == {__file__}


def test_torchs_decorators_are_no_callers():
    @torch.no_grad()
    def decorated():
        warn("here")

    with pytest.warns(UserWarning, match="here") as caught:
        decorated()
    assert caught[0].filename == __file__


def test_the_line_is_that_of_the_call():
    """The innermost frame outside the package, not its outermost one."""
    inside = {"__name__": "proxmtl.somewhere", "warn": warn}
    exec(
        "def deep(n):\n    return warn('there', RuntimeWarning) if n == 0 else deep(n - 1)", inside
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        inside["deep"](3)
    assert [each.filename for each in caught] == [__file__]
    assert caught[0].category is RuntimeWarning
