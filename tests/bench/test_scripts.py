import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

import proxmtl
from bench import record
from bench.solvers import auto, peers
from bench.solvers.costs import Machine
from bench.solvers.engine import contenders
from bench.solvers.engine.cases import Case
from bench.solvers.engine.contenders import reach, timed
from proxmtl import LatentMTL

BENCH = Path(__file__).parents[2] / "bench"
FOLDERS = ("models", "scale", "solvers")
SCRIPTS = [path for name in FOLDERS for path in sorted((BENCH / name).glob("*.py"))]
SCRIPTS = [path for path in SCRIPTS if "\ndef main(" in path.read_text()]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_scripts_explain_themselves(path):
    app = typer.Typer()
    app.command()(importlib.import_module(f"bench.{path.parent.name}.{path.stem}").main)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "Options" in result.output


def test_grid_points_with_equal_invariants_are_one_model():
    """The reason for one strength in place of two, and none for the L1 norm."""
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


def test_passes_to_an_objective_and_thinning():
    history = [{"passes": float(i), "objective": 1000.0 - i} for i in range(1, 1000)]
    assert record.passes_to(history, 990.0) == 10.0
    assert record.passes_to(history, 0.5) is None
    thin = record.thinned(history, 50)
    assert thin[0] == history[0]
    assert thin[-1] == history[-1]
    assert 45 <= len(thin) <= 55
    assert record.thinned(history[:7]) == history[:7]


def test_runs_of_the_same_settings_are_kept_and_no_others(monkeypatch, tmp_path):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    settings = {"input_shape": (3, 8, 8), "widths": (16, 32), "grid": {"joint": ((0.1, 1e-3),)}}
    assert record.runs_so_far("rows", settings) == {}
    record.save("rows", {"settings": settings, "runs": {"first": 1}})
    assert record.runs_so_far("rows", settings) == {"first": 1}
    assert record.runs_so_far("rows", settings | {"widths": (16, 64)}) == {}


def test_results_on_disk_say_where_they_come_from():
    expected = set(record.environment())
    assert {"date", "machine", "python", "versions"} == expected
    paths = [
        *(BENCH / "results").glob("base*.json"),
        *(BENCH / "results").glob("joint*.json"),
    ]
    for path in paths:
        assert expected <= set(json.loads(path.read_text())), path.name


@pytest.mark.parametrize("kind", ["l1", "rows", "groups", "overlaps"])
@pytest.mark.parametrize("loss", ["SquaredHinge", "Squared", "Logistic"])
def test_the_race_measures_peers_and_ours_by_one_objective(kind, loss):
    from proxmtl import L1, L21, GroupL2, Groups, OverlappingGroupL2

    penalties = {
        "l1": L1,
        "rows": L21,
        "groups": lambda s: GroupL2(Groups.from_lists([[0, 1], [2, 3, 4]]), s, axis=0),
        "overlaps": lambda s: OverlappingGroupL2(
            Groups.from_lists([[0, 1, 2], [2, 3, 4]]), s, axis=0
        ),
    }
    g = np.random.default_rng(0)
    X, Y = g.standard_normal((20, 5)), np.sign(g.standard_normal((20, 1)))
    case = Case("small", X, Y, getattr(proxmtl, loss)(), penalties[kind], 0.3, "none")
    W = g.standard_normal((5, 1))
    ours = float(case.problem().objective(torch.from_numpy(W)))
    assert case.objective(W) == pytest.approx(ours, rel=1e-12)
    assert reach([(0.1, 1.5), (0.2, 1.0005), (0.3, 1.2)], 1.0, 1e-3) == 0.2
    assert reach([(0.1, 1.5)], 1.0, 1e-3) is None


def test_times_of_a_race_are_medians_and_ratios_of_the_rounds():
    curves = {
        "proxmtl": [[(1.0, 1.1), (2.0, 1.0)], [(1.0, 1.0)], [(4.0, 1.0)]],
        "peer": [[(6.0, 1.0)], [(2.0, 1.0)], [(4.0, 1.0)]],
        "rough": [[(0.5, 1.1)], [(0.5, 1.1)], [(0.5, 1.2)]],
    }
    times = timed(curves, 1.0, (0.15, 1e-6))
    assert times["peer"][1] == {"seconds": 4.0, "ratio": 2.0, "spread": [1.0, 3.0]}
    assert times["proxmtl"][0]["seconds"] == times["proxmtl"][0]["ratio"] == 1.0
    assert times["rough"] == [None, None]
    row = {"title": "A", "times": times, "failed": {"broken": "TypeError: no"}}
    assert peers.table(row)[2:] == [
        "| peer | 4 (2x, 1–6) | 4 (2x, 1–3) |",
        "| rough | – | – |",
        "| broken: TypeError: no | | | |",
    ]


def test_a_race_takes_turns_and_has_one_objective(monkeypatch, tmp_path):
    g = np.random.default_rng(0)
    X, Y = g.standard_normal((20, 5)), np.sign(g.standard_normal((20, 1)))
    case = Case("small", X, Y, proxmtl.SquaredHinge(), proxmtl.L1, 0.3, "none")
    order = []

    def entrant(name, value):
        def run(_, limit):
            assert limit == 7.0
            order.append(name)
            return [(0.1, value), (0.2, value / 2)]

        return name, run

    entrants = [entrant("proxmtl", 4.0), entrant("peer", 3.0), entrant("other", 5.0)]
    monkeypatch.setattr(contenders, "contenders", lambda _: entrants)
    entrants.append(("broken", lambda *_: 1 / 0))
    curves, best, failed = contenders.race(case, 7.0, 2, skip=["oth"])
    assert order == ["proxmtl", "peer", "peer", "proxmtl"]
    assert best == 1.5
    assert failed == {"broken": "ZeroDivisionError: division by zero"}
    assert {name: len(found) for name, found in curves.items()} == {"proxmtl": 2, "peer": 2}
    case.penalty = lambda s: proxmtl.L21(s) if s == 1.0 else proxmtl.L1(2 * s)
    with pytest.raises(ValueError, match="by the certificate"):
        contenders.race(case, 7.0, 1)
    monkeypatch.setattr(record, "DOCS", tmp_path)
    (tmp_path / "benchmarks").mkdir()
    times = timed(curves, best, (1e-3, 1e-6, 1e-8))
    peers.plot({"a": {"times": times}}, "profiles")
    assert "proxmtl (1)" in (tmp_path / "benchmarks" / "profiles.svg").read_text()


def test_auto_is_compared_with_the_solvers_that_take_a_problem():
    setting = auto.Setting("ridge", "logistic", 60, 8, 2, 1.0)
    problem = auto.maker(setting)()
    found = auto.solvers_for(problem)
    assert {"FISTA", "LBFGS", "NewtonCholesky"} <= set(found)
    assert not set(found) & {"CoordinateNewton", "PANOC", "Hybrid"}
    rates = Machine(1e10, 1e10, 1e-5)
    row = auto.compare(setting, rates, 1)
    assert row["auto"] in row["seconds"]
    assert row["ratio"] >= 1
    lines = auto.summary({"a": row | {"ratio": 1.2}, "b": row | {"ratio": None}})
    assert lines[0].startswith("within 1.5 of the best: 1 of 2")
    assert len({setting.name for setting in auto.grid()}) == len(auto.grid())
