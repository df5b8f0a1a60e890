"""bench/cnn_ensemble.py at a small size: contenders that are the same model have the same loss."""

import importlib
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("cnn_ensemble")


def test_contenders_are_measured(bench):
    runs = bench.measure(torch.device("cpu"), 2, 3, 1)
    assert runs["loop"]["speed_against_loop"] == 1
    assert len(runs) == 6
    assert all(run["images_per_second"] > 0 for run in runs.values())


def test_another_loss_stops_the_race(bench, monkeypatch):
    right = bench.contenders

    def wrong(*arguments):
        return {**right(*arguments), "vectorised": lambda: 123.0}

    monkeypatch.setattr(bench, "contenders", wrong)
    with pytest.raises(RuntimeError, match="vectorised has loss 123"):
        bench.measure(torch.device("cpu"), 2, 3, 1)
