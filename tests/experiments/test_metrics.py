import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxmtl.experiments import attribute_metrics, average_precision, group_means, mean_ap
from proxmtl.experiments.labels import group_members
from proxmtl.groups import Groups


def naive_ap(scores, labels):
    """Sum over distinct thresholds, from the largest down, of (recall step) x precision."""
    positives = sum(labels)
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        taken = [y for z, y in zip(scores, labels, strict=True) if z >= threshold]
        recall, precision = sum(taken) / positives, sum(taken) / len(taken)
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30).filter(
        lambda pairs: any(y for _, y in pairs)
    )
)
@settings(deadline=None, max_examples=60)
def test_ap_equals_the_definition_and_ignores_order(pairs):
    scores = np.array([z for z, _ in pairs], dtype=float)
    labels = np.array([y for _, y in pairs], dtype=float)
    expected = naive_ap(scores.tolist(), labels.tolist())
    assert average_precision(scores, labels) == pytest.approx(expected, abs=1e-12)
    assert average_precision(scores[::-1], 2 * labels[::-1] - 1) == pytest.approx(expected)


def test_constant_scores_give_the_prevalence_even_with_positives_first():
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    assert average_precision(np.zeros(10), labels) == pytest.approx(0.3)


def test_missing_labels_are_left_out():
    labels = np.array([1.0, np.nan, 0.0, np.nan, 1.0, 0.0])
    scores = np.array([2.0, 100.0, -1.0, -100.0, 0.5, 1.0])
    seen = ~np.isnan(labels)
    table = attribute_metrics(scores[:, None], labels[:, None], ["a"]).loc["a"]
    alone = attribute_metrics(scores[seen, None], labels[seen, None], ["a"]).loc["a"]
    assert table.equals(alone)
    assert table["n_observed"] == 4
    assert table["accuracy"] == 0.75
    assert table["majority"] == table["prevalence"] == 0.5


def test_score_zero_predicts_the_negative_class():
    table = attribute_metrics(np.zeros((4, 1)), np.array([[1.0], [0.0], [0.0], [0.0]]))
    assert table["accuracy"].item() == 0.75
    assert table["majority"].item() == 0.75


def test_attribute_without_positives_has_no_ap_and_one_without_labels_has_nothing():
    Y = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, np.nan], [0.0, 1.0, np.nan]])
    table = attribute_metrics(np.ones((3, 3)), Y, ["none", "some", "unseen"])
    assert np.isnan(table.loc["none", "ap"])
    assert table.loc["none", "accuracy"] == 0.0
    assert table.loc["unseen"].drop("n_observed").isna().all()
    means = group_means(table, {"pair": ["none", "some"]})
    assert means.loc["pair", "ap"] == pytest.approx(table.loc["some", "ap"])
    assert means.loc["pair", "n_without_ap"] == 1
    assert means.loc["Total", "n_without_ap"] == 2


def test_total_is_the_mean_over_attributes_not_over_groups():
    rng = np.random.default_rng(0)
    Y = (rng.random((50, 4)) < 0.4).astype(float)
    table = attribute_metrics(rng.normal(size=(50, 4)), Y, list("abcd"))
    means = group_means(table, {"big": ["a", "b", "c"], "small": ["d"]})
    assert means.loc["Total", "ap"] == pytest.approx(table["ap"].mean())
    weighted = (3 * means.loc["big"] + means.loc["small"]) / 4
    assert means.loc["Total", "accuracy"] == pytest.approx(weighted["accuracy"])
    assert abs(means.loc[["big", "small"], "ap"].mean() - means.loc["Total", "ap"]) > 1e-3


def test_groups_and_a_mapping_of_names_agree():
    names = ["a", "b", "c"]
    by_name = {"x": ["a", "c"], "y": ["b"]}
    expected = {"x": [0, 2], "y": [1]}
    assert group_members(by_name, names) == expected
    assert group_members(Groups.from_names(by_name, names), names) == expected


def test_mean_ap_scores_an_estimator():
    class Model:
        def decision_function(self, X):
            return X

    Y = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert mean_ap(Model(), Y, Y) == 1.0
    assert mean_ap(Model(), -Y, Y) == 0.5


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), "one score per label"),
        (np.array([[np.nan], [0.0]]), np.ones((2, 1)), "scores contains NaN"),
        (np.zeros((2, 2)), np.array([[2, 1], [1, 0]]), r"Y contains \[2\]"),
        (np.zeros((2, 1)), np.array([[2.0], [2.0]]), r"Y contains \[2.0\].*both of them have to"),
        (np.zeros((2, 2)), np.array([[0.0, 1.0], [-1.0, 1.0]]), "0 is ambiguous"),
        (np.zeros((2, 1, 1)), np.zeros((2, 1)), "scores has 3 dimension"),
        (np.zeros((2, 1)), np.zeros((2, 1, 1)), "Y has 3 dimension"),
    ],
)
def test_bad_scores_and_labels_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        attribute_metrics(scores, labels)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"g": ["nope"]}, "names .'nope'."),
        ({"Total": ["a"]}, "rename it"),
        (Groups.single(3), "describes 3 attributes, but there are 2"),
    ],
)
def test_bad_groups_are_refused(groups, message):
    table = attribute_metrics(np.zeros((2, 2)), np.eye(2), ["a", "b"])
    with pytest.raises(ValueError, match=message):
        group_means(table, groups)


def test_bad_names_are_refused():
    with pytest.raises(ValueError, match="more than once"):
        attribute_metrics(np.zeros((2, 2)), np.eye(2), ["a", "a"])
    with pytest.raises(ValueError, match="one name per column"):
        attribute_metrics(np.zeros((2, 2)), np.eye(2), ["a"])
