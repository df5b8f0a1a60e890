"""Objects as tables in notebooks: what they show, and that names in them are text."""

import itertools
import re
from enum import Enum
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from proxmtl import (
    L1,
    MCP,
    GroupL2,
    Groups,
    LassoClassifier,
    LatentMTL,
    Problem,
    SharedDesign,
    TaskDesign,
    minimize,
    solve_path,
)
from proxmtl.shown import LONGEST, MOST, Shown, html_table

X = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(20, 3).sin()
Y = torch.stack([X[:, 0] > 0.1, X[:, 1] < 0], dim=1)


class Cells(HTMLParser):
    """Text of each cell; all elements must be closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, _):
        assert tag in {"table", "tr", "th", "td"}
        self.open.append(tag)
        if tag in {"th", "td"}:
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.cells[-1] += data


def pairs(thing):
    cells = Cells(thing._repr_html_()).cells
    return dict(itertools.pairwise(cells))


def test_results_and_problems_are_shown():
    problem = Problem.of(X, Y, L1(0.01))
    result = minimize(problem)
    found = pairs(result)
    assert found["status"] == "CONVERGED"
    assert found["solution"] == "torch.float64, 4 × 2"
    assert found["objective"] == f"{result.objective:.6g}"
    assert pairs(result.certificate)["relative kkt"] == f"{result.certificate.relative_kkt:.6g}"
    found = pairs(problem)
    assert found["loss"] == "SquaredHinge()"
    assert found["n samples"] == "20"
    assert found["n tasks"] == "2"
    assert pairs(solve_path(problem, n=3))["stopped early"] == "False"
    latent = LatentMTL(n_latents=1, max_passes=20).solve(X, 2.0 * Y - 1)
    assert pairs(latent)["L"] == "torch.float64, 3 × 1"


def test_groups_and_designs_are_shown():
    groups = Groups.from_names({"<b>": ["a"], "two": ["a", "b"]}, ["a", "b"])
    found = pairs(groups)
    assert found["names"] == "<b>, two"
    assert found["max overlap"] == "2"
    assert "<b>" not in groups._repr_html_()
    assert pairs(SharedDesign(X))["n features"] == "3"
    assert pairs(TaskDesign([X, X[:4]]))["dtype"] == "torch.float64"


def test_estimators_are_shown_by_scikit_learn():
    fitted = LassoClassifier().fit(X.numpy(), Y.numpy().astype(float))
    assert "LassoClassifier" in fitted._repr_html_()


class Kind(Enum):
    ONE = "a sentence"


class Plain:
    """Has no repr of its own."""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1 / 3, "0.333333"),
        (Kind.ONE, "ONE"),
        ("a  b\nc", "a b c"),
        (["x", 0.5], "x, 0.5"),
        ((), "–"),
        ({"a": 1, "b": [2.0]}, "a: 1, b: 2"),
        (np.zeros((2, 3), np.float32), "float32, 2 × 3"),
        (torch.zeros(()), "torch.float32, one number"),
        (Plain(), "Plain"),
        ("<script>", "<script>"),
        (list(range(20)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more"),
    ],
)
def test_values(value, text):
    assert Cells(html_table("t", {"name": value})).cells == ["t", "name", text]


def test_long_values_and_long_tables_are_cut():
    cells = Cells(html_table("t", {f"n{i}": "x" * 999 for i in range(MOST + 3)})).cells
    assert cells[-1] == "and 3 more"
    assert len(cells[2]) == LONGEST
    assert cells[2].endswith("…")


def test_what_an_object_lacks_is_left_out():
    class Half(Shown):
        _SHOWN = ("here", "absent")
        here = 1

    assert Cells(Half()._repr_html_()).cells == ["Half", "here", "1"]
    assert re.fullmatch(r"<table>.*</table>", Half()._repr_html_())


def test_a_problem_is_one_line_elsewhere():
    problem = Problem.of(X, Y, L1(0.1))
    text = repr(problem)
    assert text.startswith("Problem(loss=SquaredHinge(), terms=L1(strength=0.1")
    assert "design=SharedDesign(n_samples=20, n_features=3, intercept=True" in text
    assert text.isascii()
    assert "\n" not in text


def test_a_summary_is_no_fingerprint():
    from proxmtl.io.identity import fingerprint

    first, other = (Problem.of(X, labels, L1(0.1)) for labels in (Y, ~Y))
    assert repr(first.targets) == repr(other.targets)
    assert fingerprint(first.targets) != fingerprint(other.targets)


def test_a_result_says_why_there_is_no_gap():
    problem = Problem.of(X, Y, GroupL2(Groups.from_lists([[0]], 2), 0.1))
    result = minimize(problem, max_iter=3)
    assert not problem.has_gap
    assert "no gap (some weights, as those in no group, have no penalty" in repr(result)
    assert "in no group" in result._repr_html_()
    whole = Problem.of(X, Y, GroupL2(Groups.from_lists([[0]], 2).covering(), 0.1))
    assert whole.has_gap
    assert whole.why_no_gap == minimize(whole, max_iter=3).why_no_gap == ""
    assert Problem.of(X, Y).why_no_gap.startswith("there is no penalty with a known conjugate")
    assert Problem.of(X, Y, MCP(0.1, 3.0)).why_no_gap == "the penalty is smoothed or not convex"


def test_a_latent_problem_names_its_penalties():
    problem = LatentMTL(own_strength=0.5, l1_strength=0.25).problem(X, 2.0 * Y - 1)
    text = repr(problem)
    assert text.startswith("LatentProblem(loss=SquaredHinge(), group_norm=GroupL2(")
    assert "l1=L1(strength=0.25" in text
    assert "own=SquaredFrobenius(strength=0.5" in text
    assert "design=SharedDesign(n_samples=20, n_features=3, intercept=True" in text
    assert pairs(problem)["n tasks"] == "2"
