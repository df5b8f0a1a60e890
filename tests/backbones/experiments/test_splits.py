"""Splits of tables: disjoint, with copies on one side, and the labels that are hidden."""

from dataclasses import replace

import numpy as np
import pytest

from proxmtl import Groups
from proxmtl.backbones.experiments.images import same_images
from proxmtl.backbones.experiments.protocol import Data
from proxmtl.backbones.experiments.splits import hidden_labels, random_folds, unseen_class_folds
from proxmtl.backbones.experiments.tables.awa import load, seen_folds
from proxmtl.backbones.experiments.tables.wbcatt import folds as wbcatt_folds
from proxmtl.backbones.experiments.tables.wbcatt import of_attributes


def small(n=120):
    rng = np.random.default_rng(0)
    Y = (rng.random((n, 3)) < 0.3).astype(float)
    sets = np.arange(n)
    sets[n // 2 : n // 2 + n // 6] = sets[: n // 6]  # copies
    return Data(rng.standard_normal((n, 4)), Y, ("a", "b", "c"), Groups.single(3), sets)


def disjoint(*parts):
    rows = np.concatenate(parts)
    return len(np.unique(rows)) == len(rows)


def test_copies_are_on_one_side_of_every_part():
    data = small()
    folds = random_folds(data, 3, 0.4, 0)
    for fold in folds:
        ((train, validation),) = fold.parts
        assert disjoint(train, validation, fold.test)
        np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), fold.refit)
        assert len(fold.refit) + len(fold.test) == len(data.X)
        parts = [set(data.sets[rows]) for rows in (train, validation, fold.test)]
        assert sum(map(len, parts)) == len(set.union(*parts))
    assert not np.array_equal(folds[0].test, folds[1].test)
    again = random_folds(data, 3, 0.4, 0)
    assert all(np.array_equal(a.test, b.test) for a, b in zip(folds, again, strict=True))


def test_images_of_the_same_bytes_are_a_set(tmp_path):
    (tmp_path / "a").write_bytes(b"picture")
    (tmp_path / "b").write_bytes(b"another")
    found = same_images([tmp_path / "a", tmp_path / "b", b"picture"])
    np.testing.assert_array_equal(found, [0, 1, 0])


def test_sets_of_the_seen_classes(animals_folder):
    data = load(animals_folder / "awa1", None)
    folds = seen_folds(data, 0)
    assert len(folds) == 5
    assert disjoint(*(fold.refit for fold in folds), folds[0].test)
    for fold in folds:
        assert len(fold.refit) == 45
        assert len(fold.test) == 135
        np.testing.assert_array_equal(fold.test, folds[0].test)
        assert data.classes[fold.refit].max() < 15


def test_classes_that_validate_are_not_learnt_from(animals_folder):
    data = load(animals_folder / "awa1", None)
    folds = unseen_class_folds(data, 0)
    for fold in folds:
        assert set(data.classes[fold.test]) == {15, 16}
        held = []
        for train, validation in fold.parts:
            assert disjoint(train, validation, fold.test)
            np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), fold.refit)
            classes = set(data.classes[validation])
            assert not classes & set(data.classes[train])
            held += classes
        assert sorted(held) == list(range(15))


def test_labels_that_are_kept_have_their_number_and_both_classes():
    rng = np.random.default_rng(1)
    Y = (rng.random((400, 4)) < [0.5, 0.01, 0.99, 0.2]).astype(float)
    Y[rng.random(Y.shape) < 0.2] = np.nan
    Y[0, 1:3] = 1
    Y[1, 1:3] = 0
    for n in (10, 60):
        kept = hidden_labels(Y, n, (0, 0))
        seen = ~np.isnan(kept)
        np.testing.assert_array_equal(seen.sum(0), n)
        np.testing.assert_array_equal(kept[seen], Y[seen])
        both = np.minimum(2, [(Y == 1).sum(0), (Y == 0).sum(0)])
        assert ((kept == 1).sum(0) >= both[0]).all()
        assert ((kept == 0).sum(0) >= both[1]).all()
    share = np.nansum(kept[:, 3]) / 60
    assert share == pytest.approx(np.nanmean(Y[:, 3]), abs=1 / 60)
    np.testing.assert_array_equal(hidden_labels(Y, 1000, (0, 0)), Y)
    draws = [~np.isnan(hidden_labels(Y, 60, (0, k))) for k in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any(0).all()


def test_other_groups_classes_or_signatures_are_other_data():
    data = small()
    n = len(data.X)
    classes = np.arange(n) % 4
    others = [
        data,
        replace(data, groups=Groups.singletons(3)),
        replace(data, groups=Groups.from_lists([[0, 1], [1, 2]], 3)),
        replace(data, groups=Groups.from_lists([[0, 1], [2]], 3)),
        replace(data, classes=classes),
        replace(data, classes=classes[::-1]),
        replace(data, signatures={"binary": np.zeros((4, 3))}),
        replace(data, signatures={"binary": np.eye(4, 3)}),
    ]
    digests = [other.digest() for other in others]
    assert len(set(digests)) == len(digests)
    assert small().digest() == data.digest()


def test_the_official_parts_of_cells():
    n = 60
    parts = {"train": np.arange(40), "val": np.arange(40, 50), "test": np.arange(50, 60)}
    data = small(n)
    data = Data(data.X, data.Y, data.names, data.groups, np.arange(n), parts=parts)
    folds = wbcatt_folds(data, 0)
    missing = [np.setdiff1d(parts["train"], fold.parts[0][0]) for fold in folds]
    np.testing.assert_array_equal(np.sort(np.concatenate(missing)), parts["train"])
    for fold in folds:
        ((train, validation),) = fold.parts
        np.testing.assert_array_equal(validation, parts["val"])
        np.testing.assert_array_equal(fold.test, parts["test"])
        np.testing.assert_array_equal(np.setdiff1d(fold.refit, train), parts["val"])


def test_the_likeliest_value_of_each_attribute_is_scored():
    names = ("shape=flat", "shape=round", "size=big", "size=small")
    Y = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]], float)
    data = Data(np.zeros((4, 1)), Y, names, Groups.single(4), np.arange(4))
    scores = np.where(Y == 1, -1.0, -2.0)  # none is likely, but one is likelier
    found = of_attributes(scores, data, np.arange(4))
    assert found == {"accuracy of 11 attributes": 1.0, "macro F1 of 11 attributes": 1.0}
    scores[0, :2] = scores[0, 1::-1]
    assert of_attributes(scores, data, np.arange(4))["accuracy of 11 attributes"] == 7 / 8
