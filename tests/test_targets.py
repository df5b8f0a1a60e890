"""Targets: coding, missing labels, weights of every kind, reductions."""

import math

import numpy as np
import pytest
import torch

from proxmtl import Targets

NAN = math.nan
Y = torch.tensor([[1, -1], [-1, NAN], [1, 1], [0, -1], [1, 1]], dtype=torch.float64)
RAGGED = [np.array([1.0, -1, 1]), np.array([-1.0, NAN, 1, 0, -1])]


def test_missing_labels_have_weight_zero_and_a_harmless_label():
    targets = Targets.from_labels(Y)
    observed = torch.tensor([[1, 1], [1, 0], [1, 1], [0, 1], [1, 1]]).double()
    assert torch.equal(targets.weights, observed)
    assert bool(torch.isfinite(targets.labels).all())
    assert torch.equal(targets.labels[observed > 0], Y[observed > 0])
    assert (targets.n_tasks, targets.task_of) == (2, None)


def test_ragged_tasks_are_laid_end_to_end():
    targets = Targets.from_labels(RAGGED)
    assert targets.task_of.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    assert targets.weights.tolist() == [1, 1, 1, 1, 0, 1, 0, 1]
    assert targets.per_task(targets.weights).tolist() == [3, 3]
    assert targets.broadcast(torch.tensor([5.0, 7.0])).tolist() == [5] * 3 + [7] * 5


def test_reductions_divide_by_observed_labels():
    total = {r: Targets.from_labels(Y, reduction=r).weights for r in ("sum", "mean", "task_mean")}
    torch.testing.assert_close(total["mean"], total["sum"] / 8)
    torch.testing.assert_close(total["task_mean"], total["sum"] / torch.tensor([4.0, 4.0]).double())
    assert float(total["mean"].sum()) == pytest.approx(1)


def test_balanced_classes_weigh_the_same_and_keep_the_total():
    targets = Targets.from_labels(Y, class_weight="balanced")
    for sign in (-1, 1):
        each = targets.per_task(targets.weights * (targets.labels == sign))
        torch.testing.assert_close(each, torch.tensor([2.0, 2.0]).double())


def test_class_weights_multiply_their_class():
    plain, weighted = (Targets.from_labels(Y, class_weight=w) for w in (None, (0.5, 3.0)))
    factor = torch.where(plain.labels > 0, 3.0, 0.5)
    torch.testing.assert_close(weighted.weights, plain.weights * factor)


def test_sample_and_task_weights_multiply():
    sample = torch.tensor([1.0, 2.0, 0.0, 4.0, 5.0])
    one = Targets.from_labels(Y, sample_weight=sample, task_weight=[1.0, 10.0])
    observed = Targets.from_labels(Y).weights
    expected = observed * sample[:, None].double() * torch.tensor([1.0, 10.0]).double()
    torch.testing.assert_close(one.weights, expected)
    matrix = Targets.from_labels(Y, sample_weight=sample[:, None].expand(5, 2))
    torch.testing.assert_close(matrix.weights * torch.tensor([1.0, 10.0]).double(), expected)
    ragged = Targets.from_labels(RAGGED, sample_weight=[np.full(3, 2.0), np.full(5, 3.0)])
    assert ragged.weights.tolist() == [2, 2, 2, 3, 0, 3, 0, 3]


