"""``fit`` that is interrupted, and given again."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from proxmtl.cli import console, unfinished
from proxmtl.cli.app import app
from proxmtl.io import Checkpoint, InputError, run_folder
from proxmtl.io.run_folder import unfinished_folder
from proxmtl.io.seal import MANIFEST_FILE, read_sealed, write_sealed
from proxmtl.ranks import ALONE

N, D, M = 120, 6, 4


class Killed(BaseException):
    """In place of a signal."""


@pytest.fixture
def folder(tmp_path, monkeypatch, blank_figures):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    Y = X @ rng.standard_normal((D, M)) + rng.standard_normal((N, M)) > 0
    np.save(tmp_path / "x.npy", X)
    pd.DataFrame(Y.astype(int), columns=list("abcd")).to_csv(tmp_path / "y.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)  # the machine is not switched off
    return tmp_path


def fit(*more, out="run"):
    line = "fit x.npy --labels y.csv --shared-strength 0.2 --own-strength inf --algorithm panoc"
    line += " --max-passes 60 --tol 1e-12 --checkpoint 0 --out"
    return CliRunner().invoke(app, [*line.split(), out, *more])


@pytest.fixture
def killed(folder, monkeypatch):
    """A fit that was killed before its sixteenth write."""
    whole = fit(out="whole")
    assert whole.exit_code == 0, whole.output
    save, left = Checkpoint.save, [15]

    def counted(self, *given):
        if not left[0]:
            raise Killed
        left[0] -= 1
        save(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", counted)
        with pytest.raises(Killed):
            fit()
    assert not (folder / "run").exists()
    assert list(unfinished_folder(folder / "run").rglob("*.pt"))
    return folder


def test_the_same_command_goes_on_to_the_same_run(killed, monkeypatch):
    begun = []
    load = Checkpoint.load
    monkeypatch.setattr(Checkpoint, "load", lambda *given: begun.append(load(*given)) or begun[-1])
    # how the folder is named and how often it is written to does not change the result
    found = fit("--checkpoint", "60", out=str(killed / "run"))
    assert found.exit_code == 0, found.output
    assert "Note: goes on with the fit that is kept in" in found.output
    assert any(each is not None and each.get("history") for each in begun)
    one, two = (load_file(killed / name / "model.safetensors") for name in ("whole", "run"))
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[key], two[key]) for key in one)
    tables = [pd.read_csv(killed / name / "history.csv") for name in ("whole", "run")]
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables))
    reports = [
        json.loads((killed / name / "metrics.json").read_text()) for name in ("whole", "run")
    ]
    assert reports[0] == reports[1]
    assert sorted(path.name for path in killed.iterdir()) == ["run", "whole", "x.npy", "y.csv"]


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        ("", ("--tol", "1e-3"), "--tol was 1e-12 and is 0.001 now"),
        ("labels", (), "the contents of the files were others"),
        ("version", (), "version was 0.0.1 and is"),
    ],
)
def test_another_command_raises_or_begins_anew_by_force(killed, change, more, said):
    if change == "labels":
        text = (killed / "y.csv").read_text()
        (killed / "y.csv").write_text(text.replace("1,1,1,1", "1,1,1,0", 1))
    elif change == "version":
        path = unfinished_folder(killed / "run") / "fit-0.json"
        write_sealed(path, {**read_sealed(path, ""), "version": "0.0.1"})
    refused = fit(*more)
    assert refused.exit_code == 2
    assert f"a fit that was to be written here has not ended, and {said}" in refused.output
    assert "What is done of the fit is kept" not in refused.output
    anew = fit(*more, "--force")
    assert anew.exit_code == 0, anew.output
    assert "Note: begins anew: run has an unfinished fit in which" in anew.output
    assert not unfinished_folder(killed / "run").exists()
    assert fit(*more, out="other").exit_code == 0
    one, two = (load_file(killed / name / "model.safetensors") for name in ("other", "run"))
    assert all(np.array_equal(one[key], two[key]) for key in one)


def test_an_error_says_what_is_kept(killed, monkeypatch):
    def full(self, *_):
        raise OSError(28, "No space left on device", str(self.folder))

    monkeypatch.setattr(Checkpoint, "save", full)
    found = fit()
    assert found.exit_code == 2
    assert "no space is left on its disk" in found.output
    assert "What is done of the fit is kept in" in found.output
    assert not (killed / "run").exists()


def test_a_run_beside_what_is_kept_is_the_finished_one(killed):
    """A kill may come when the run is in its place and what was kept is still there."""
    kept = unfinished_folder(killed / "run")
    (killed / "whole").rename(killed / "run")
    found = fit()
    assert found.exit_code == 2
    assert "already holds a run" in found.output
    assert kept.exists()  # it may be that of a fit that was to replace the run
    (kept / unfinished.DONE).touch()  # there was no run before
    assert "already holds a run" in fit().output
    assert not kept.exists()


def test_a_kill_before_the_run_is_replaced_loses_nothing(folder, monkeypatch):
    assert fit(out="run").exit_code == 0

    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "_put_into_place", killed)
        with pytest.raises(Killed):
            fit("--force", "--tol", "1e-9")
    kept = unfinished_folder(folder / "run")
    assert (kept / unfinished.DONE).exists()
    found = fit("--force", "--tol", "1e-9")
    assert found.exit_code == 0, found.output
    assert "Note: goes on with the fit that is kept in" in found.output
    assert not kept.exists()


def test_groups_that_are_found_are_another_fit(killed):
    refused = fit("--groups", "auto")
    assert "has not ended, and --groups was None and is auto now" in refused.output
    assert fit("--groups", "auto", "--force").exit_code == 0


def test_states_go_before_what_they_are_of(killed, monkeypatch):
    """Whoever is killed while it removes a fit leaves nothing that another one would go on with."""

    def stopped(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stopped)
        with pytest.raises(Killed):
            unfinished.Unfinished(killed / "run", ALONE).remove()
    found = fit("--tol", "1e-3")
    assert found.exit_code == 0, found.output


@pytest.mark.parametrize("most", range(6))
def test_what_a_kill_leaves_of_a_fit_that_has_ended_is_removed(tmp_path, monkeypatch, most):
    kept, left = unfinished_folder(tmp_path / "run"), [most]
    (kept / "rank-0").mkdir(parents=True)
    for name in ("rank-0/state.pt", "fit-0.json", "fit-1.json"):
        (kept / name).touch()
    unfinished.Unfinished(tmp_path / "run", ALONE).done()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / MANIFEST_FILE).write_text("put into place")
    unlink = Path.unlink

    def counted(self, **options):
        if not left[0]:
            raise Killed
        left[0] -= 1
        unlink(self, **options)

    def the_mark_first(folder, **_):
        entries = sorted(Path(folder).iterdir(), key=lambda entry: entry.name != unfinished.DONE)
        for entry in entries:
            the_mark_first(entry) if entry.is_dir() else entry.unlink()
        Path(folder).rmdir()

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(Path, "unlink", counted)
        patch.setattr("shutil.rmtree", the_mark_first)
        unfinished.Unfinished(tmp_path / "run", ALONE)
    assert kept.exists() == (most < 4)
    unfinished.Unfinished(tmp_path / "run", ALONE)
    assert not kept.exists()


def test_a_rank_that_marks_its_end_after_another_has_put_the_run_into_place(tmp_path):
    kept = unfinished_folder(tmp_path / "run")
    kept.mkdir()
    (kept / "state.pt").touch()
    second = unfinished.Unfinished(tmp_path / "run", ALONE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / MANIFEST_FILE).write_text("put into place by the first")
    second.done()
    unfinished.Unfinished(tmp_path / "run", ALONE)
    assert not kept.exists()


def test_a_kill_between_the_mark_and_its_folder_leaves_nothing(tmp_path):
    kept = unfinished_folder(tmp_path / "run")
    kept.mkdir()
    unfinished.Unfinished(tmp_path / "run", ALONE)
    assert not kept.exists()


def test_a_fit_is_told_in_lines_where_there_is_no_terminal(folder, monkeypatch):
    quiet = fit()
    assert "Fitting" not in quiet.output  # nothing in the first half minute
    monkeypatch.setattr(console, "EVERY", 0.0)
    found = fit("--force")
    assert re.search(r"Fitting, \d s: \d+ of at most 60 passes, objective 0\.\d+; ", found.output)
    assert "passes a second, at most" in found.output
    searched = CliRunner().invoke(app, ["fit", "x.npy", "-l", "y.csv", "--auto", "-o", "auto"])
    assert re.search(r"Fitting, \d s: cross-validation, fold 2 of 5", searched.output)


@pytest.mark.parametrize("name", unfinished.PLACES)
def test_options_that_change_no_result_do_not_make_it_another_fit(folder, name):
    def keep(**options):
        found = unfinished.Unfinished(folder / "run", ALONE)
        with found.checkpoint(options, [], seconds=0, force=False) as kept:
            kept.part("solve", {}).save({"x": 1}, {}, 0, 0.0, ALONE)

    keep(**{name: "before"}, tol=0.1)
    keep(**{name: "after"}, tol=0.1)
    with pytest.raises(InputError, match="--tol"):
        keep(**{name: "after"}, tol=0.2)
