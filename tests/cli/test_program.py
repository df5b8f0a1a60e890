"""The program as a whole: help, version, the demo."""

import json
import subprocess
import sys

import numpy as np
import pytest

COMMANDS = ["demo", "fit", "predict", "evaluate", "inspect"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(program, command):
    code, out, _ = program(command, "--help")
    assert code == 0
    assert f"proxmtl {command}" in out.split("Usage:")[1].split("\n", 1)[1]


def test_help_lists_the_commands(program):
    code, out, _ = program("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"proxmtl {command}" in out


def test_unknown_options_end_with_code_2(program):
    code, _, err = program("fit", "x.npy", "--label", "y.csv")
    assert code == 2
    assert "--label" in err


def test_the_installed_program_starts():
    command = [sys.executable, "-c", "from proxmtl.cli import main; main()", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("proxmtl ")


def test_a_small_demo(program, files):
    command = ("demo", "--n-train", "120", "--n-splits", "1", "--out", "demo")
    code, out, _ = program(*command)
    assert code == 0
    for part in ("single task", "latent, groups", "AP topology", "relative gap", "proxmtl fit"):
        assert part in out
    folder = files / "demo"
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "latents.png",
        "convergence.png",
        "attributes.png",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    total = {row["row"]: row["ap"] for row in metrics["per_group"] if row["group"] == "Total"}
    assert len(total) == 3
    assert all(0.6 < ap < 1 for ap in total.values())
    assert np.load(folder / "data" / "features.npy").shape == (1797, 64)
    # The data of the demo are inputs of the other commands.
    inputs = ("demo/data/features.npy", "-l", "demo/data/labels.csv", "-g", "demo/data/groups.toml")
    code, out, _ = program("fit", *inputs, "-o", "run", "--max-passes", "20")
    assert code == 0
    assert "arithmetic" in out
