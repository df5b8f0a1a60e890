"""Every exception becomes a sentence and an exit code; signals end a command with a line."""

import errno
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from proxmtl.cli.boundary import explain
from proxmtl.cli.console import make_console
from proxmtl.io import InputError
from proxmtl.kernels import BackendError
from proxmtl.regularizers import UnsupportedError


def caught(action):
    try:
        action()
    except Exception as error:  # noqa: BLE001
        return error
    raise AssertionError("nothing was raised")


def of_ours(source):
    """Run source as a module of the package would be run."""
    module = types.ModuleType("proxmtl.invented")
    return caught(lambda: exec(compile(source, "invented.py", "exec"), module.__dict__))


@pytest.mark.parametrize("kind", ["ValueError", "TypeError", "RuntimeError", "ImportError"])
def test_an_error_is_the_callers_where_this_package_raised_it(kind):
    assert explain(of_ours(f"raise {kind}('tol: must be positive.')")) == "tol: must be positive."
    caused = f"try:\n  int('x')\nexcept ValueError as error:\n  raise {kind}('say 1.') from error"
    assert explain(of_ours(caused)) == "say 1."


@pytest.mark.parametrize("kind", [InputError, BackendError, UnsupportedError])
def test_named_classes_are_the_callers(kind):
    arguments = "'x.npy', 'is empty.'" if kind is InputError else "'is empty.'"
    source = f"from {kind.__module__} import {kind.__name__}\nraise {kind.__name__}({arguments})"
    assert "is empty." in explain(of_ours(source))


@pytest.mark.parametrize(
    "source",
    [
        "int('x')",
        "None + 1",
        "{}['key']",
        "1 / 0",
        "assert False",
        "raise ValueError",  # says nothing
        "raise KeyError('key')",
        "raise AssertionError('cannot be')",
        "import proxmtl.not_there",
        "try:\n  int('x')\nexcept ValueError:\n  raise",  # passed on, not made
        "import numpy\nnumpy.zeros((2, 3)) @ numpy.zeros(2)",
        "import torch\ntorch.zeros(2, 3) @ torch.zeros(2)",
        "import torch\ntorch.device('abacus')",
        "import json\njson.loads('{')",
        "b'\\xff'.decode()",
        "import ctypes\nctypes.CDLL('/nowhere/lib.so')",
    ],
)
def test_a_slip_and_an_error_of_a_library_are_internal(source):
    assert explain(of_ours(source)) is None


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space is left on its disk; make room"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "permission is denied; check"),
        (errno.EROFS, "read-only; choose"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "the disk failed"),
        (errno.ELOOP, "links"),
        (errno.ESTALE, os.strerror(errno.ESTALE)),
    ],
)
def test_errors_of_the_system_name_the_file_and_the_cure(number, words):
    sentence = explain(OSError(number, os.strerror(number), "runs/x.npy"))
    assert sentence.startswith("runs/x.npy: ")
    assert words in sentence


