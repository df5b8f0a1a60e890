"""A search says when what it chose lies at an edge of what it tried."""

import warnings

import pytest
import torch
from solver_cases import convex

from proxmtl import LatentMTL, MaxIterations, SquaredFrobenius, cross_validate, tune
from proxmtl.experiments import sample_folds
from proxmtl.selection import invariant_grid
from proxmtl.selection.edges import Edge, EdgeWarning, edges_of


def grid(*values):
    return [{"strength": value} for value in values]


@pytest.mark.parametrize(
    ("values", "chosen", "side"),
    [
        ((1.0, 0.1, 0.01), 0, "highest"),
        ((1.0, 0.1, 0.01), 1, None),
        ((1.0, 0.1, 0.01), 2, "lowest"),
        ((0.01, 1.0, 0.1), 1, "highest"),
        ((0.0, 0.1, 1.0), 0, None),  # there is nothing below zero
        ((0.1,), 0, "only"),
        ((0.1, 0.1 * (1 + 1e-13), 1.0), 1, "lowest"),  # computed twice
    ],
)
def test_edges_of_one_range(values, chosen, side):
    found = edges_of(grid(*values), chosen)
    assert [edge.side for edge in found] == ([] if side is None else [side])
    assert all(edge.name == "strength" and edge.value == values[chosen] for edge in found)


def test_edges_of_two_ranges_and_of_what_was_not_searched():
    candidates = [
        {"a": a, "b": b, "fixed": 3.0, "kind": "x", "on": True} for a in (1, 2, 3) for b in (1, 10)
    ]
    assert edges_of(candidates, 2) == [Edge("b", 1.0, "lowest", 2)]
    assert [edge.name for edge in edges_of(candidates, 5)] == ["a", "b"]
    assert "the highest of 3 values tried: a larger one" in str(edges_of(candidates, 5)[0])
    assert "the only value tried: nothing was compared" in str(edges_of(grid(0.1), 0)[0])


def negative(scores, labels):
    return -float((scores**2).mean())


def test_cross_validation_warns_at_an_edge_and_not_inside():
    problem = convex("l1", missing=0.0)
    splits = sample_folds(40, 2)
    stop = MaxIterations(30)
    options = {"metric": negative, "refit": False, "stop": stop}
    with pytest.warns(EdgeWarning, match=r"strength 40 is the highest of 3 values tried"):
        found = cross_validate(problem, [40.0, 1.0, 0.1], splits, **options)
    assert found.edges == [Edge("strength", 40.0, "highest", 3)]
    with pytest.warns(EdgeWarning, match="the only value tried"):
        cross_validate(problem, [1.0], splits, **options)

    def inner(scores, labels):
        return -abs(
            float(scores.abs().mean() if hasattr(scores, "abs") else abs(scores).mean()) - 0.4
        )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cross_validate(problem, [1e3, 8.0, 1e-3], splits, **{**options, "metric": inner})
    assert (found.chosen, found.edges) == (1, [])


def test_a_range_is_extended_until_the_choice_lies_inside(tmp_path):
    problem = convex("l1", missing=0.0)
    splits = sample_folds(40, 2)
    asked = []

    def further(candidates, chosen):
        asked.append((list(candidates), chosen))
        edge = edges_of(grid(*candidates), chosen)
        if not edge or len(asked) > 20:
            return []
        return [2 * max(candidates) if edge[0].side == "highest" else min(candidates) / 2]

    options = {"metric": target_size, "refit": False, "stop": MaxIterations(50)}
    found = cross_validate(problem, [0.5, 0.25], splits, extend=further, **options)
    assert found.edges == []
    assert len(found.candidates) > 3
    assert found.candidates[:2] == [0.5, 0.25]
    assert len(found.table) == 2 * len(found.candidates)
    # all of them at once: the same choice
    together = cross_validate(problem, found.candidates, splits, **options)
    assert together.chosen == found.chosen
    # kept in a folder, and gone on with
    asked.clear()
    first = cross_validate(
        problem, [0.5, 0.25], splits, extend=further, folder=tmp_path / "cv", **options
    )
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cv").iterdir()}
    asked.clear()
    again = cross_validate(
        problem, [0.5, 0.25], splits, extend=further, folder=tmp_path / "cv", **options
    )
    assert again.table.equals(first.table)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "cv").iterdir()}


def target_size(scores, labels):
    return -abs(float(abs(scores).mean()) - 0.3)


def test_a_tuning_that_tried_one_value_says_so():
    problem = convex("l1", missing=0.0)
    held_out = convex(seed=3, missing=0.0).with_regularizers([])
    criterion = held_out.smooth_value_and_grad
    with pytest.warns(EdgeWarning, match=r"tune: strength_0 .* the only value tried.*budget"):
        found = tune(problem, criterion, max_passes=1)
    assert [edge.side for edge in found.edges] == ["only"]
    assert problem.counts.passes <= 1
    with pytest.warns(EdgeWarning, match=r"of 2 values tried"):
        found = tune(problem, criterion, [5.0], max_trials=2)
    assert len(found.trials) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tune(problem, criterion, [5.0]).edges == []
        stopped = tune(problem, criterion, [5.0], callback=lambda _: True)
    assert stopped.edges == []  # by the caller


def test_the_latent_grid_is_judged_by_what_matters():
    X, Y = convex(missing=0.0).design.X, convex(missing=0.0).targets.labels
    candidates = invariant_grid([1e-6, 1e-4, 1e-2], [1e-6])
    with pytest.warns(EdgeWarning, match="mu_gamma") as caught:
        found = cross_validate(
            LatentMTL(n_latents=2, max_passes=20),
            candidates,
            sample_folds(40, 2),
            X,
            Y,
            metric=negative,
            refit=False,
        )
    assert [edge.name for edge in found.edges] == ["mu_gamma"]
    assert len(caught) == 1


def test_a_ridge_alone_can_be_tuned_and_judged():
    problem = convex("ridge", missing=0.0)
    assert isinstance(problem.regularizers[0], SquaredFrobenius)
    held_out = convex(seed=3, missing=0.0).with_regularizers([])
    with pytest.warns(EdgeWarning, match="only value"):
        tune(problem, held_out.smooth_value_and_grad, max_trials=1)
    assert torch.isfinite(problem.design.X).all()
