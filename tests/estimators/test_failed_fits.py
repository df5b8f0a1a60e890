"""A fit that does not end leaves the estimator as it was."""

import numpy as np
import pytest

from proxmtl import LatentMTLClassifier, SharedPlusOwnClassifier, SingleTaskClassifier

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 5))
Y = (X @ RNG.normal(size=(5, 3)) + RNG.normal(size=(40, 3)) > 0).astype(int)
KINDS = [SingleTaskClassifier, SharedPlusOwnClassifier, LatentMTLClassifier]
each_kind = pytest.mark.parametrize("kind", KINDS)


class Stop(BaseException):
    """As an interruption from the keyboard: no Exception."""


def interrupt(progress):
    raise Stop


def made(kind):
    """With something left to do after the start."""
    return kind(**({"shared_strength": 0.05, "tol": 1e-10} if kind is LatentMTLClassifier else {}))


@each_kind
def test_an_interrupted_refit_leaves_the_model_that_was_there(kind):
    model = made(kind).fit(X, Y)
    before, scores = dict(vars(model)), model.decision_function(X)
    with pytest.raises(Stop):
        model.fit(5 * X + 100, 1 - Y[:, :2], callback=interrupt)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(model.decision_function(X), scores)


@each_kind
def test_a_failed_first_fit_leaves_no_attribute(kind):
    model = made(kind)
    before = dict(vars(model))
    with pytest.raises(Stop):
        model.fit(X, Y, callback=interrupt)
    assert vars(model) == before
    assert model.fit(X, Y).coef_.shape == (3, 5)


@each_kind
@pytest.mark.parametrize("shape", [(40,), (40, 3)])
def test_weights_whose_sums_overflow_raise(kind, shape):
    weights = RNG.uniform(1, 2, size=shape)
    with pytest.raises(ValueError, match="divide all of them by the largest"):
        kind().fit(X, Y, 1e307 * weights)


def test_a_mean_does_not_see_the_scale_of_large_weights():
    weights = RNG.uniform(1, 2, size=40)
    seen = SingleTaskClassifier(tol=1e-8).fit(X, Y, 2.0**400 * weights).coef_
    np.testing.assert_array_equal(seen, SingleTaskClassifier(tol=1e-8).fit(X, Y, weights).coef_)
