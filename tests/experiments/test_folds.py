import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from strategies import examples

from proxmtl.experiments import (
    class_folds,
    one_class_attributes,
    sample_folds,
    stratified_folds,
    stratified_split,
)


def counts(splits, has):
    return np.array([has[split.test].sum(axis=0) for split in splits])


def assert_partition(splits, n):
    assert sorted(np.concatenate([split.test for split in splits])) == list(range(n))
    for train, test in splits:
        assert sorted([*train, *test]) == list(range(n))


@pytest.mark.parametrize("n", [10, 11, 14])
def test_sample_folds_partition_evenly(n):
    splits = sample_folds(n, 5, seed=2)
    assert_partition(splits, n)
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= 1
    again, other = sample_folds(n, 5, seed=2), sample_folds(n, 5, seed=3)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(splits, again, strict=True))
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(splits, other, strict=True))


@examples(60)
@given(prevalence=st.floats(0.05, 0.95), folds=st.integers(2, 6), seed=st.integers(0, 50))
def test_one_attribute_is_balanced_exactly(prevalence, folds, seed):
    """Both classes' counts differ by one at most between folds."""
    y = np.random.default_rng(seed).random((61, 1)) < prevalence
    splits = stratified_folds(y.astype(float), folds, seed)
    assert_partition(splits, 61)
    assert np.ptp(counts(splits, y)) <= 1
    assert np.ptp(counts(splits, ~y)) <= 1


@examples(40)
@given(seed=st.integers(0, 1000), folds=st.integers(2, 5))
def test_the_rarest_label_is_balanced_exactly(seed, folds):
    rng = np.random.default_rng(seed)
    Y = (rng.random((90, 6)) < rng.uniform(0.2, 0.8, 6)).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    has = np.concatenate([Y > 0, Y <= 0], axis=1)
    splits = stratified_folds(Y, folds, seed)
    assert_partition(splits, 90)
    rarest = has.sum(axis=0).argmin()
    if (has.sum(axis=0) == has.sum(axis=0).min()).sum() == 1:
        assert np.ptp(counts(splits, has)[:, rarest]) <= 1


def test_disjoint_labels_are_balanced_exactly():
    """Rows with one label each: every label's count is within one, and so are few rows' sizes."""
    labels = np.repeat(np.arange(4), [7, 13, 20, 40])
    Y = np.where(np.eye(4)[labels] > 0, 1.0, np.nan)
    splits = stratified_folds(Y, 5, seed=1)
    assert np.ptp(counts(splits, Y > 0), axis=0).max() <= 1


def test_stratified_folds_are_far_more_even_than_random_ones():
    rng = np.random.default_rng(0)
    Y = (rng.random((300, 12)) < rng.uniform(0.02, 0.5, 12)).astype(float)
    has = Y > 0

    def unevenness(splits):
        return (np.ptp(counts(splits, has), axis=0) / has.sum(axis=0)).mean()

    even = np.mean([unevenness(stratified_folds(Y, 5, seed)) for seed in range(5)])
    random = np.mean([unevenness(sample_folds(300, 5, seed)) for seed in range(5)])
    assert even < random / 2
    for split in stratified_folds(Y, 5):
        assert one_class_attributes(Y, split.train) == []


@examples(40)
@given(seed=st.integers(0, 1000), fraction=st.sampled_from([0.1, 0.2, 0.5]))
def test_a_split_has_both_classes_on_both_sides(seed, fraction):
    """Rarest labels of 2 rows each, as many as the test part has room for."""
    rng = np.random.default_rng(seed)
    Y = (rng.random((100, 8)) < rng.choice([0.02, 0.05, 0.3, 0.95], 8)).astype(float)
    Y[:2], Y[2:4] = 1, 0
    Y[rng.random(Y.shape) < 0.1] = np.nan
    train, test = stratified_split(Y, fraction, seed)
    assert sorted([*train, *test]) == list(range(100))
    assert len(test) == round(100 * fraction)
    for has in (Y > 0, Y <= 0):
        several = has.sum(axis=0) >= 2
        assert has[train].any(axis=0)[has.any(axis=0)].all()
        assert has[test].any(axis=0)[several].all()
    known = csr_array(np.nan_to_num(2 * Y - 1))  # the same labels
    for again in (stratified_split(Y, fraction, seed), stratified_split(known, fraction, seed)):
        assert np.array_equal(again.test, test)


def test_a_split_deals_what_is_rare_and_fills_up_at_random():
    Y = np.zeros((4000, 2))
    Y[:2000, 0] = 1  # neither class is rare
    Y[[5, 3000], 1] = 1
    train, test = stratified_split(Y, 0.2, seed=3)
    assert len(test) == 800
    assert Y[test, 1].sum() == Y[train, 1].sum() == 1
    # hypergeometric: mean 400, standard deviation 12.6
    assert abs(Y[test, 0].sum() - 400) < 4 * 12.7
    assert not np.array_equal(stratified_split(Y, 0.2, seed=4).test, test)


def test_labels_that_ask_for_more_than_the_test_part_has():
    Y = np.zeros((20, 10))
    Y[np.arange(20), np.arange(20) // 2] = 1  # 10 attributes of 2 rows, 2 rows to test on
    train, test = stratified_split(Y, 0.1)
    assert len(test) == 2
    assert one_class_attributes(Y, train) == []


def test_rows_without_labels_are_spread():
    Y = np.full((20, 2), np.nan)
    Y[:4] = [[0, 1], [1, 0], [0, 1], [1, 0]]
    sizes = [len(split.test) for split in stratified_folds(Y, 4)]
    assert sizes == [5, 5, 5, 5]


@examples(40)
@given(
    classes=st.lists(st.sampled_from("abcdefgh"), min_size=20, max_size=60),
    folds=st.integers(2, 3),
    seed=st.integers(0, 9),
)
def test_class_folds_share_no_class(classes, folds, seed):
    given_classes = np.array([*classes, "x", "y", "z"])
    splits = class_folds(given_classes, folds, seed)
    assert_partition(splits, len(given_classes))
    for train, test in splits:
        assert not set(given_classes[train]) & set(given_classes[test])
    # a fold was the smallest when its last class came: no fold exceeds another by more than that
    sizes = np.array([len(split.test) for split in splits])
    largest = np.unique(given_classes, return_counts=True)[1].max()
    assert np.ptp(sizes) <= largest


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sample_folds(10, 1), "n_folds=1 for 10 rows"),
        (lambda: sample_folds(3, 4), "at most 3"),
        (lambda: stratified_folds(np.eye(3), 4), "3 rows"),
        (lambda: class_folds(["a", "a", "b"], 3), "2 classes"),
        (lambda: class_folds(np.eye(3), 2), "one class a row"),
        (lambda: stratified_folds(np.full((4, 1), 7.0), 2), "7"),
        (lambda: stratified_split(np.eye(3), 0.1), "leaves an empty part"),
    ],
)
def test_impossible_folds_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("seed", range(5))
def test_rows_without_labels_even_out_the_folds(seed):
    labels = np.full((15, 1), np.nan)
    labels[:5] = 1
    folds = stratified_folds(labels, 3, seed)
    assert [len(fold.test) for fold in folds] == [5, 5, 5]
    assert sorted(int(np.sum(fold.test < 5)) for fold in folds) == [1, 2, 2]
