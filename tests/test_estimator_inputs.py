"""What the estimators do to labels, weights, groups and features before the solver sees them."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array

import proxmtl as pm
from proxmtl.estimators.grouping import resolve_groups
from proxmtl.estimators.inputs import checked
from proxmtl.estimators.label_encoding import encode_targets
from proxmtl.estimators.standardize import fit_standardization
from proxmtl.estimators.weights import class_factors, sample_weights
from proxmtl.experiments import mean_ap
from proxmtl.groups import Groups

NAN = np.nan
SIGNS = np.array([[1.0, -1], [NAN, 1], [-1, -1]])


@pytest.mark.parametrize(
    "labels",
    [
        [[1.0, 0], [NAN, 1], [0, 0]],
        [[1.0, -1], [NAN, 1], [-1, -1]],
        np.array([[True, False], [None, True], [False, False]], dtype=object),
        pd.DataFrame({"a": pd.array([1, None, 0], dtype="Int64"), "b": [0, 1, 0]}),
    ],
    ids=["01", "pm1", "bool", "frame"],
)
def test_codings_become_signs(labels):
    encoded = encode_targets(labels)
    np.testing.assert_array_equal(encoded.numbers, SIGNS)
    assert not encoded.is_vector
    np.testing.assert_array_equal(encoded.classes > 0, [False, True])


def test_a_vector_may_have_any_two_classes():
    encoded = encode_targets(np.array(["cat", "dog", "cat"]))
    np.testing.assert_array_equal(encoded.numbers, [[-1], [1], [-1]])
    assert encoded.is_vector
    assert encoded.classes.tolist() == ["cat", "dog"]


BAD_LABELS = {
    "none": (None, "requires y to be passed"),
    "cube": (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
    "empty": (np.zeros((0, 2)), r"shape \(0, 2\)"),
    "all missing": (np.full((3, 2), NAN), "every entry is missing"),
    "other values": (np.array([[1, 2], [2, 1]]), "values 1, 2; labels .* are 0/1 or -1/1"),
    "both codings": (np.array([[1, 0], [-1, 1]]), "0 may mean no or missing; write missing"),
    "one class": (np.array([[1, 0], [0, 0]]), r"one class only for 1 of 2 .*\(column 1\)"),
    "one class, named": (pd.DataFrame({"red": [1, 1], "blue": [0, 1]}), r"\('red'\)"),
    "no label in a column": (np.array([[1, NAN], [0, NAN]]), r"\(column 1\)"),
    "three classes": (np.array([1, 2, 3]), "Only binary classification is supported"),
    "numbers": (np.array([0.5, 1.5, 2.5]), "Unknown label type"),
    "infinite": (np.array([[1, np.inf], [0, 1]]), "Y has infinite values"),
    "one value": (np.array(["cat", "cat"]), "one class only"),
    "strings": (np.array([["a", "b"], ["b", "a"]]), "values a, b"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels(case):
    labels, message = BAD_LABELS[case]
    with pytest.raises(ValueError, match=message):
        encode_targets(labels)


def test_names_must_fit():
    with pytest.raises(ValueError, match="1 names for the 2 columns"):
        encode_targets([[1, 0], [0, 1]], names=["a"])


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0}])
def test_class_weights_reach_the_engine_as_they_are(class_weight):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(60, 4)), (rng.random((60, 3)) < 0.3).astype(float)
    model = pm.SingleTaskClassifier(class_weight=class_weight, standardize=False, tol=1e-9).fit(
        X, Y
    )
    pair = (1.0, 3.0) if isinstance(class_weight, dict) else class_weight
    targets = pm.Targets.from_labels(2 * Y - 1, class_weight=pair, reduction=model.reduction)
    design = pm.SharedDesign(torch.from_numpy(X), intercept=True)
    ridge = pm.SquaredFrobenius(model.l2_strength)
    exact = pm.minimize(
        pm.Problem(pm.SquaredHinge(), design, targets, ridge), stop=pm.RelativeGap(1e-10)
    )
    np.testing.assert_allclose(model.coef_, exact.solution[:-1].T, atol=1e-3)
    np.testing.assert_allclose(
        model.result_.certificate.objective, exact.certificate.objective, rtol=1e-6
    )


BAD_WEIGHTS = {
    "negative": ([1.0, -1, 1], "negative values, down to -1"),
    "zero": ([0.0, 0, 0], "zero for every sample"),
    "infinite": (np.full((3, 2), np.inf), "not finite"),
    "shape": (np.ones((2, 3)), r"shape \(2, 3\) and Y \(3, 2\)"),
    "length": ([1.0, 1], r"shape \(2,\) and Y \(3, 2\)"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
def test_bad_weights(case):
    weights, message = BAD_WEIGHTS[case]
    with pytest.raises(ValueError, match=message):
        sample_weights(SIGNS, weights)


@pytest.mark.parametrize("value", ["heavy", {0: 1.0}, {0: 1.0, 1: -1.0}, 3])
def test_bad_class_weights(value):
    with pytest.raises(ValueError, match=r"class_weight: got .*'balanced'"):
        class_factors(value, np.array([0, 1]))


def test_class_weights_by_class_or_its_text():
    assert class_factors({0: 2, 1: 3.0}, np.array([0, 1])) == (2.0, 3.0)
    assert class_factors({"0": 2, "1": 3.0}, np.array([0, 1])) == (2.0, 3.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_standardisation_and_folding(dtype):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((50, 300)) * 7 + 100).astype(dtype)
    X[:, 3] = 0.1  # constant, though its mean is not exactly 0.1
    weights = rng.integers(0, 3, 50).astype(float)
    moments = fit_standardization(X, weights)
    copies = moments.apply(np.repeat(X, weights.astype(int), axis=0))
    assert copies.dtype == dtype
    tolerance = 2e-5 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(copies.mean(axis=0), 0, atol=tolerance)
    np.testing.assert_allclose(np.delete(copies.std(axis=0), 3), 1, atol=tolerance)
    assert moments.scale[3] == 1
    coef, intercept = rng.standard_normal((300, 2)), rng.standard_normal(2)
    folded, shifted = moments.fold(coef, intercept)
    np.testing.assert_allclose(
        X @ folded + shifted, moments.apply(X.astype(np.float64)) @ coef + intercept, atol=1e-9
    )


NAMES = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (None, [[0], [1], [2], [3]]),
        ("singletons", [[0], [1], [2], [3]]),
        ({"x": ["b", "a"], "y": ["c", "d"]}, [[0, 1], [2, 3]]),
        ({"x": [0, 1], "y": [2, 3]}, [[0, 1], [2, 3]]),
        ([["a", "c"], ["c", "b"]], [[0, 2], [1, 2], [3]]),
        ([[3], [0, 1]], [[3], [0, 1], [2]]),
        (Groups.from_lists([[1, 2]], 4), [[1, 2], [0], [3]]),
    ],
)
def test_forms_of_groups(groups, expected):
    resolved = resolve_groups(groups, 4, NAMES)
    assert [resolved.members(g) for g in range(len(resolved))] == expected
    assert not resolved.uncovered


def test_attributes_in_no_group_give_their_name():
    assert resolve_groups({"x": ["a", "d"]}, 4, NAMES).names == ("x", "b", "c")
    # an attribute outside the group of its name; the others keep theirs
    assert resolve_groups({"b": ["a", "d"]}, 4, NAMES).names == ("b", "b (alone)", "c")
    clashing = {"b": ["a"], "b (alone)": ["a"], "d": ["d"]}
    names = ("b", "b (alone)", "d", "b (alone) (alone)", "c")
    assert resolve_groups(clashing, 4, NAMES).names == names


def test_a_group_of_weight_0_raises_in_the_latent_model_by_its_name():
    groups = Groups.from_lists([[0], [1]], 3, ["x", "y"], [1.0, 0.0])
    X, Y = np.eye(4), np.array([[0, 1, 0], [1, 0, 1], [0, 0, 1], [1, 1, 0]])
    with pytest.raises(ValueError, match=r"groups: group 'y' has weight 0, .* positive weight"):
        pm.LatentMTLClassifier(groups=groups).fit(X, Y)


BAD_GROUPS = {
    "unknown name": ({"x": ["a", "z"]}, NAMES, ValueError, "'z'"),
    "no names": ({"x": ["a"]}, None, ValueError, "give label_names"),
    "out of range": ([[0, 7]], NAMES, ValueError, "7"),
    "empty group": ([[0], []], NAMES, ValueError, "empty"),
    "other size": (Groups.singletons(3), NAMES, ValueError, "over 3 attributes, and Y has 4"),
    "a word": ("colors", NAMES, TypeError, "'colors'"),
    "a number": (3, NAMES, TypeError, "got 3"),
    "no list": ({"x": "ab"}, NAMES, TypeError, "group 'x' is 'ab'"),
    "numbers for lists": ([0, 1], NAMES, TypeError, "group 'g0' is 0"),
}


@pytest.mark.parametrize("case", BAD_GROUPS)
def test_bad_groups(case):
    groups, names, error, message = BAD_GROUPS[case]
    with pytest.raises(error, match=message):
        resolve_groups(groups, 4, names)


def _frames(index, other):
    X = np.random.default_rng(0).standard_normal((len(index), 3))
    Y = (X[:, :2] > 0).astype(int)
    return pd.DataFrame(X, index=index), pd.DataFrame(Y, index=other, columns=["a", "b"])


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (list("abcdef"), list("bacdef")),
        ([5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 5, 4]),
        ([10, 11, 12, 13, 14, 15], [11, 12, 13, 14, 15, 16]),
    ],
)
def test_indexes_that_contradict_the_order_of_the_rows_are_errors(index, other):
    X, Y = _frames(index, other)
    model = pm.SingleTaskClassifier()
    with pytest.raises(ValueError, match=r"y: its index .* of X in other places: row .*\.to_numpy"):
        model.fit(X, Y)
    model.fit(X, Y.to_numpy())
    with pytest.raises(ValueError, match="y: its index has the labels of that of X"):
        model.score(X, Y)
    with pytest.raises(ValueError, match="Y: its index has the labels of that of X"):
        mean_ap(model, X, Y)
    weights = pd.Series(1.0, index=other)
    with pytest.raises(ValueError, match="sample_weight: its index"):
        model.fit(X, Y.to_numpy(), weights)


@pytest.mark.parametrize(
    ("index", "other"),
    [
        (list("abcdef"), list("abcdef")),
        (range(6), [5, 4, 3, 2, 1, 0]),  # what every new frame has says nothing
        ([5, 4, 3, 2, 1, 0], range(6)),
        (list("abcdef"), [10, 11, 12, 13, 14, 15]),  # nor do labels that can't be compared
    ],
)
def test_other_rows_of_frames_are_taken_by_position_as_scikit_learn_does(index, other):
    X, Y = _frames(index, other)
    by_position = pm.SingleTaskClassifier().fit(X.to_numpy(), Y.to_numpy())
    np.testing.assert_array_equal(pm.SingleTaskClassifier().fit(X, Y).coef_, by_position.coef_)


@pytest.mark.parametrize(("lacking", "said"), [(5, r"column 4\)"), (6, r"column 4 and 1 more\)")])
def test_of_many_attributes_of_one_class_five_are_named(lacking, said):
    Y = np.zeros((4, lacking + 1))
    Y[0, -1] = 1
    with pytest.raises(ValueError, match=f"one class only for {lacking} of .*{said}"):
        pm.SingleTaskClassifier().fit(np.eye(4), Y)


@pytest.mark.parametrize("kind", ["dense", "float32", "sparse"])
def test_features_that_are_not_finite_are_named(kind):
    X = np.random.default_rng(0).standard_normal((40, 6))
    Y = X[:, :2] > 0
    X[17, 4], X[31, 2] = np.nan, -np.inf
    given = {"dense": X, "float32": X.astype(np.float32), "sparse": csr_array(X)}[kind]
    model = pm.LassoClassifier()
    with pytest.raises(
        ValueError, match=r"^X: not finite \(NaN, first in row 17, feature column 4"
    ):
        model.fit(given, Y)
    X[17, 4] = 0.0
    with pytest.raises(ValueError, match=r"^X: not finite \(-inf, first in row 31, .*column 2"):
        model.fit(X, Y)


def test_finite_features_may_have_an_infinite_sum():
    X = np.full((40, 2), 1e308)
    assert checked(pm.LassoClassifier(), X, reset=True).X is X
