"""bench/kernels/run.py at a small size: what it checks, writes, leaves out and gives up."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.kernels import cases, hinge, prox
from bench.kernels import run as run_kernels
from bench.kernels.cases import CPU, GPU, Suite, suite
from bench.kernels.timing import Ceilings
from proxmtl import kernels

RESULTS = sorted((Path(run_kernels.__file__).parents[1] / "results").glob("cpu-*.json"))

SMALL = {
    "per task": partial(hinge.per_task, shape=(2, 9, 16), dtype=torch.float32),
    "per task, narrow": partial(hinge.per_task, shape=(2, 9, 16), dtype=torch.bfloat16),
    "shared": partial(hinge.shared, shape=(16, 8, 3), dtype=torch.float32),
    "soft": partial(prox.soft, n=1000, in_place=False),
    "soft in place": partial(prox.soft, n=1000, in_place=True),
    "shrink, equal": partial(prox.shrink, shape=(100,), groups=prox.uniform(10, 10)),
    "shrink, ragged, in place": partial(
        prox.shrink, shape=(100,), groups=prox.ragged(100, 19), in_place=True
    ),
    "shrink columns": partial(prox.shrink, shape=(8, 6), groups=prox.uniform(1, 8), axis=0),
    "smooth": partial(prox.smooth, shape=(5, 30), groups=prox.windows(30, 10, 5)),
    "sweep": partial(prox.sweep, shape=(5, 30), groups=prox.windows(30, 10, 5)),
}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the script on a suite; what it writes. Nothing is compiled: that takes seconds a form."""
    monkeypatch.setattr(torch, "compile", lambda form: form)
    monkeypatch.setattr(torch.compiler, "reset", lambda: None)
    monkeypatch.setattr(cases, "backend", lambda _: "torch")

    def call(chosen, *options):
        monkeypatch.setattr(run_kernels, "suite", lambda _: chosen)
        monkeypatch.setattr(run_kernels, "Ceilings", partial(Ceilings, n_bytes=4096, side=8))
        arguments = ["run.py", "--device", "cpu", "--seconds", "0"]
        monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path), *options])
        run_kernels.main()
        (file,) = tmp_path.glob("*.json")
        return json.loads(file.read_text())

    return call


def small_suite(**changes):
    small = Suite()
    for name, make in SMALL.items():
        small.add(name, partial(changes.get(name, make), name=name))
    return small


def test_every_kind_of_case_is_measured(run, tmp_path):
    result = run(small_suite())
    assert {row["case"] for row in result["rows"]} == set(SMALL)
    assert all(row["ms"]["p50"] > 0 for row in result["rows"])
    assert {"ours/torch", "torch form"} <= {row["contender"] for row in result["rows"]}
    assert result["torch"] == torch.__version__
    assert next(tmp_path.glob("*.svg")).stat().st_size > 0


def test_wrong_results_are_not_measured(run, capsys):
    def wrong(label):
        def make(device, *, name):
            case = SMALL["soft"](device, name=name)
            case.contenders[label] = lambda: torch.zeros(1000)
            return dataclasses.replace(case)

        return make

    result = run(small_suite(soft=wrong("torch form")), "--only", "soft")
    labels = {row["contender"] for row in result["rows"] if row["case"] == "soft"}
    assert "torch form" not in labels
    assert "soft: torch form is left out" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no figures for soft:"):
        run(small_suite(soft=wrong("ours/torch")), "--only", "soft")


def test_cases_are_chosen(run, capsys):
    small = small_suite()
    small.large.add("sweep")
    assert {row["case"] for row in run(small, "--after", "shrink columns")["rows"]} == {"smooth"}
    assert "sweep: left out" in capsys.readouterr().out
    rows = run(small, "--after", "smooth", "--large")["rows"]
    assert {row["case"] for row in rows} == {"smooth", "sweep"}


def test_suites_name_every_case_once():
    assert suite(torch.device("cpu")) is CPU
    assert {"soft 1e7 fp32", "hinge per task 23x1200x2048 float32"} <= CPU.factories.keys()
    assert {"soft 4e7 fp32", "hinge per task 85x3000x4096 bfloat16"} <= GPU.factories.keys()
    assert CPU.large == {"hinge per task 85x3000x4096 float32"}


@pytest.mark.parametrize("kept", RESULTS, ids=lambda path: path.stem)
def test_figures_that_are_kept_are_of_operations_that_there_are(kept):
    rows = json.loads(kept.read_text())["rows"]
    assert {row["operation"] for row in rows} <= set(kernels.operations())
