"""Tests between systems, against their definitions."""

import numpy as np
import pytest
from scipy import stats

from proxmtl.backbones.experiments.paired import paired_difference


def cells(values, train=30, test=20):
    return [
        {
            "system": system,
            "split": split,
            "rows": {"train": 1, "refit": train, "test": test},
            "metrics": {"ap": row},
        }
        for system, rows in values.items()
        for split, row in enumerate(rows)
    ]


def test_differences_are_paired_by_split_and_attribute():
    rng = np.random.default_rng(0)
    base = rng.random((5, 30))
    ours = base + 0.05 * rng.standard_normal((5, 30)) + 0.02
    found = paired_difference(cells({"a": ours.tolist(), "b": base.tolist()}), "ap", "a", "b")
    gains = (ours - base).mean(1)
    assert found.mean == pytest.approx(gains.mean())
    assert found.std == pytest.approx(gains.std(ddof=1))
    assert (found.won, found.splits) == ((gains > 0).sum(), 5)
    # without rows in common, the corrected test is Student's
    plain = paired_difference(
        cells({"a": ours.tolist(), "b": base.tolist()}, train=1, test=0), "ap", "a", "b"
    )
    student = stats.ttest_rel(ours.mean(1), base.mean(1)).pvalue
    assert plain.p_splits == pytest.approx(student)
    assert found.p_splits > plain.p_splits
    ratio = (1 / 5 + 20 / 30) / (1 / 5)
    t = stats.ttest_rel(ours.mean(1), base.mean(1)).statistic / np.sqrt(ratio)
    assert found.p_splits == pytest.approx(2 * stats.t.sf(abs(t), 4))
    both = cells({"a": ours.tolist(), "b": base.tolist()})
    apart = paired_difference(both, "ap", "a", "b", disjoint=True)
    assert apart.p_splits == pytest.approx(student)
    signed = stats.wilcoxon((ours - base).mean(0)).pvalue
    assert found.p_attributes == pytest.approx(signed)


def test_an_attribute_without_a_figure_is_left_out():
    values = {"a": [[0.5, None, 0.7], [0.6, 0.1, 0.8]], "b": [[0.4, 0.2, 0.7], [0.5, 0.2, 0.7]]}
    found = paired_difference(cells(values), "ap", "a", "b")
    assert found.mean == pytest.approx(0.075)


def test_one_split_has_no_test_over_splits_and_none_no_difference():
    found = paired_difference(cells({"a": [[0.5]], "b": [[0.5]]}), "ap", "a", "b")
    assert np.isnan(found.p_splits)
    assert found.p_attributes == 1.0
    assert paired_difference(cells({"a": [[0.5]]}), "ap", "a", "b") is None
