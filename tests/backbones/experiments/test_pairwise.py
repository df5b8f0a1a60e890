"""Pairs of attributes on the scores of single ones."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from proxmtl.backbones.experiments.pairwise import PairwiseField
from proxmtl.experiments import attribute_metrics


def alone(n):
    return LogisticRegression(C=100 / n)


@pytest.fixture(scope="module")
def data():
    """Two attributes that are alike; the features tell the first one, and little of the second."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 4))
    first = X[:, 0] + 0.3 * rng.standard_normal(600) > 0
    second = np.where(rng.random(600) < 0.95, first, ~first)
    third = X[:, 1] > 0
    return X, np.column_stack([first, second, third]).astype(float)


def test_pairs_are_symmetric_and_of_the_attributes_that_go_together(data):
    X, Y = data
    hidden = Y[:300].copy()
    hidden[40:, 1] = np.nan  # few labels of the second one
    model = PairwiseField(alone, 300.0, 0).fit(X[:300], hidden)
    np.testing.assert_array_equal(model.pairs, model.pairs.T)
    assert not model.pairs.diagonal().any()
    assert model.pairs[0, 1] > 5 * np.abs(model.pairs[2]).max()
    scores = {
        "pairs": model.decision_function(X[300:]),
        "alone": model.alone.decision_function(X[300:]),
    }
    aps = {name: attribute_metrics(z, Y[300:])["ap"].to_numpy() for name, z in scores.items()}
    assert aps["pairs"][1] > aps["alone"][1]


def test_marginals_of_weak_pairs_are_those_of_all_states(data):
    X, Y = data
    model = PairwiseField(alone, 300.0, 0).fit(X, Y)
    size = 0.02
    model.pairs *= size / np.abs(model.pairs).max()
    found = model.decision_function(X[:50])
    field = model.slopes * model.alone.decision_function(X[:50]) + model.shifts
    states = np.array(list(itertools.product([-1, 1], repeat=3)))
    # conditionals of these weights have the log-odds of the docstring: each pair counts twice in
    # the product with J, and a spin changes by two
    weight = np.exp(
        field @ states.T / 2 + np.einsum("sm,mk,sk->s", states, model.pairs, states) / 4
    )
    yes = np.stack([weight[:, states[:, m] > 0].sum(1) for m in range(3)], 1)
    exact = np.log(yes / (weight.sum(1, keepdims=True) - yes))
    # the mean field lacks the terms of second order in the pairs, at most half the square of a
    # pair's weight for each of the two others; those of first order are there, with their sign
    lacking = 2 * size**2 / 2
    assert np.abs(found - exact).max() < 1.1 * lacking  # a tenth for terms of higher order
    assert np.abs(field - exact).max() > 20 * lacking


def test_labels_that_are_missing_or_all_alike(data):
    X, Y = data
    Y = Y[:80].copy()
    Y[::3, 0] = np.nan
    Y[:, 2] = 1.0
    model = PairwiseField(alone, 300.0, 0).fit(X[:80], Y)
    assert np.isfinite(model.decision_function(X)).all()
    assert not model.pairs[2, 2]
