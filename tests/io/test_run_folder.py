"""Run folders: whole or not at all, the old one or the new one, at any moment."""

import errno
import os
import shutil
import signal
import textwrap
from pathlib import Path

import pytest
from disks import on_small_disk

from proxmtl.io import InputError, new_run_folder, read_model_kind, seal_folder, temporaries
from proxmtl.io.names import NEXT_FOLDER
from proxmtl.io.run_folder import finish_replacement, remove_run, replaced_model
from proxmtl.io.seal import read_manifest
from proxmtl.io.temporaries import temporary_file

posix = pytest.mark.skipif(os.name == "nt", reason="of POSIX file systems")


def _run(path, *, text="model", force=False):
    with new_run_folder(path, force=force) as staging:
        (staging / "plots").mkdir()
        (staging / "plots" / "latents.png").write_text(text)
        (staging / "model.json").write_text(text)


@posix
def test_a_temporary_file_that_a_signal_cut_off_is_not_of_the_run(tmp_path, monkeypatch):
    def interrupted(descriptor, path):
        raise KeyboardInterrupt

    with new_run_folder(tmp_path / "run") as staging:
        (staging / "plots").mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(temporaries, "holds", interrupted)  # it is there, and in no block yet
            with pytest.raises(KeyboardInterrupt), temporary_file(staging / "plots", ".png"):
                pass
        assert list((staging / "plots").iterdir())
        (staging / "model.json").write_text("model")
    assert not list((tmp_path / "run" / "plots").iterdir())
    assert [*read_manifest(tmp_path / "run").entries] == ["model.json"]


