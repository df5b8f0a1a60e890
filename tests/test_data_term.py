"""The data term: every sum over samples, in the precision of the scores that are given."""

import ast
from pathlib import Path

import pytest
import torch
from arithmetic import assert_same_sums
from solver_cases import convex, ragged

import proxmtl
from proxmtl import SquaredHinge, Targets
from proxmtl.data_term import DataTerm

HERE = Path(proxmtl.__file__).parent
SUMS = {
    "value",
    "grad",
    "value_and_grad",
    "bregman",
    "bregman_terms",
    "bregman_error",
    "pointwise",
    "curvature_product",
    "conjugate",
    "dual_scale",
    "balance",
}


def scores_of(problem, seed=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(problem.data.shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("problem", [convex(), ragged()], ids=["shared", "by task"])
def test_terms_sum_to_the_value_and_vanish_where_there_is_no_label(problem):
    data, Z = problem.data, scores_of(problem)
    terms = data.terms(Z)
    assert (terms[~data.observed()] == 0).all()
    assert_same_sums(terms.sum(), data.value(Z), sizes=terms.sum(), length=terms.numel())
    assert (data.gradient(Z)[~data.observed()] == 0).all()
    value, gradient = data.value_and_gradient(Z)
    assert torch.equal(value, data.value(Z))
    assert torch.equal(gradient, data.gradient(Z))


def test_sums_are_in_the_precision_of_the_scores_and_labels_are_converted_once():
    data = convex(dtype=torch.float32).data
    assert data.targets.labels.dtype == torch.float32
    assert data.value(data.zero_scores(torch.float64)).dtype == torch.float64
    assert data.value(data.zero_scores()).dtype == torch.float32
    assert data.converted(torch.float64) is data.converted(torch.float64)
    assert data.at(torch.float32) is data.targets


def test_a_selection_of_labels_has_the_sums_of_these_labels():
    problem = convex()
    data, Z = problem.data, scores_of(problem)
    assert torch.equal(data.rearranged(torch.t).terms(Z.T), data.terms(Z).T)
    some = torch.tensor([1, 4, 7])
    assert torch.equal(data.take(some).terms(Z[some]), data.terms(Z)[some])
    wide = data.rearranged(lambda each: each[:, :2], torch.float64)
    assert wide.labels.dtype == torch.float64
    assert wide.shape == (data.shape[0], 2)


def test_labels_that_the_loss_does_not_take_raise():
    targets = Targets.from_labels([[0.5], [2.0]], coding="real")
    with pytest.raises(ValueError, match="SquaredHinge takes -1 and"):
        DataTerm.checked(SquaredHinge(), targets, torch.float64)


def test_nothing_else_sums_a_loss_over_samples():
    """A design whose rows are elsewhere needs one place in which all sums are made."""
    owners = {HERE / "data_term.py", HERE / "nn" / "score_loss.py"}
    found = []
    for path in sorted(HERE.rglob("*.py")):
        if path in owners or path.parent.name in {"losses", "kernels"}:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name == "loss" and node.func.attr in SUMS:
                found.append(f"{path.name}:{node.lineno}")
    assert not found
