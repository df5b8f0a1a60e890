"""bench/models/cnn_ensemble.py at a small size: equal contenders have equal losses."""

import pytest
import torch

from bench.models import cnn_ensemble as bench


def test_contenders_are_measured():
    runs = bench.measure(torch.device("cpu"), 2, 3, 1)
    assert runs["loop"]["speed_against_loop"] == 1
    assert len(runs) == 6
    assert all(run["images_per_second"] > 0 for run in runs.values())


def test_another_loss_stops_the_race(monkeypatch):
    right = bench.contenders

    def wrong(*arguments):
        return {**right(*arguments), "vectorised": lambda: 123.0}

    monkeypatch.setattr(bench, "contenders", wrong)
    with pytest.raises(RuntimeError, match="vectorised has loss 123"):
        bench.measure(torch.device("cpu"), 2, 3, 1)