def test_lack_of_memory_is_said_as_such():
    wanted = 1 << 50
    asked = (
        caught(lambda: np.empty(wanted)),
        caught(lambda: torch.empty(wanted)),
        RuntimeError("std::bad_alloc"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        ImportError("libtorch.so: failed to map segment from shared object"),
        MemoryError(),
    )
    for error in asked:
        assert "not enough memory" in explain(error, "fit"), error
        assert "--n-latents" in explain(error, "fit")
    assert "8.00 PiB" in explain(asked[0])
    assert "4.5e+06 GB" in explain(asked[1])


def test_a_package_that_is_missing_is_named_with_its_extra():
    lacking = "raise ModuleNotFoundError(name={!r})".format
    for name, extra in {"pyarrow": "parquet", "tensorboard": "logs", "PIL.Image": "pre"}.items():
        sentence = explain(of_ours(lacking(name)))
        assert sentence.startswith(f"the package {name.partition('.')[0]} is not installed")
        assert f"proxmtl[{extra}" in sentence
    assert explain(of_ours(lacking("numba"))).endswith("pip install proxmtl.")
    assert explain(of_ours(lacking("unheard_of"))).endswith("pip install unheard-of.")


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """A program of which ``evaluate`` has a slip, and where its logs go."""

    def slip(*arguments):
        raise KeyError("lost")

    (tmp_path / "run").mkdir()
    monkeypatch.setattr("proxmtl.cli.tables.check_scored", lambda *_, **__: None)
    monkeypatch.setattr("proxmtl.cli.scoring.open_run", slip)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "proxmtl"


def test_a_slip_is_called_internal_and_its_traceback_is_in_a_file(program, broken):
    code, out, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 70
    (log,) = broken.iterdir()
    assert err.startswith("Internal error: KeyError: 'lost'. This is a fault of proxmtl")
    assert str(log) in err
    assert "Traceback" not in out + err
    assert "in slip" in log.read_text()
    assert "numpy 2" in log.read_text() or "numpy 1" in log.read_text()


def test_without_a_folder_of_state_the_log_is_a_temporary_file(
    program, broken, monkeypatch, tmp_path
):
    (tmp_path / "state").write_text("a file")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    code, _, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 70
    (log,) = (tmp_path / "tmp").iterdir()
    assert str(log) in err
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "state" / "no folder"))
    code, _, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 70
    assert "please report it with what proxmtl --debug shows" in err


def test_debug_shows_the_traceback(program, broken):
    with pytest.raises(KeyError, match="lost"):
        program("--debug", "evaluate", "run", "x.npy", "-l", "y.csv")
    assert not broken.exists()


def test_the_end_of_a_file_is_not_called_aborted(program, broken, monkeypatch):
    def ended(*arguments):
        raise EOFError

    monkeypatch.setattr("proxmtl.cli.scoring.open_run", ended)
    code, _, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 70
    assert "Internal error: EOFError" in err


STUB = """
import gc, os, signal, sys, time
from pathlib import Path
from proxmtl.cli import main, app as module
from proxmtl.cli.boundary import ReportingCommand
from proxmtl.cli.console import keeping, make_console

@module.app.command(cls=ReportingCommand)
def stub(kind: str, out: Path = Path("out.csv"), repeat: int = 100):
    if kind == "work":
        print("ready", flush=True)
        time.sleep(60)
    if kind == "kept":
        with keeping(lambda _: "Three parts are kept."):
            print("ready", flush=True)
            time.sleep(60)
    if kind == "written":
        out.write_text("all of it")
        print("ready", flush=True)
        time.sleep(60)
    if kind == "stubborn":  # clean-up that takes too long
        try:
            print("ready", flush=True)
            time.sleep(60)
        finally:
            time.sleep(60)
    if kind == "finaliser":  # of which Python drops exceptions
        class Thing:
            def __del__(self):
                signal.raise_signal(signal.SIGTERM)
                time.sleep(0)
        print("ready", flush=True)
        Thing()
        time.sleep(60)
    if kind == "swallowed":  # a library that makes another error of it
        try:
            print("ready", flush=True)
            time.sleep(60)
        except BaseException:
            raise ValueError("compilation failed")
    if kind == "worker":
        started, starts = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(starts, b"!")  # a signal before this would be dropped by Python
            time.sleep(60)
            os._exit(0)
        os.read(started, 1)
        os.kill(child, signal.SIGTERM)
        print(os.waitpid(child, 0)[1], flush=True)
    if kind == "lines":
        for number in range(repeat):
            make_console().print(f"line {number}")
        out.write_text("all of it")

sys.argv = ["proxmtl", "stub", *sys.argv[1:]]
main()
"""


