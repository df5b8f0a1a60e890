"""What was computed is not lost, whatever becomes of its files; targets are settled first."""

import errno
import json
import os
import pydoc
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from disks import on_small_disk

from proxmtl.cli.signals import stoppable
from tests.faults.world import tiny_network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

posix = pytest.mark.skipif(os.name == "nt", reason="of POSIX systems")
FIT = ("fit", "x.npy", "-l", "y.csv", "-g", "g.json", "--max-passes", "20")


@posix
def test_outputs_that_are_no_regular_files_and_inputs_are_refused(program, files):
    os.mkfifo(files / "pipe")
    (files / "link").symlink_to("/dev/null")
    assert program(*FIT, "-o", "run")[0] == 0
    predict, evaluate = ("predict", "run", "x.npy"), ("evaluate", "run", "x.npy", "-l", "y.csv")
    for out, said in {
        "pipe": "pipe: this is a FIFO, not a regular file",
        "link": "link: this is a device",
        "/dev/null": "/dev/null: this is a device",
        "x.npy": "x.npy: this is read by the same command",
        "run/model.json": "run/model.json: this is read by the same command",
        "plots/none.csv": "its folder",
    }.items():
        for command in (predict, evaluate):
            code, _, err = program(*command, "--out", out, "--force")
            assert code == 2
            assert said in err
    assert program(*evaluate, "-o", "y.csv", "--force")[0] == 2
    assert program(*evaluate)[0] == 0  # nothing was harmed


def test_extract_spares_the_names_that_it_reads(program, photos):
    names = (photos / "photos.csv").read_text()
    (photos / "f.ids.csv").write_text(names)
    code, _, err = program("extract", "photos", "-o", "f.npy", "--names", "f.ids.csv")
    assert code == 2
    assert "f.ids.csv: this is read by the same command" in err
    assert (photos / "f.ids.csv").read_text() == names


def test_extract_replaces_no_names_of_another_file_unasked(program, photos):
    np.savez(photos / "net.npz", **tiny_network(np.random.default_rng(0)))
    np.savez(photos / "f.npz", x=np.ones((2, 3)))
    (photos / "f.ids.csv").write_text("id\nb\na\n")
    extract = ("extract", "photos", "-o", "f.npy", "-n", "net.npz")
    code, _, err = program(*extract)
    assert code == 2
    assert "f.ids.csv: the file exists, and no extraction to f.npy wrote it" in err
    assert (photos / "f.ids.csv").read_text() == "id\nb\na\n"
    assert not list(photos.glob("f.npy*"))
    assert program(*extract, "--force")[0] == 0
    code, _, err = program("fit", "f.npz", "-l", "y.csv", "-o", "run")
    assert code == 2
    assert "f.ids.csv: names the rows of f.npy, says f.seal.json, and not those of f.npz" in err


@posix
def test_a_run_may_be_the_current_folder_or_behind_a_link(program, files, monkeypatch):
    (files / "empty").mkdir()
    (files / "link").symlink_to("empty")
    assert program(*FIT, "-o", "link")[0] == 0
    assert program("inspect", "link")[0] == 0
    (files / "here").mkdir()
    monkeypatch.chdir(files / "here")
    again = [f"../{part}" if part in {"x.npy", "y.csv", "g.json"} else part for part in FIT]
    assert program(*again, "-o", ".")[0] == 0
    assert program("inspect", ".")[0] == 0


def _failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


