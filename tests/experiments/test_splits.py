import numpy as np
import pytest
from sklearn.model_selection import check_cv

from proxmtl.experiments import Holdout, one_class_attributes, random_splits


def test_splits_partition_the_rows_and_have_the_asked_size():
    splits = random_splits(101, 4, 0.4, seed=3)
    for train, test in splits:
        assert len(test) == 40
        assert sorted([*train, *test]) == list(range(101))


def test_seed_reproduces_and_more_splits_keep_the_first_ones():
    few, many = random_splits(50, 2, 0.3, seed=7), random_splits(50, 5, 0.3, seed=7)
    for a, b in zip(few, many, strict=False):
        np.testing.assert_array_equal(a.test, b.test)
    drawn = {tuple(split.test) for split in many + random_splits(50, 5, 0.3, seed=8)}
    assert len(drawn) == 10


def test_each_attribute_has_both_classes_in_training():
    Y = np.zeros((40, 3))
    Y[0, 0] = Y[1, 1] = 1.0  # single positives: an unlucky draw loses them
    Y[::2, 2] = 1.0
    assert any(one_class_attributes(Y, split.train) for split in random_splits(40, 20, 0.5))
    for split in random_splits(40, 20, 0.5, Y=Y):
        assert one_class_attributes(Y, split.train) == []


def test_attribute_with_one_class_in_all_rows_is_named_not_fatal():
    Y = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [np.nan, 0.0]] * 5)
    assert one_class_attributes(Y, names=["constant", "fine"]) == ["constant"]
    splits = random_splits(20, 3, 0.25, Y=Y)
    assert all(one_class_attributes(Y, split.train) == ["0"] for split in splits)


def test_impossible_draw_names_the_attributes():
    Y = np.eye(6)  # six single positives can't all be among three training rows
    with pytest.raises(ValueError, match="still lacks a class of the attributes in columns"):
        random_splits(6, 1, 0.5, Y=Y, max_draws=50)


def test_holdout_is_a_splitter_with_both_classes_in_the_part_to_fit_on():
    Y = np.zeros((40, 2))
    Y[0, 0] = Y[1, 1] = 1.0
    cv = Holdout(0.25, seed=2)
    for seed in range(10):
        ((fit, validate),) = Holdout(0.25, seed).split(Y, Y)
        assert sorted([*fit, *validate]) == list(range(40))
        assert len(validate) == 10
        assert one_class_attributes(Y, fit) == []
    assert cv.get_n_splits() == 1
    assert check_cv(cv) is cv


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"test_fraction": 0.0}, "leaves an empty part"),
        ({"test_fraction": 1.2}, "leaves an empty part"),
        ({"n": 2, "test_fraction": 0.1}, "leaves an empty part"),
        ({"n_splits": 0}, "at least 1"),
        ({"Y": np.zeros((3, 1))}, "Y has 3 rows and n is 10"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        random_splits(**{"n": 10, **kwargs})
