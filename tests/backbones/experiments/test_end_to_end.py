"""Rows whose networks are trained: choice of strength and epoch, on small images."""

import json

import numpy as np
import pytest

from proxmtl import Groups
from proxmtl.backbones.experiments import end_to_end, running
from proxmtl.backbones.experiments.end_to_end import Plan, stored_images
from proxmtl.backbones.experiments.protocol import Part
from proxmtl.backbones.training import Architecture, TrainingConfig
from proxmtl.experiments import attribute_metrics

PLAN = Plan(
    Architecture("small", input_shape=(3, 8, 8), widths=(4, 8), n_features=8, shared_stages=3),
    "random",
    9,
    TrainingConfig(epochs=2, batch_size=12, learning_rate=3e-3, keep_best=True),
    passes=30,
)


def images(n, seed):
    """Squares of three colours, and what these are: two attributes of colour, one of light."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 3)).astype(float)
    pixels = rng.integers(0, 60, (n, 3, 9, 9))
    pixels[:, :2] += (100 * labels[:, :2, None, None]).astype(int)
    pixels += (60 * labels[:, 2, None, None, None]).astype(int)
    return pixels.astype(np.uint8), labels


@pytest.mark.parametrize("kind", ["s", "m", "mg", "own"])
def test_a_row_chooses_its_strength_and_epoch_by_the_validation_part(kind, monkeypatch):
    monkeypatch.setitem(end_to_end.PLANS, "tiny", PLAN)
    fit, options = end_to_end.end_to_end(f"{kind}-tiny")
    json.dumps(running._plain(options), allow_nan=False)
    pixels, labels = images(80, 0)
    rows = np.arange(80)
    groups, names = Groups.from_lists([[0, 1], [2]]), ("red", "green", "light")
    parts = ((rows[:60], rows[60:]),)
    fitted = fit(Part(pixels, labels, parts, rows, groups, names, None, {}, 0, True))
    json.dumps([fitted.chosen, fitted.validation, fitted.notes], allow_nan=False)
    option = "ridge" if kind == "s" else "shared_strength"
    best = max(fitted.validation, key=lambda line: line["ap"])
    assert fitted.chosen[option] == best[option]
    epochs = fitted.notes["epochs"]
    assert len(epochs) == 3
    assert fitted.chosen["epoch"] == int(np.argmax([epoch["ap"] for epoch in epochs]))
    # the frozen start is the one that the strength was chosen on
    assert epochs[0]["ap"] == pytest.approx(best["ap"], abs=1e-3)
    unseen, theirs = images(100, 1)
    assert attribute_metrics(fitted.log_odds(unseen), theirs, names)["ap"].mean() > 0.8


def test_images_reach_a_row_as_they_are():
    pixels, _ = images(5, 0)
    assert running._scaling(pixels, np.arange(3))(pixels) is pixels
    scaled = running._scaling(pixels.reshape(5, -1).astype(float), np.arange(5))
    assert scaled(pixels.reshape(5, -1)).mean() == pytest.approx(0, abs=1e-6)


def test_photographs_become_squares():
    assert stored_images([np.full((6, 4, 3), k, np.uint8) for k in (0, 9)], 5).shape == (2, 3, 5, 5)
