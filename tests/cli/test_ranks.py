"""Commands that several processes run together."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import rank_cases
import torch
from rank_cases import ended, free_port
from safetensors.numpy import load_file
from typer.testing import CliRunner

from proxmtl.cli.app import app

N, D, M = 240, 8, 4
pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of three shards, not equally long, with their labels."""
    folder = tmp_path_factory.mktemp("ranks")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) * np.logspace(0, 1, D) + 1
    W = rng.standard_normal((D, 2)) @ rng.standard_normal((2, M)) / np.logspace(0, 1, D)[:, None]
    Y = (X - 1) @ W + rng.standard_normal((N, M)) > 0
    (folder / "shards").mkdir()
    for number, (start, stop) in enumerate([(0, 30), (30, 170), (170, N)]):
        np.save(folder / "shards" / f"part-{number}.npy", X[start:stop])
    table = pd.DataFrame(Y.astype(int), columns=list("abcd")).astype(object)
    table.iloc[[3, 100]] = ""  # nothing is known of these rows
    table.to_csv(folder / "labels.csv", index=False)
    return folder


def arguments(data, out, *more):
    return ["fit", data / "shards", "--labels", data / "labels.csv", "--out", out, *more]


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "options",
    [
        ("--single-task", "0.01", "--tol", "1e-14"),
        ("--memory", "20kB"),
        ("--groups", "auto"),
        ("--single-task", "0.01", "--tol", "1e-14", "--divide", "tasks"),
        ("--memory", "20kB", "--groups", "auto", "--divide", "tasks"),
        # of other solvers the scores of a search differ in the third digit: scalings nearly tie
        ("--auto", "--standardize", "--divide", "tasks", "--tol", "1e-8"),
    ],
    ids=[
        "alone",
        "latent, read block by block",
        "groups found",
        "alone, by tasks",
        "latent, by tasks",
        "searched, by tasks",
    ],
)
def test_two_ranks_fit_the_model_of_one(data, tmp_path, options):
    alone = CliRunner().invoke(app, [*map(str, arguments(data, tmp_path / "one", *options))])
    assert alone.exit_code == 0, alone.output
    ended(rank_cases.start("proxmtl", 2, *arguments(data, tmp_path / "two", *options)))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    # found to the accuracy of the solver, of which the objective is a square
    scale = np.abs(one["coef_"]).max()
    apart = 1e-6 if "1e-14" in options else 1e-2
    np.testing.assert_allclose(two["coef_"], one["coef_"], rtol=0, atol=apart * scale)
    read = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("one", "two")]
    assert read[0]["inputs"] == read[1]["inputs"] or "--memory" not in options
    # the second rank wrote nowhere
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


TUNE = ("--points", "3", "--max-passes", "20", "--folds", "2", "--holdout", "0.1")


def tuning(data, out, *more):
    return ["tune", *arguments(data, out)[1:], *TUNE, *more]


@pytest.mark.timeout(280)
@pytest.mark.parametrize("options", [(), ("--model", "ridge", "--method", "grid")])
def test_two_ranks_tune_as_one(data, tmp_path, options):
    """The same trials, to the last digit that is written, in the same order; the same model."""
    kept = "--trials", tmp_path / "kept"
    ended(rank_cases.start("proxmtl", 2, *tuning(data, tmp_path / "two", *options, *kept)))
    files = {path.name for path in (tmp_path / "kept").iterdir()}
    alone = CliRunner().invoke(app, [*map(str, tuning(data, tmp_path / "one", *options))])
    assert alone.exit_code == 0, alone.output
    one, two = ((tmp_path / name / "trials.csv").read_text() for name in ("one", "two"))
    assert one == two
    assert len(files) == len(one.splitlines())  # a file for each, and that of the settings
    found = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        np.testing.assert_array_equal(found[1][name], value)
    # what was kept is taken up, and what is lacking is fitted again
    (tmp_path / "kept" / "candidate_0001_split_01.safetensors").unlink()
    ended(rank_cases.start("proxmtl", 2, *tuning(data, tmp_path / "again", *options, *kept)))
    assert (tmp_path / "again" / "trials.csv").read_text() == one
    assert {path.name for path in (tmp_path / "kept").iterdir()} == files


@pytest.mark.timeout(280)
def test_hypergradients_are_for_one_process(data, tmp_path):
    given = ["tune", *arguments(data, tmp_path / "run", "--model", "ridge")[1:]]
    first, second = ended(rank_cases.start("proxmtl", 2, *given), [2, 2])
    assert "hypergradients are followed one after another" in first
    assert not second  # what is wrong with the arguments is said once


def test_what_cannot_be_divided_raises(data, tmp_path):
    given = arguments(data, tmp_path / "run", "--divide", "columns")
    result = CliRunner().invoke(app, [*map(str, given)])
    assert result.exit_code == 2
    assert "--divide: got 'columns'; use 'rows' or 'tasks'" in result.output