@posix
def test_a_folder_that_is_there_stays_the_same(tmp_path, monkeypatch):
    """It may be the current folder, a mounted disk, or what a link leads to."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    number = (tmp_path / "empty").stat().st_ino
    monkeypatch.chdir(tmp_path / "empty")
    _run(Path(), text="first")
    assert Path("model.json").read_text() == "first"
    _run(tmp_path / "link", text="second", force=True)
    assert Path("plots/latents.png").read_text() == "second"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "empty").stat().st_ino == number
    assert {path.name for path in Path().iterdir()} == {"plots", "model.json", "manifest.json"}


@pytest.mark.parametrize("gone", [".", "plots/latents.png"])
def test_what_vanished_before_the_end_goes_by_its_name_in_the_run(gone, tmp_path, monkeypatch):
    run = tmp_path / "out" / "run"

    def files(folder):
        found = ["model.json", "plots/latents.png"]
        shutil.rmtree(folder) if gone == "." else (folder / gone).unlink()
        return found

    monkeypatch.setattr("proxmtl.io.run_folder.files_below", files)
    with pytest.raises(FileNotFoundError) as caught:
        _run(run)
    assert caught.value.filename == str(run / gone)


def test_a_run_that_vanishes_while_it_is_replaced_is_named(tmp_path, monkeypatch):
    _run(tmp_path / "run", text='{"format": "proxmtl model"}')
    remove = shutil.rmtree

    def gone(folder, **options):
        remove(folder, **options)
        if Path(folder).name == NEXT_FOLDER:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "plots")

    monkeypatch.setattr(shutil, "rmtree", gone)
    with pytest.raises(FileNotFoundError) as caught:
        _run(tmp_path / "run", force=True)
    assert caught.value.filename == str(tmp_path / "run")


def test_a_run_that_is_replaced_leaves_nothing_of_it_behind(tmp_path):
    _run(tmp_path / "run", text="first")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with new_run_folder(tmp_path / "run", force=True) as staging:
        (staging / "model.json").write_text("second")
    found = {path.name for path in (tmp_path / "run").rglob("*")}
    assert found == {"plots", "model.json", "manifest.json", "notes.txt"}


def test_files_of_other_names_stay_though_they_were_sealed_with_the_run(tmp_path):
    """Those of the user: sealing a folder by hand must not hand them over."""
    run = tmp_path / "run"
    _run(run, text='{"format": "proxmtl model"}')
    (run / "manifest.json").unlink()
    (run / "notes.md").write_text("mine")
    seal_folder(run)
    assert sorted(read_manifest(run).entries) == ["model.json", "plots/latents.png"]
    seal_folder(run, ["model.json", "notes.md"])  # as if asked for
    _run(run, text="second", force=True)
    assert (run / "notes.md").read_text() == "mine"
    assert (run / "model.json").read_text() == "second"


@pytest.mark.parametrize(
    "content", ['{"format": "layers-model", "modelTopology": {}}', "no JSON", "[]"]
)
def test_models_of_other_programs_are_not_replaced(tmp_path, content):
    (tmp_path / "model.json").write_text(content)
    (tmp_path / "config.json").write_text("theirs")
    with pytest.raises(InputError, match="not a run that may be replaced"):
        _run(tmp_path, force=True)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"model.json": content, "config.json": "theirs"}


@pytest.mark.parametrize("damaged", ["model.json", "manifest.json"])
def test_a_damaged_run_may_be_replaced(tmp_path, damaged):
    run = tmp_path / "run"
    _run(run, text='{"format": "proxmtl model"}')
    (run / damaged).write_text("x")
    _run(run, text="second", force=True)
    assert (run / "model.json").read_text() == "second"


def test_a_disk_of_its_own_may_be_a_run(tmp_path):
    code = """
        from proxmtl.io import new_run_folder
        for force in (False, True):
            with new_run_folder(".", force=force) as staging:
                (staging / "model.json").write_text("x")
    """
    done = on_small_disk(tmp_path, textwrap.dedent(code))
    assert done.returncode == 0, done.stderr


class Killed(BaseException):
    """As sudden as SIGKILL: nothing sets anything right after it."""


def _killed_at(monkeypatch, step):
    """Be killed before the step of a number: a rename or a removal in place."""
    left = [step]

    def disturbed(whole):
        def act(self, *arguments, **options):
            if ".proxmtl-" not in str(arguments or self):
                left[0] -= 1
                if left[0] == 0:
                    raise Killed
            return whole(self, *arguments, **options)

        return act

    for name in ("replace", "unlink"):
        monkeypatch.setattr(Path, name, disturbed(getattr(Path, name)))


def _contents(run):
    paths = [*run.glob("*.json"), *run.glob("plots/*")]
    return {path.name: path.read_text() for path in paths}


def test_a_replacement_that_is_killed_at_any_moment_leaves_one_run_or_says_so(
    tmp_path, monkeypatch
):
    for name, text in (("old", "first"), ("new", "second")):
        _run(tmp_path / name, text=text)
    (tmp_path / "old" / "history.csv").write_text("of the old run")
    seal_folder(tmp_path / "old", ["model.json", "plots/latents.png", "history.csv"])
    old, new = (_contents(tmp_path / name) for name in ("old", "new"))
    seen = []
    for step in range(1, 20):
        run = tmp_path / f"run{step}"
        shutil.copytree(tmp_path / "old", run)
        with monkeypatch.context() as patch:
            _killed_at(patch, step)
            try:
                _run(run, text="second", force=True)
                break
            except Killed:
                pass
        if (run / NEXT_FOLDER).exists():
            state = "said"
            with pytest.raises(InputError, match=f"{run}: a new run is taking the place"):
                read_manifest(run)
        else:
            state = "old"
            read_manifest(run).check()
        seen.append(state)
        # without --force the next command ends what was begun, and replaces nothing more
        with pytest.raises(InputError, match="already holds a run"):
            _run(run, text="third")
        assert _contents(run) == (old if state == "old" else new)
        assert not (run / NEXT_FOLDER).exists()
        assert (run / "history.csv").exists() == (state == "old")
        _run(run, text="second", force=True)
        assert _contents(run) == new
    assert seen == ["old", *["said"] * (len(seen) - 1)]
    assert len(seen) == 5  # of the new folder, three files and the one that goes


def test_a_run_whose_removal_is_killed_at_any_moment_can_still_be_removed(tmp_path, monkeypatch):
    for step in range(1, 20):
        run = tmp_path / f"run{step}"
        _run(run)
        (run / "notes.txt").write_text("mine")
        with monkeypatch.context() as patch:
            _killed_at(patch, step)
            try:
                remove_run(run)
                break
            except Killed:
                pass
        remove_run(run)
        assert {path.name for path in run.rglob("*")} == {"plots", "notes.txt"}
    assert step > 3


def test_a_replacement_in_an_empty_folder_is_ended_too(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    with monkeypatch.context() as patch:
        _killed_at(patch, 2)
        with pytest.raises(Killed):
            _run(tmp_path / "run", text="first")
    with pytest.raises(InputError, match=r"a new run is taking .* again without --force"):
        read_model_kind(tmp_path / "run")
    with pytest.raises(InputError, match="already holds a run"):
        _run(tmp_path / "run", text="second")
    assert (tmp_path / "run" / "model.json").read_text() == "first"


def test_a_replacement_that_the_system_stops_is_said_and_ended_later(tmp_path, monkeypatch):
    _run(tmp_path / "run", text="first")
    whole = Path.replace

    def failing(self, target):
        if Path(target).name == "latents.png":
            raise OSError(errno.EIO, "failed", str(self))
        return whole(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", failing)
        patch.chdir(tmp_path)
        with pytest.raises(OSError, match="failed") as caught:
            _run("run", text="second", force=True)
    assert caught.value.filename == str(Path("run", "plots", "latents.png"))
    (said,) = caught.value.__notes__
    assert said.startswith("The finished run is in run; the same command without --force puts all")
    finish_replacement(tmp_path / "run")
    read_manifest(tmp_path / "run").check()
    assert (tmp_path / "run" / "plots" / "latents.png").read_text() == "second"


def test_a_model_that_is_replaced_leaves_other_files_alone(tmp_path):
    _run(tmp_path, text="first")
    (tmp_path / "checkpoint.pt").write_text("of the training")
    with pytest.raises(Killed), replaced_model(tmp_path):
        raise Killed
    assert (tmp_path / "model.json").read_text() == "first"
    with replaced_model(tmp_path) as staging:
        (staging / "model.json").write_text("second")
        seal_folder(staging)
    assert _contents(tmp_path).keys() == {"model.json", "manifest.json"}
    assert (tmp_path / "checkpoint.pt").exists()
    read_manifest(tmp_path).check()


def test_a_damaged_replacement_names_the_cure(tmp_path):
    _run(tmp_path, text="first")
    (tmp_path / NEXT_FOLDER).mkdir()
    (tmp_path / NEXT_FOLDER / "manifest.json").write_text("x")
    with pytest.raises(InputError, match=r"\.proxmtl\.next.* remove the folder"):
        _run(tmp_path, text="second", force=True)


def test_a_finished_run_whose_place_is_taken_meanwhile_is_kept(tmp_path, monkeypatch):
    others = '{"format": "proxmtl model", "kind": "another"}'

    def overtaken(run=tmp_path / "run"):
        with new_run_folder(run) as staging:
            (staging / "model.json").write_text("ours")
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "model.json").write_text(others)

    with pytest.raises(InputError, match="already holds a run") as caught:
        overtaken()
    assert (tmp_path / "run" / "model.json").read_text() == others
    assert (tmp_path / "run.kept-1" / "model.json").read_text() == "ours"
    assert caught.value.__notes__ == [f"The finished run is kept in {tmp_path / 'run.kept-1'}."]
    shutil.rmtree(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        overtaken("run")
    assert caught.value.__notes__ == ["The finished run is kept in run.kept-2."]


def test_a_run_whose_folder_is_removed_meanwhile_is_written(tmp_path):
    with new_run_folder(tmp_path / "runs" / "first") as staging:
        shutil.rmtree(tmp_path / "runs")
        staging.mkdir(parents=True)
        (staging / "model.json").write_text("whole")
    assert (tmp_path / "runs" / "first" / "model.json").read_text() == "whole"


def test_folders_that_were_made_for_a_run_go_with_it(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_run_folder(tmp_path / "a" / "b" / "run"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@posix
def test_signals_wait_until_a_run_is_in_place(tmp_path, monkeypatch):
    """A signal at each rename: the run is there whole, and then the signal takes effect."""
    _run(tmp_path / "run", text="first")
    whole, moved = Path.replace, []

    def interrupted(self, target):
        if ".proxmtl-" not in str(target):
            moved.append(target)
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "run", text="second", force=True)
    assert len(moved) == 4
    assert (tmp_path / "run" / "model.json").read_text() == "second"
    assert (tmp_path / "run" / "plots" / "latents.png").read_text() == "second"
    assert not list(tmp_path.glob(".proxmtl-*"))