@pytest.fixture
def stub(tmp_path):
    """Start the program with a command of our own; give the process."""
    started = []

    def start(*arguments, **options):
        command = [sys.executable, "-c", STUB, *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(
            command, cwd=tmp_path, text=True, start_new_session=True, **options
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals on Windows")
@pytest.mark.parametrize(
    ("kind", "name", "code", "kept"),
    [
        ("work", "SIGINT", 130, "Nothing was written."),
        ("work", "SIGHUP", 129, "Nothing was written."),
        ("kept", "SIGTERM", 143, "Three parts are kept."),
        ("written", "SIGINT", 130, "out.csv is complete."),
        ("swallowed", "SIGTERM", 143, "Nothing was written."),
    ],
)
def test_a_signal_ends_a_command_with_one_line_that_says_what_is_kept(stub, kind, kept, name, code):
    process = stub(kind)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=30)
    by = "" if name == "SIGINT" else f" by {name}"
    assert (process.returncode, out, err) == (code, "", f"Stopped{by}. {kept}\n")


EARLY = """
import os, signal, sys
from proxmtl.cli import main
class Finder:  # at the first import of the program, which stands for any other
    def find_spec(self, name, path=None, target=None):
        if name == "proxmtl.cli.app":
            {}
sys.meta_path.insert(0, Finder())
main()
"""
PARSING = """
import os, signal, typer.core
from proxmtl.cli import main
def parse(self, *rest):
    os.kill(os.getpid(), signal.SIGTERM)
typer.core.TyperGroup.parse_args = parse
main()
"""


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals on Windows")
@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        (EARLY.format("os.kill(os.getpid(), signal.SIGTERM)"), 143, "Stopped."),
        (EARLY.format("raise MemoryError"), 2, "Error: there is not enough memory; end other"),
        (PARSING, 143, "Stopped."),
    ],
)
def test_what_ends_the_program_before_there_is_a_command_is_said_as_well(source, code, said):
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_an_error_is_said_where_there_is_no_memory_for_its_colours(program, broken, monkeypatch):
    def empty(*arguments, **options):
        raise MemoryError

    monkeypatch.setattr("rich.console.Console.print", empty)
    code, _, err = program("evaluate", "run", "x.npy", "-l", "y.csv")
    assert code == 70
    assert err.startswith("Internal error: KeyError: 'lost'. This is")


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals on Windows")
def test_a_signal_in_a_finaliser_is_not_lost(stub):
    process = stub("finaliser")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, "Stopped by SIGTERM. Nothing was written.\n")


@pytest.mark.skipif(os.name == "nt", reason="there are no such signals on Windows")
def test_two_signals_at_once_are_one_and_a_later_one_ends_the_process_at_once(stub):
    process = stub("stubborn")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert process.poll() is None  # both were one request, and the clean-up goes on
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "stopped at once\n")


@pytest.mark.skipif(os.name == "nt", reason="there is no fork on Windows")
def test_workers_end_by_signals_as_if_there_were_no_handlers(stub):
    out, err = stub("worker").communicate(timeout=30)
    assert (out, err) == (f"{signal.SIGTERM}\n", "")


@pytest.mark.skipif(os.name == "nt", reason="there is no nohup on Windows")
def test_an_ignored_signal_stays_ignored(stub):
    process = stub("work", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_a_reader_that_goes_away_is_no_error_and_the_work_is_done(stub, tmp_path):
    process = stub("lines", "--repeat", "20000")
    assert process.stdout.readline() == "line 0\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    assert (tmp_path / "out.csv").read_text() == "all of it"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_standard_output_that_takes_nothing_is_named(stub):
    with Path("/dev/full").open("w") as full:
        process = stub("lines", stdout=full)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert err.startswith("Error: standard output: no space is left on its disk")
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="of POSIX shells")
@pytest.mark.parametrize("stream", [1, 2])
def test_a_stream_that_is_closed_is_no_error(stub, tmp_path, stream):
    process = stub("lines", preexec_fn=lambda: os.close(stream))
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert err == ""
    assert (tmp_path / "out.csv").read_text() == "all of it"


def test_a_narrow_terminal_gets_the_tables_of_one_of_72_columns(monkeypatch):
    widths = []
    for columns in (20, 72, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        widths.append(make_console().width)
    assert widths == [72, 72, 100]