@pytest.mark.parametrize("reduction", ["sum", "mean", "task_mean"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_a_weight_of_two_counts_as_two_samples(reduction, class_weight):
    options = {"reduction": reduction, "class_weight": class_weight}
    weight = torch.tensor([2.0, 1.0, 1.0, 3.0, 0.0])
    rows = [0, 0, 1, 2, 3, 3, 3]
    weighted = Targets.from_labels(Y, sample_weight=weight, **options).weights
    repeated = Targets.from_labels(Y[rows], **options).weights
    sums = torch.zeros(5, 2).double().index_add_(0, torch.tensor(rows), repeated)
    torch.testing.assert_close(weighted, sums)


def test_precision_and_device_follow_what_is_asked():
    like = torch.empty(0, dtype=torch.float32)
    targets = Targets.from_labels(Y, like=like)
    assert targets.labels.dtype == targets.weights.dtype == torch.float32
    assert targets.to(torch.float64).weights.dtype == torch.float64
    assert targets.to(torch.float32) is targets
    assert Targets.from_labels(Y.int().where(~torch.isnan(Y), 0)).labels.dtype == torch.float64


def test_labels_are_not_modified():
    labels, weight = Y.clone(), torch.ones(5)
    Targets.from_labels(labels, sample_weight=weight, class_weight="balanced", reduction="mean")
    assert torch.equal(torch.nan_to_num(labels, 9), torch.nan_to_num(Y, 9))
    assert torch.equal(weight, torch.ones(5))


@pytest.mark.parametrize("flip", [False, True])
def test_reversed_and_foreign_arrays_are_read_right(flip):
    array = Y.numpy().astype(">f4")
    array = array[::-1] if flip else array
    array.flags.writeable = False
    got = Targets.from_labels(array)
    expected = Targets.from_labels(Y.flip(0) if flip else Y)
    assert torch.equal(got.labels, expected.labels)
    assert torch.equal(got.weights, expected.weights)


def test_real_labels_keep_zero_as_a_value():
    labels = torch.tensor([[0.0, 2.5], [NAN, -1.0], [7.0, 7.0]]).double()
    targets = Targets.from_labels(labels, coding="real", reduction="task_mean")
    expected = torch.tensor([[1 / 2, 1 / 3], [0, 1 / 3], [1 / 2, 1 / 3]]).double()
    torch.testing.assert_close(targets.weights, expected)
    assert torch.equal(targets.labels[expected > 0], labels[expected > 0])
    assert bool(torch.isfinite(targets.labels).all())
    ragged = Targets.from_labels([np.zeros(2), np.array([3.0, NAN])], coding="real")
    assert ragged.weights.tolist() == [1, 1, 1, 0]


def test_classes_are_one_column_each():
    targets = Targets.from_classes(np.array([2, 0, 1, 2]), 3)
    expected = [[-1, -1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert targets.labels.tolist() == expected
    assert targets.weights.tolist() == [[1.0] * 3] * 4
    assert targets.n_tasks == 3


def test_classes_are_weighted_whole():
    given = torch.tensor([0, 0, 1, NAN, 1, 0])
    weight = torch.tensor([1.0, 2, 1, 5, 1, 0])
    plain = Targets.from_classes(given, 2, sample_weight=weight)
    assert plain.weights.tolist() == [[w, w] for w in (1.0, 2, 1, 0, 1, 0)]
    balanced = Targets.from_classes(given, 2, sample_weight=weight, class_weight="balanced")
    per_class = [float(balanced.weights[given == k, 0].sum()) for k in (0, 1)]
    assert per_class == pytest.approx([2.5, 2.5])
    halves = Targets.from_classes(given, 2, class_weight=[0.5, 3.0], reduction="mean")
    assert halves.weights[:, 0].tolist() == pytest.approx([0.1, 0.1, 0.6, 0, 0.6, 0.1])
    like = torch.empty(0, dtype=torch.float32)
    assert Targets.from_classes(given, 2, like=like).labels.dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Targets.from_labels(Y, coding="real", class_weight="balanced"), "no classes"),
        (lambda: Targets.from_labels(Y, coding="ranks"), "coding: got 'ranks'"),
        (lambda: Targets.from_labels(Y * math.inf, coding="real"), "finite numbers and NaN"),
        (lambda: Targets.from_labels(Y * NAN, coding="real"), "2 task.s. have no observed label"),
        (lambda: Targets.from_labels(Y * 2.5), "coding='real' with a regression loss"),
        (lambda: Targets.from_classes([0, 3], 3), "saw 3; give whole numbers 0..2"),
        (lambda: Targets.from_classes([0, 0.5], 2), "saw 0.5"),
        (lambda: Targets.from_classes([-1, 1], 2), "saw -1"),
        (lambda: Targets.from_classes([0, 2], 3), "1 of 3 classes have no sample"),
        (lambda: Targets.from_classes([[0, 1]], 2), "one class a sample"),
        (lambda: Targets.from_classes([0, 1], 2, class_weight=[1.0]), "2 positive numbers"),
        (lambda: Targets.from_classes([0, 1], 2, class_weight="even"), "'balanced', None or 2"),
        (lambda: Targets.from_classes([0, 1], 2, class_weight=[1, 0]), "2 positive numbers"),
        (lambda: Targets.from_classes([0, 1], 2, reduction="task_mean"), "'sum' or 'mean'"),
        (lambda: Targets.from_classes([0, 1], 2, sample_weight=[1, -1]), "sample_weight"),
    ],
)
def test_bad_labels_of_regression_and_classes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
