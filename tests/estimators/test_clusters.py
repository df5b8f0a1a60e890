"""Groups that are found: attributes of like labels and like classifiers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from proxmtl.estimators.clusters import RELIABLE, _alikeness, cluster_attributes


def planted(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Signs of nine attributes in three families, and the directions that they hang on."""
    rng = np.random.default_rng(seed)
    families = np.eye(3).repeat([2, 3, 4], axis=0)
    coef = families @ rng.normal(size=(3, 20)) * rng.choice([-1, 1], size=(9, 1))
    coef += 0.2 * rng.normal(size=coef.shape)
    X = rng.normal(size=(n, 20))
    return np.sign(X @ coef.T + rng.normal(size=(n, 9))), coef


def members(groups: object) -> list[list[int]]:
    return [groups.members(g) for g in range(len(groups))]  # type: ignore[attr-defined,arg-type]


FAMILIES = [[0, 1], [2, 3, 4], [5, 6, 7, 8]]


def test_planted_families_are_found_whatever_their_sign() -> None:
    signs, coef = planted()
    assert members(cluster_attributes(signs, coef)) == FAMILIES


def test_missing_labels_and_scales_of_coefficients_change_nothing() -> None:
    signs, coef = planted(2000)
    signs[np.random.default_rng(1).random(signs.shape) < 0.8] = np.nan
    scaled = coef * np.geomspace(1e-8, 1e8, 9)[:, None]
    assert members(cluster_attributes(signs, scaled)) == FAMILIES


def test_labels_alone_find_families_of_classifiers_that_say_nothing() -> None:
    signs, coef = planted(4000)
    assert members(cluster_attributes(signs, 0 * coef)) == FAMILIES


def test_classifiers_alone_find_families_of_labels_that_never_meet() -> None:
    _, coef = planted()
    signs = np.full((18, 9), np.nan)
    signs[np.arange(18), np.arange(18) % 9] = np.where(np.arange(18) < 9, 1.0, -1.0)
    assert members(cluster_attributes(signs, coef)) == FAMILIES


def test_order_of_attributes_does_not_matter() -> None:
    signs, coef = planted()
    order = np.random.default_rng(2).permutation(9)
    found = members(cluster_attributes(signs[:, order], coef[order]))
    assert sorted(sorted(order[m].tolist()) for m in found) == FAMILIES


def test_a_group_is_named_after_its_centre() -> None:
    signs, coef = planted()
    groups = cluster_attributes(signs, coef, list("abcdefghi"))
    for g, name in enumerate(groups.names):
        assert name.removeprefix("like ") in {"abcdefghi"[i] for i in groups.members(g)}
    assert len(set(groups.names)) == 3


def test_attributes_that_are_all_alike_are_one_group() -> None:
    signs = np.ones((6, 5))
    signs[::2] = -1
    assert members(cluster_attributes(signs, np.ones((5, 3)))) == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("n", [1, 2])
def test_few_attributes_are_one_group(n: int) -> None:
    signs = np.array([[1.0, -1.0], [-1.0, 1.0]])[:, :n]
    assert members(cluster_attributes(signs, np.eye(2)[:n])) == [list(range(n))]


@pytest.mark.parametrize("names", [["a", "a2", "like a"], ["a", "a", "a"]])
def test_names_of_groups_are_distinct_whatever_those_of_attributes(names: list[str]) -> None:
    signs, coef = planted()
    three = [0, 1, 5]  # the first two are alike
    groups = cluster_attributes(signs[:, three], coef[three], names)
    assert members(groups) == [[0, 1], [2]]
    assert len(set(groups.names)) == 2


def test_correlations_are_those_of_rows_with_both_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((300, 1)) < 0.8, 1.0, -1.0) * np.ones(4)  # mostly yes
    labels[rng.random(labels.shape) < 0.2] = -1.0
    labels[rng.random(labels.shape) < 0.3] = np.nan
    alike = _alikeness(labels, np.zeros((4, 2)))
    for i, j in itertools.combinations(range(4), 2):
        both = ~np.isnan(labels[:, [i, j]]).any(axis=1)
        share = both.sum() / (both.sum() + RELIABLE)
        correlation = abs(np.corrcoef(labels[both][:, [i, j]].T)[0, 1])
        assert alike[i, j] == pytest.approx(share * correlation / (share + 1), rel=1e-10)
