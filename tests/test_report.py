"""Figures show what they were given: read back from the artists, not from pixels."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from proxmtl.report import plot_attribute_scores, plot_convergence, plot_latents, save_figure

GROUPS = {"a": [2, 0], "b": [1, 3]}
NAMES = ["w", "x", "y", "z"]


def test_latents_are_ordered_by_group_and_size_and_zeros_are_masked():
    S = np.array([[0.0, 1, 0, 1], [3, 0, 4, 0], [0, 0, 0, 0]])
    figure = plot_latents(S, GROUPS, NAMES)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["y", "w", "x", "z"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "0"]
    drawn = axes.collections[0].get_array()
    np.testing.assert_array_equal(drawn.mask.reshape(2, 4), [[0, 0, 1, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(drawn.compressed(), [4, 3, 1, 1])
    crosses = axes.lines[0].get_xydata()  # weights near zero have none
    assert crosses.tolist() == [[2.5, 0.5], [3.5, 0.5], [0.5, 1.5], [1.5, 1.5]]
    assert "2 of 3 latents live" in figure.get_suptitle()
    assert "67% of S exactly zero" in figure.get_suptitle()


def test_a_collapsed_model_can_be_drawn(tmp_path):
    save_figure(plot_latents(np.zeros((2, 4)), GROUPS, NAMES), tmp_path / "s.png")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


def test_axes_have_no_frame_above_and_on_the_right():
    history = [{"passes": 2.0 * i, "objective": 1 + 1 / (i + 1)} for i in range(9)]
    (axes,) = plot_convergence({"one": history}).axes
    seen = {side: spine.get_visible() for side, spine in axes.spines.items()}
    assert seen == {"top": False, "right": False, "left": True, "bottom": True}


@pytest.mark.parametrize("models", [["one"], ["one", "two", "three"]])
def test_convergence_has_a_panel_per_model(models, tmp_path):
    histories = {
        name: [{"passes": 2.0 * i, "objective": 1 + 1 / (i + 1)} for i in range(9)]
        for name in models
    }
    figure = plot_convergence(histories)
    assert len(figure.axes) == len(models)
    for axes in figure.axes:
        x, y = axes.lines[0].get_data()
        np.testing.assert_allclose(x, 2.0 * np.arange(9))
        np.testing.assert_allclose(y, 1 + 1 / np.arange(1, 10))
    save_figure(figure, tmp_path / "c.png")


@pytest.mark.parametrize(("last", "scale"), [(0.5, "linear"), (0.05, "log"), (-0.05, "linear")])
def test_an_objective_over_more_than_a_decade_has_a_logarithmic_axis(last, scale):
    history = [{"passes": 1.0 * i, "objective": value} for i, value in enumerate([1.0, 0.9, last])]
    (axes,) = plot_convergence({"one": history}).axes
    assert axes.get_yscale() == scale


def test_scores_by_attribute_follow_the_groups(tmp_path):
    scores = {"one": [0.1, 0.2, 0.3, np.nan], "two": [0.5, 0.6, 0.7, 0.8]}
    figure = plot_attribute_scores(scores, GROUPS, NAMES, prevalence=[0.4, 0.3, 0.2, 0.1])
    axes = figure.axes[0]
    drawn = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_array_equal(drawn["two"], [0.7, 0.5, 0.6, 0.8])
    np.testing.assert_array_equal(drawn["chance"], [0.2, 0.4, 0.3, 0.1])
    assert [label.get_text() for label in axes.get_yticklabels()] == ["y", "w", "x", "z"]
    save_figure(figure, tmp_path / "a.png")


def test_intervals_of_scores_by_attribute_follow_the_groups():
    low, high = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.6, 0.7, 0.8])
    figure = plot_attribute_scores(
        {"one": (low + high) / 2}, GROUPS, NAMES, intervals={"one": (low, high)}
    )
    (lines,) = figure.axes[0].collections
    ends = [segment[:, 0].tolist() for segment in lines.get_segments()]
    assert ends == [[0.3, 0.7], [0.1, 0.5], [0.2, 0.6], [0.4, 0.8]]


HISTORY = [{"passes": 2.0 * i, "objective": 1 + 1 / (i + 1)} for i in range(9)]
DRAWN = {
    "latents": lambda ax: plot_latents(np.eye(4), GROUPS, NAMES, title="S of a model", ax=ax),
    "convergence": lambda ax: plot_convergence({"one": HISTORY}, title="one", ax=ax),
    "scores": lambda ax: plot_attribute_scores({"one": [0.1, 0.2, 0.3, 0.4]}, GROUPS, NAMES, ax=ax),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("nested", [False, True])
def test_axes_of_the_caller_are_drawn_on_and_the_rest_of_the_figure_is_left_alone(name, nested):
    figure = Figure()
    left, right = (figure.subfigures() if nested else figure).subplots(1, 2)
    assert DRAWN[name](left) is figure
    assert left.has_data()
    assert left.get_title(loc="left") or left.get_title()
    assert not right.has_data()
    assert not figure.get_suptitle()
    assert not figure.legends
    figure.savefig(io.BytesIO())


def test_one_pair_of_axes_is_not_for_the_objectives_of_several_models():
    axes = Figure().subplots()
    with pytest.raises(ValueError, match="histories of 2 models"):
        plot_convergence({"one": HISTORY, "two": HISTORY}, ax=axes)
    assert not axes.has_data()
