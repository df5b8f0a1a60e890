"""Platt's calibration against scikit-learn, DAP against the generative model it comes from."""

import itertools

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import _sigmoid_calibration

from proxmtl.experiments import (
    attribute_priors,
    direct_attribute_prediction,
    fit_platt,
    same_signature,
)

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1e-3, 5.0), (200.0, -1000.0)])
def test_platt_is_scikit_learn_s_sigmoid(scale, shift):
    scores = RNG.standard_normal((200, 4))
    labels = (scores + RNG.standard_normal((200, 4)) > [0.0, 1.5, -1.0, 0.3]).astype(float)
    found = fit_platt(scale * scores + shift, labels)
    assert (found.slope < 0).all()
    for m in range(4):
        # invariant under scale and shift; scikit-learn's search is not, so it gets the plain scores
        a, b = _sigmoid_calibration(scores[:, m], labels[:, m])
        expected = expit(-(a * scores[:, m] + b))
        np.testing.assert_allclose(
            found.probabilities(scale * scores + shift)[:, m], expected, atol=1e-6
        )
    odds = found.log_odds(scale * scores + shift)
    np.testing.assert_allclose(expit(odds), found.probabilities(scale * scores + shift))


def test_platt_is_stationary_for_its_likelihood():
    z = RNG.standard_normal(60)
    y = (z + RNG.standard_normal(60) > 0.5).astype(float)
    y[:10] = np.nan
    found = fit_platt(z[:, None], y[:, None])
    z, y = z[10:], y[10:]
    yes, no = (y > 0).sum(), (y == 0).sum()
    target = np.where(y > 0, (yes + 1) / (yes + 2), 1 / (no + 2))
    gap = target - found.probabilities(z[:, None])[:, 0]
    assert abs(gap.sum()) < 1e-9
    assert abs(gap @ z) < 1e-9
    same = fit_platt(z[:, None], np.where(y > 0, 1.0, -1.0)[:, None])
    np.testing.assert_allclose(same.slope, found.slope)


def test_platt_finds_the_likelihood_s_top_where_newton_s_steps_go_too_far():
    z = np.array([-40.0, -7, -3, -3, -1, -1, -1, 0, 0, 0, 0, 0, 1, 2])
    y = z == -40
    found = fit_platt(z[:, None], y[:, None].astype(float))
    target = np.where(y, 2 / 3, 1 / (len(z) + 1))
    gap = target - found.probabilities(z[:, None])[:, 0]
    assert abs(gap.sum()) < 1e-9
    assert abs(gap @ z) < 1e-8


def test_platt_takes_separated_constant_and_one_sided_scores():
    z = np.array([-3.0, -2.0, 2.0, 3.0])
    table = np.stack([z, np.ones(4), z], axis=1)
    labels = np.stack([z > 0, z > 0, np.ones(4)], axis=1).astype(float)
    found = fit_platt(table, labels)
    p = found.probabilities(table)
    assert np.isfinite(p).all()
    np.testing.assert_allclose(p[:, 1], 0.5, atol=1e-9)  # nothing to go by
    np.testing.assert_allclose(p[:, 2], 5 / 6, atol=1e-6)
    assert (p[:2, 0] < 0.3).all()
    assert (p[2:, 0] > 0.7).all()


def test_dap_is_bayes_rule_of_its_generative_model():
    """p(z|x) = sum over attribute vectors of p(z|a) p(a|x), p(z|a) = [a = a^z] p(z) / p(a)."""
    signatures = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]])
    pi, p = np.array([0.3, 0.6, 0.8]), RNG.uniform(0.05, 0.95, (20, 3))
    weight = np.zeros((20, 4))
    for a in itertools.product([0, 1], repeat=3):
        vector = np.array(a)
        of_a = np.prod(np.where(vector, pi, 1 - pi))
        given_x = np.prod(np.where(vector, p, 1 - p), axis=1)
        for z, signature in enumerate(signatures):
            if (signature == vector).all():
                weight[:, z] += 0.25 / of_a * given_x
    expected = weight / weight.sum(axis=1, keepdims=True)
    found = direct_attribute_prediction(np.log(p / (1 - p)), signatures, pi)
    np.testing.assert_allclose(np.exp(found.log_posterior), expected, rtol=1e-10)
    np.testing.assert_array_equal(found.predicted, expected.argmax(axis=1))
    plain = direct_attribute_prediction(np.log(p / (1 - p)), signatures)
    assert (plain.predicted != found.predicted).any()  # the correction decides some


def test_ties_are_found_and_count_what_a_guess_would_get():
    signatures = np.array([[0, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]])
    assert same_signature(signatures) == [[0, 2]]
    odds = np.array([[-3.0, 2.0, 2.0], [3.0, -2.0, -2.0], [-1.0, -3.0, 4.0], [-3.0, 0.1, 0.1]])
    found = direct_attribute_prediction(odds, signatures)
    np.testing.assert_array_equal(found.tied, [True, False, False, True])
    np.testing.assert_array_equal(found.predicted, [0, 1, 3, 0])
    accuracy = found.accuracy_by_class([2, 1, 3, 1])
    np.testing.assert_allclose(accuracy, [np.nan, 0.5, 0.5, 1.0])


def test_priors_stay_inside():
    np.testing.assert_allclose(attribute_priors([[0, 1, 1], [0, 1, 0]]), [0.001, 0.999, 0.5])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: fit_platt(np.ones((3, 2)), np.ones((3, 1))), "labels"),
        (lambda: fit_platt(np.full((3, 1), np.inf), np.ones((3, 1))), "scores"),
        (lambda: fit_platt(np.ones((3, 1)), np.full((3, 1), np.nan)), "no observed"),
        (lambda: attribute_priors([[1, -1]]), "recode"),
        (lambda: direct_attribute_prediction([[0.0]], [[0, 1]]), "same attributes"),
        (lambda: direct_attribute_prediction([[0.0]], [[1]], 1.0), "priors"),
        (lambda: direct_attribute_prediction([[0.0]], [[1]]).accuracy_by_class([1]), "classes"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(ValueError, match=match):
        make()