@pytest.mark.parametrize(
    ("target", "error", "without"),
    [
        ("run.plot_convergence", KeyError("x"), "plots/convergence.png"),
        ("run.save_figure", OSError(errno.EIO, "", "f"), "plots/latents.png, plots/convergence"),
        ("outcome.attribute_metrics", MemoryError(), "metrics_by_attribute.csv"),
        ("outcome.write_fitted_rows", OSError(errno.ENOSPC, "", "f"), "fitted_rows.npy"),
    ],
)
def test_a_model_is_saved_though_another_part_is_not(  # noqa: PLR0917 - a table of three columns
    program, monkeypatch, tmp_path, target, error, without
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with monkeypatch.context() as patch:
        patch.setattr(f"proxmtl.cli.{target}", _failing(error))
        found, out, err = program(*FIT, "-o", "run")
    assert found == (70 if isinstance(error, KeyError) else 2)
    assert "run folder -> run" in out
    assert f"The model is saved in run, without {without}" in err
    assert err.endswith("; with --force the same command writes the whole run.\n")
    assert program("predict", "run", "x.npy", "-o", "p.csv")[0] == 0
    assert program("inspect", "run")[0] == 0


def test_an_interruption_after_the_fit_keeps_the_model(program, files, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("proxmtl.cli.run.plot_latents", _failing(KeyboardInterrupt()))
        code, _, err = program(*FIT, "-o", "run")
    assert code == 130
    assert "\nStopped. The model is saved in run, without plots/latents.png, " in err
    assert program("predict", "run", "x.npy", "-o", "p.csv")[0] == 0


@posix
@pytest.mark.parametrize(
    ("place", "missing"),
    [
        ("proxmtl.cli.outcome.fit_report", True),
        ("proxmtl.cli.run.save_model", True),
        ("proxmtl.cli.run.write_figures", True),
        ("proxmtl.cli.outcome._sharing", False),
        ("proxmtl.io.run_folder.seal_folder", False),
    ],
)
def test_a_signal_while_a_fit_is_saved_keeps_the_fit(program, monkeypatch, place, missing):
    whole = pydoc.locate(place)

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return whole(*arguments, **options)

    with monkeypatch.context() as patch, stoppable():
        patch.setattr(place, interrupted)
        code, _, err = program(*FIT, "-o", "run")
    assert code == 143
    if missing:
        assert "Stopped by SIGTERM. The model is saved in run, without " in err
        assert err.endswith("; with --force the same command writes the whole run.\n")
    else:
        assert err == "Stopped by SIGTERM. run is complete.\n"
    assert program("inspect", "run")[0] == 0


def test_a_model_that_its_folder_does_not_take_is_kept_elsewhere(program, files, monkeypatch):
    from proxmtl.cli.run import save_model

    tried = []

    def full(folder, model):
        tried.append(folder)
        if len(tried) == 1:
            raise OSError(errno.ENOSPC, "", str(folder / "model.safetensors"))
        save_model(folder, model)

    (files / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(files / "tmp"))
    monkeypatch.setattr("proxmtl.cli.run.save_model", full)
    code, _, err = program(*FIT, "-o", "run")
    assert code == 2
    (kept,) = (files / "tmp").iterdir()
    assert "run/model.safetensors: no space is left" in err
    assert f"The finished model is kept in {kept}." in err
    assert not (files / "run").exists()
    assert program("inspect", kept)[0] == 0


def test_predictions_that_their_disk_does_not_take_are_kept_elsewhere(program, files, monkeypatch):
    assert program(*FIT, "-o", "run")[0] == 0
    (files / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(files / "tmp"))
    error = OSError(errno.ENOSPC, "", "p.csv")
    monkeypatch.setattr("proxmtl.cli.parts.write_text", _failing(error))
    code, _, err = program("predict", "run", "x.npy", "-o", "p.csv")
    assert code == 2
    (kept,) = (files / "tmp").iterdir()
    assert "p.csv: no space is left on its disk; make room there" in err
    assert f"The finished table is kept in {kept}." in err
    assert kept.read_text().count("\n") == 81


def test_sizes_that_cannot_be_are_said_before_the_work(program, files):
    code, _, err = program(*FIT, "-o", "run", "--n-latents", 10**12)
    assert code == 2
    assert "--n-latents: 1000000000000 latent tasks of 6 features and 4 attributes take" in err
    assert "would fit, and the default is 4." in err
    for command in ("fit", "tune"):
        code, _, err = program(command, *FIT[1:], "-o", "run", "--seed", 2**63)
        assert code == 2
        assert "--seed" in err
    assert not (files / "run").exists()


def test_folders_that_must_outlive_a_run_are_not_in_it(program, photos):
    code, _, err = program("tune", *FIT[1:], "-o", "run", "--trials", "run/trials")
    assert code == 2
    assert "run/trials: lies in the run folder run; give a folder beside it as --trials" in err
    train = ("train", "photos", "-l", "photos.csv", "-o", "run", "--cache")
    assert "as --cache" in program(*train, "run")[2]
    assert "this is a file" in program(*train, "photos.csv")[2]
    assert not (photos / "run").exists()


def test_an_interrupted_search_goes_on_with_the_fits_it_kept(program, files, monkeypatch):
    from proxmtl.selection.storage import Storage

    whole, saved = Storage.save, []

    def stopping(self, name, *arguments, **tensors):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(name)
        return whole(self, name, *arguments, **tensors)

    tune = ("tune", *FIT[1:], "--points", "2", "-o", "run", "--trials", "trials")
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "save", stopping)
        code, _, err = program(*tune)
    assert code == 130
    assert err.endswith("3 finished fits are kept in trials; the same command goes on with them.\n")
    assert program(*tune)[0] == 0


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_fit_in_a_process_of_its_own_ends_by_a_signal(files, name, code):
    long = [*FIT[:-1], "1000000000", "--tol", "0", "-o", "runs/first"]
    command = [sys.executable, "-m", "proxmtl", *long]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=files, text=True, **pipes) as process:
        for _ in range(600):  # the room for the model is taken just before the fit
            if list(files.glob("runs/.proxmtl-*/.proxmtl-*")):
                break
            time.sleep(0.1)
        process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=60)
    by = "" if name == "SIGINT" else f" by {name}"
    assert (process.returncode, err) == (code, f"Stopped{by}. Nothing was written.\n")
    assert not (files / "runs").exists()


