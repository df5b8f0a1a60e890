"""The contenders of bench/solvers/overlap_scale.py at a small size: what they solve is the same."""

import pytest

from bench.solvers import overlap_scale as bench


@pytest.mark.parametrize("name", ["proxmtl", "sweeps", "admm", "clarabel", "latent", "duplicated"])
def test_contenders_agree_at_a_small_size(name, monkeypatch):
    monkeypatch.setattr(bench, "LIMIT", 3.0)
    lower = bench.lower_bound(name, 1.0, 400)
    found = bench.one(name, 1.0, 400, lower)
    assert -1e-12 <= found["relative_gap"] <= 1.01e-10
    assert found["seconds"] > 0


def test_the_regression_converges():
    found = bench.regression((0.5,))["0.5"]
    assert found["status"] == "CONVERGED"
    assert 0 < found["alive"] < 0.1
