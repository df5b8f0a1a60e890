import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from proxmtl import LatentMTL

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Import a script of bench/ as `python bench/<script>.py` does."""
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module


@pytest.mark.parametrize(
    "name",
    [
        "awa_rows",
        "baselines",
        "batch",
        "clothing_convergence",
        "clothing_features",
        "clothing_rows",
        "joint_b8",
        "overlap_scale",
        "tune",
    ],
)
def test_scripts_explain_themselves(bench, name):
    app = typer.Typer()
    app.command()(bench(name).main)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "Options" in result.output


def test_strengths_of_the_grid_have_the_asked_invariants(bench):
    grid = bench("rows").invariants([1e-8, 1e-6], [1e-7, 1e-5, 1e-3])
    products = set()
    for point in grid:
        mu, gamma, ridge = (value for (value,) in point.values())
        products.add((round(np.log10(mu * gamma)), round(np.log10(mu * mu * ridge))))
    assert products == {(a, b) for a in (-8, -6) for b in (-7, -5, -3)}


def test_grid_points_with_equal_invariants_are_one_model():
    """The reason for searching over two numbers and not three."""
    g = torch.Generator().manual_seed(0)
    X = torch.randn(60, 5, generator=g, dtype=torch.float64)
    Y = torch.sign(X[:, :3] + 0.5 * torch.randn(60, 3, generator=g, dtype=torch.float64))
    solved = [
        LatentMTL(
            group_strength=mu,
            l1_strength=1e-5 / mu,
            frobenius_strength=1e-5 / mu**2,
            max_passes=3000,
            tol=1e-7,
        ).solve(X, Y)
        for mu in (0.03, 0.3)
    ]
    torch.testing.assert_close(solved[0].coef, solved[1].coef, atol=1e-4, rtol=0)
    assert solved[0].live_latents > 0


def test_passes_to_an_objective_and_thinning(bench):
    record = bench("record")
    history = [{"passes": float(i), "objective": 1000.0 - i} for i in range(1, 1000)]
    assert record.passes_to(history, 990.0) == 10.0
    assert record.passes_to(history, 0.5) is None
    thin = record.thinned(history, 50)
    assert thin[0] == history[0]
    assert thin[-1] == history[-1]
    assert 45 <= len(thin) <= 55
    assert record.thinned(history[:7]) == history[:7]


def test_results_on_disk_say_where_they_come_from(bench):
    expected = set(bench("record").environment())
    assert {"date", "machine", "python", "versions"} == expected
    paths = [
        *(BENCH / "results").glob("*_rows*.json"),
        *(BENCH / "results").glob("base*.json"),
        *(BENCH / "results").glob("joint*.json"),
    ]
    for path in paths:
        assert expected <= set(json.loads(path.read_text())), path.name