FULL = """
    import json, os, shutil, sys
    from pathlib import Path
    from typer.testing import CliRunner
    from proxmtl.cli.app import app

    source = Path(sys.argv[1])
    for name in ("x.npy", "y.csv", "g.json", "photos.csv"):
        shutil.copy(source / name, name)

    def program(*arguments):
        result = CliRunner().invoke(app, list(arguments))
        print(json.dumps([result.exit_code, result.stderr]), flush=True)

    def fill(leave):
        status = os.statvfs(".")
        Path("filler").write_bytes(bytes(status.f_bavail * status.f_frsize - leave))

    fit = ["fit", "x.npy", "-l", "y.csv", "--max-passes", "20", "-o"]
    fill(500_000)
    program(*fit, "run")
    Path("filler").unlink()
    program(*fit, "run")
    predict = ["predict", "run", "x.npy", "-o", "p.csv"]
    fill(0)
    program(*predict)
    program("evaluate", "run", "x.npy", "-l", "y.csv", "-o", "e.csv")
    Path("filler").unlink()
    program(*predict)
    train = ["train", str(source / "photos"), "-l", "photos.csv", "-o", "cnn", "--side", "32",
             "--epochs", "1", "--cache", "pixels"]
    fill(100_000)
    program(*train)
    Path("filler").unlink()
    program(*train)
    print(json.dumps(sorted(str(path) for path in Path().rglob(".proxmtl*"))))
"""


def test_a_full_disk_is_named_and_the_same_command_goes_on(photos, tmp_path):
    (tmp_path / "disk").mkdir()
    done = on_small_disk(
        tmp_path / "disk", textwrap.dedent(FULL), size="6m", arguments=[str(photos)]
    )
    *results, leftovers = map(json.loads, done.stdout.splitlines())
    assert [code for code, _ in results] == [2, 0, 2, 2, 0, 2, 0], (results, done.stderr)
    said = [err for _, err in results]
    assert "run: it takes 0.00105 GB, and its disk has 0.000" in said[0]
    assert "p.csv: no space is left on its disk; make room there" in said[2]
    assert "e.csv: no space is left on its disk; make room there" in said[3]
    assert ".npy: it takes" in said[5]
    assert "make room, or choose another disk" in said[5]
    assert leftovers == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_python_ends_leaves_a_finished_command_its_exit_code(name):
    """Modules are taken apart for longer than a short command takes."""
    code = (
        "import atexit, os, signal, sys\n"
        f"atexit.register(os.kill, os.getpid(), signal.{name})\n"
        "from proxmtl.cli import main\n"
        "sys.argv = ['proxmtl', '--version']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert done.stdout.startswith("proxmtl ")


WHILE_IMPORTED = """
import signal, sys, time, types
from proxmtl.cli.signals import Stopped, stoppable

module = types.ModuleType("torch")
module.__spec__ = types.SimpleNamespace(_initializing=True)
sys.modules["torch"] = module
with stoppable() as request:
    try:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.2)
        print("imported")
        module.__spec__._initializing = False
        time.sleep(20)
    except Stopped:
        print("stopped", request.exit_code)
"""


@posix
def test_a_signal_while_torch_is_imported_waits_for_the_end_of_the_import():
    """Its C++ calls Python meanwhile, and an exception there would abort the process."""
    command = [sys.executable, "-c", WHILE_IMPORTED]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:2] == ["imported", "stopped 130"], done.stderr