KEPT = ("--memory", "20kB", "--max-passes", "15", "--tol", "1e-12", "--checkpoint", "0")


def started_again(killed, *given):
    """What torchrun's processes say of which the second is killed once.

    torchrun's store is the same in both attempts, with the addresses of the first.
    """
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"]
    return subprocess.run(
        [sys.executable, *launcher, f"--master-port={free_port()}",
         rank_cases.HERE / "rank_killed.py", *given],
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", "KILLED": killed},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


@pytest.mark.timeout(280)
def test_torchrun_starts_a_killed_rank_again_and_the_fit_goes_on(data, tmp_path):
    ended(rank_cases.start("proxmtl", 2, *arguments(data, tmp_path / "whole", *KEPT)))
    done = started_again("in the fit", *arguments(data, tmp_path / "run", *KEPT))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Note: goes on with the fit that is kept in") == 1  # by one rank
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "run"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    # two ranks kept their states in one folder, which is gone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "whole"]


@pytest.mark.timeout(280)
def test_a_rank_that_is_killed_when_the_run_is_complete_leaves_the_run_alone(data, tmp_path):
    """Two attempts as torchrun makes them: it has the store, and begins again when one has died."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    given = arguments(data, tmp_path / "run", *KEPT)
    for attempt, codes in enumerate(([2, -signal.SIGKILL], [2, 2])):
        env = {
            "MASTER_PORT": str(store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RUN_ID": "none",
            "GROUP_WORLD_SIZE": "1",
            "TORCHELASTIC_RESTART_COUNT": str(attempt),
            "KILLED": "at the end",
        }
        ranks = rank_cases.start(rank_cases.HERE / "rank_killed.py", 2, *given, env=env)
        errors = ended(ranks, codes)
    assert "".join(errors).count("the folder already holds a run") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert CliRunner().invoke(app, ["inspect", str(tmp_path / "run")]).exit_code == 0


@pytest.mark.timeout(280)
def test_an_error_of_one_rank_is_told_by_the_first(data, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in (data / "shards").iterdir():
        part = np.load(path)
        part[-1, 2] = np.nan if path.name == "part-2.npy" else part[-1, 2]
        np.save(bad / path.name, part)
    given = arguments(data, tmp_path / "run", "--holdout", "0")
    given[1] = bad
    first, second = ended(rank_cases.start("proxmtl", 2, *given), [2, 2])
    assert "rank 1: X: not finite" in first
    assert "part-2.npy" in first
    assert not second
    assert not (tmp_path / "run").exists()
    # what all ranks see is said once, and what the first alone sees is not said by others
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "note").touch()
    for out in ("run", "other"):
        labels = data / ("labels.csv" if out == "run" else "none.csv")
        given = arguments(data, tmp_path / out, "--labels", labels)
        first, second = ended(rank_cases.start("proxmtl", 2, *given), [2, 2])
        assert ("not a run that may be replaced" if out == "run" else "none.csv") in first
        assert not second


@pytest.mark.timeout(280)
def test_fewer_rows_than_ranks_are_divided_by_tasks_alone(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2))
    (tmp_path / "y.csv").write_text("a,b,c\n1,0,1\n0,1,0\n")
    given = ["fit", tmp_path / "x.npy", "--labels", tmp_path / "y.csv", "--out", tmp_path / "run",
             "--holdout", "0", "--single-task", "0.01"]  # fmt: skip
    first, *others = ended(rank_cases.start("proxmtl", 3, *given), [2, 2, 2])
    assert "X: 2 rows for 3 processes; start fewer." in first
    assert others == ["", ""]
    ended(rank_cases.start("proxmtl", 3, *given, "--divide", "tasks"))


@pytest.mark.timeout(280)
def test_a_signal_to_all_ranks_is_said_once(data, tmp_path):
    endless = "--max-passes", "1000000000", "--tol", "0", "--checkpoint", "0"
    ranks = rank_cases.start("proxmtl", 2, *arguments(data, tmp_path / "run", *endless))
    while not list(tmp_path.rglob("*.pt")) and all(each.poll() is None for each in ranks):
        time.sleep(0.05)
    for each in ranks:
        each.terminate()
    first, second = ended(ranks, [143, 143])
    assert first.count("Stopped by SIGTERM.") == 1
    assert not second


@pytest.mark.timeout(280)
def test_other_commands_are_for_one_process(data, tmp_path):
    first, second = ended(rank_cases.start("proxmtl", 2, "inspect", tmp_path), [2, 2])
    assert "inspect: runs in one process, and this is one of 2" in first
    assert not second  # what is wrong with the arguments is said once
