"""A search in stages, and what is concluded from candidates of several scalings."""

import math

import numpy as np
import pandas as pd
import pytest

from proxmtl.estimators.scales import AS_GIVEN, UNIT, Scale
from proxmtl.estimators.search import Searched
from proxmtl.estimators.stages import EXTENSIONS, in_stages
from proxmtl.estimators.verdict import Candidate, best_of
from proxmtl.report.verdict import scaling_of


def of_scores(scores):
    """What a search found whose candidates score the same in both folds."""
    n = len(scores)
    held_out = np.zeros((n, 1, 1), np.float32)
    folds = np.tile(np.asarray(scores, float)[:, None, None], (1, 2, 1))
    return Searched(folds, held_out, np.full(n, 2), 0.0)


def alone(*owns, scale=UNIT):
    return [Candidate(math.inf, own, scale) for own in owns]


def searched(stages, score):
    """Candidates, and the paths of each run."""
    runs = []

    def run(paths, leader):
        best = max((score(each) for paths in runs for path in paths for each in path), default=None)
        np.testing.assert_equal(leader, None if best is None else np.full((2, 1), best))
        runs.append(paths)
        return of_scores([score(each) for path in paths for each in path])

    return *in_stages(stages, run, 0.0), runs


def test_a_stage_begins_at_the_best_of_those_before():
    seen = []

    def second(best):
        seen.append(best)
        return [[Candidate(a, 1.0, best.scale) for a in (0.5, 0.2, 0.1)]]

    def score(each):
        return -abs(math.log(each.own / 0.1)) + each.scale.power - math.isfinite(each.shared)

    def first(best):
        assert best is None
        return [alone(1.0, 0.1, 0.01), alone(1.0, 0.1, 0.01, scale=AS_GIVEN)]

    candidates, found, runs = searched([first, second], score)
    assert seen == [Candidate(math.inf, 0.1, AS_GIVEN)]
    assert len(runs) == 2
    assert len(candidates) == len(found.means) == 9


def test_the_path_of_the_best_goes_on_at_its_own_scale():
    candidates, _, runs = searched(
        [lambda _: [alone(1.0, 0.1), alone(1.0, 0.1, scale=AS_GIVEN)]],
        lambda each: -math.log(each.own) + each.scale.power,  # the weaker the better
    )
    assert len(runs) == 1 + EXTENSIONS
    assert {each.scale for each in candidates[4:]} == {AS_GIVEN}
    assert [each.own for each in candidates[4:]] == pytest.approx([10.0**-k for k in range(2, 8)])


def test_paths_of_earlier_stages_do_not_go_on():
    _, _, runs = searched(
        [lambda _: [alone(1.0, 0.1)], lambda best: [alone(best.own, scale=Scale(0.0, 1, 1.0))]],
        lambda each: -math.log(each.own) - 100 * each.scale.relevance,
    )
    assert len(runs) == 1 + EXTENSIONS + 1


def test_a_steady_gain_is_better_than_a_larger_one_that_attributes_differ_in():
    relevant = Scale(0.0, 1, 0.1)
    candidates = [*alone(0.1), *alone(0.1, 0.01, 0.001, scale=relevant)]
    gains = np.array([[0.0, 0.0, 0.0, 0.0], [0.02] * 4, [0.2, -0.1, 0.2, -0.1], [0.0, 0.07, 0, 0]])
    scores = np.tile(0.7 + gains[:, None, :], (1, 2, 1))
    found = Searched(scores, np.zeros((4, 1, 4), np.float32), np.full(4, 2), 0.0)
    how = {"among": Candidate.shares, "evidence": lambda _: 0.0}
    assert best_of(candidates, found, **how) == 2  # means of 0.02, 0.05 and 0.0175
    assert best_of(candidates, found, **how, over=0) == 1
    assert best_of(candidates, found, **(how | {"among": Candidate.is_alone}), over=0) == 0


def test_the_strongest_within_an_error_is_of_the_path_of_the_best():
    candidates = [*alone(1.0, 0.1), *alone(100.0, scale=AS_GIVEN)]
    scores = np.array([[0.70, 0.72], [0.71, 0.73], [0.70, 0.72]])[:, :, None]
    found = Searched(scores, np.zeros((3, 1, 1), np.float32), np.full(3, 2), 0.0)
    taken = best_of(
        candidates,
        found,
        among=Candidate.is_alone,
        evidence=lambda _: 0.0,
        one_standard_error=True,
    )
    assert taken == 0


@pytest.mark.parametrize(
    ("candidate", "kind"),
    [
        (Candidate(math.inf, 1.0), "is_alone"),
        (Candidate(math.inf, 1.0, Scale(0.5, 1, 1.0)), "shares"),
        (Candidate(0.5, 1.0), "has_part"),
    ],
)
def test_attributes_share_by_a_part_or_by_relevance(candidate, kind):
    assert candidate.is_alone() == (kind == "is_alone")
    assert candidate.shares() == (kind != "is_alone")
    assert candidate.has_part() == (kind == "has_part")


def test_the_scaling_in_words():
    table = pd.DataFrame({"shared": [True, False], "scaling": ["Pareto, relevance", "Pareto"]})
    apart = "divided by the roots of their standard deviations"
    weighed = (
        "scaled to unit variance, and weighed by their relevance to all attributes, the size of "
        "their coefficients in models of each attribute alone"
    )
    together = f"{weighed} on features {apart}"
    assert scaling_of(table) == f"{together} (of attributes alone: {apart})"
    assert scaling_of(table[:1]) == together
    assert scaling_of(table[1:]) == apart
    assert scaling_of(table.assign(scaling="unit variance, relevance squared")) == weighed
    assert scaling_of(table.drop(columns="scaling")) == ""
