"""Outputs are settled before work starts, and what was finished stays."""

import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from disks import file_limit, on_small_disk
from safetensors.torch import save_file

from proxmtl.io import InputError, atomic_path, new_run_folder, write_text
from proxmtl.io.lock import HOST, FileLock
from proxmtl.io.outputs import reserve, settle_file
from proxmtl.io.temporaries import OWN, remove_leftovers, temporary_file, temporary_folder

posix = pytest.mark.skipif(os.name == "nt", reason="of POSIX file systems")


@posix
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["FIFO", "device", "socket", "folder"])
def test_only_regular_files_are_written(tmp_path, kind, linked):
    path = tmp_path / "out"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    elif kind == "folder":
        path.mkdir()
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(os.path.relpath(path))
        server.close()
    if linked:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    with pytest.raises(InputError, match=f"{path}: this is a {kind}"):
        settle_file(path, force=True)
    with pytest.raises(InputError, match=f"{path}: this is a {kind}"):
        write_text(path, "x")


@posix
def test_links_are_followed_and_stay(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to("there/out.csv")
    settle_file(link)
    write_text(link, "first")
    with pytest.raises(InputError, match="the file exists; give --force"):
        settle_file(link)
    write_text(link, "second")
    assert link.is_symlink()
    assert (tmp_path / "there" / "out.csv").read_text() == "second"
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        settle_file(tmp_path / "a")


def test_an_input_is_no_output(tmp_path):
    labels, run = tmp_path / "labels.csv", tmp_path / "run"
    run.mkdir()
    labels.write_text("a\n1\n")
    os.link(labels, tmp_path / "same.csv")
    for path in (
        run / "model.json",
        run / "metrics_by_attribute.csv",
        run / "old.csv",
        run / "x.png",
    ):
        path.write_text("x")
    inputs = (None, run, labels)
    for path in (labels, tmp_path / "same.csv", *(run / name for name in ("model.json", "x.png"))):
        with pytest.raises(InputError, match="read by the same command"):
            settle_file(path, force=True, inputs=inputs)
    with pytest.raises(InputError, match="read by the same command"):
        settle_file(run / "metrics_by_attribute.csv", force=True, inputs=inputs)
    settle_file(run / "new.csv", inputs=inputs)
    settle_file(run / "old.csv", force=True, inputs=inputs)  # predictions, made again
    settle_file(None, inputs=inputs)


def test_a_folder_that_takes_no_files_is_said_before_the_work(tmp_path):
    code = """
        from pathlib import Path
        from proxmtl.io import new_run_folder
        from proxmtl.io.outputs import settle_file
        for attempt in (lambda: settle_file(Path("out.csv")),
                        lambda: new_run_folder("run").__enter__(),
                        lambda: new_run_folder(".").__enter__()):
            try:
                attempt()
            except OSError as error:
                print(error.filename, error.strerror)
    """
    done = on_small_disk(tmp_path, textwrap.dedent(code), options="ro")
    refused = os.strerror(errno.EROFS)
    assert done.stdout == f"out.csv {refused}\nrun {refused}\n. {refused}\n", done.stderr


WRITERS = {
    "text": lambda path: path.write_text("x" * 100_000),
    "numpy": lambda path: np.save(path, np.zeros(100_000)),
    "torch": lambda path: torch.save(torch.zeros(100_000), path),
    "safetensors": lambda path: save_file({"x": torch.zeros(100_000)}, path),
}


@posix
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_what_the_system_refuses_is_its_own_error_with_the_name_of_the_file(tmp_path, writer):
    path = tmp_path / "out.npy"
    write_text(path, "old")

    def write():
        with atomic_path(path) as temporary:
            writer(temporary)

    with file_limit(4096), pytest.raises(OSError, match="too large") as caught:
        write()
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.npy"]
    assert path.read_text() == "old"


def test_errors_that_are_not_the_systems_pass(tmp_path):
    with pytest.raises(RuntimeError, match="a slip"), atomic_path(tmp_path / "x"):
        raise RuntimeError("a slip")
    with pytest.raises(RuntimeError, match="PytorchStreamWriter"), atomic_path(tmp_path / "x"):
        raise RuntimeError("PytorchStreamWriter failed, though there is room")


@posix
def test_room_is_taken_before_it_is_used(tmp_path):
    with (tmp_path / "x").open("wb") as stream:
        reserve(stream.fileno(), 1 << 20, tmp_path / "x")
        status = os.fstat(stream.fileno())
        assert status.st_size == 1 << 20
        assert status.st_blocks * 512 >= 1 << 20
        with pytest.raises(InputError, match=r"takes 1e.09 GB, and its disk has"):
            reserve(stream.fileno(), 10**18, tmp_path / "x")
        with file_limit(1 << 21), pytest.raises(InputError, match=r"more than a file may.*ulimit"):
            reserve(stream.fileno(), 1 << 22, tmp_path / "x")
    with (tmp_path / "empty").open("wb") as stream:
        reserve(stream.fileno(), 0, tmp_path / "empty")


def test_a_full_disk_is_said_as_such(tmp_path):
    code = """
        import torch
        from pathlib import Path
        from safetensors.torch import save_file
        from proxmtl.io import atomic_path, write_text
        from proxmtl.io.outputs import reserve
        for write in (lambda path: path.write_bytes(bytes(2 << 20)),
                      lambda path: torch.save(torch.zeros(1 << 19), path),
                      lambda path: save_file({"x": torch.zeros(1 << 19)}, path)):
            try:
                with atomic_path("out") as temporary:
                    write(temporary)
            except OSError as error:
                print(error.filename, error.errno)
        with open("x", "wb") as stream:
            reserve(stream.fileno(), 900_000, Path("x"))
            Path("y").write_bytes(bytes(100_000))
            try:
                write_text("z", "z" * 100_000)
            except OSError as error:
                print(error.filename, error.errno)
        with open("x", "r+b") as stream:
            stream.write(bytes(900_000))
            print("written")
            try:
                reserve(stream.fileno(), 1_100_000, Path("x"))
            except ValueError as error:
                print(error)
    """
    done = on_small_disk(tmp_path, textwrap.dedent(code))
    *lines, last = done.stdout.splitlines()
    full = errno.ENOSPC
    assert lines == [f"out {full}"] * 3 + [f"z {full}", "written"], done.stderr
    assert last.startswith("x: it takes 0.0011 GB, and its disk has")


BUSY = """
import sys, time
from pathlib import Path
from proxmtl.io import atomic_path, new_run_folder
path = Path(sys.argv[1])
with atomic_path(path / "out.csv") as file, new_run_folder(path / "run") as run, \\
        new_run_folder(path / "empty") as inside:
    for written in (file, run / "model.json", inside / "model.json"):
        written.write_text("half")
    print("busy", flush=True)
    time.sleep(100)
"""


@posix
def test_what_a_killed_process_left_is_removed_and_that_of_a_living_one_is_not(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / ".proxmtl").write_text("another's")
    command = [sys.executable, "-c", BUSY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as busy:
        assert busy.stdout.readline() == "busy\n"
        before = sorted(tmp_path.rglob("*"))
        assert len(before) == 9  # two are ours; a file, two locks, two folders with a file each
        remove_leftovers(tmp_path)
        remove_leftovers(tmp_path / "empty")
        assert sorted(tmp_path.rglob("*")) == before
        for name in ("run", "empty"):
            with pytest.raises(InputError, match=f"{name}: another process is writing this run"):
                new_run_folder(tmp_path / name).__enter__()
        busy.send_signal(signal.SIGKILL)
    assert sorted(tmp_path.rglob("*")) == before
    settle_file(tmp_path / "other.csv")
    assert not list(tmp_path.glob(".proxmtl-*"))
    with new_run_folder(tmp_path / "empty") as staging:
        (staging / "model.json").write_text("whole")
    assert {path.name for path in tmp_path.rglob("*")} == {
        ".proxmtl",
        "empty",
        "model.json",
        "manifest.json",
    }


@posix
def test_what_another_machine_writes_is_left_alone(tmp_path):
    """Its locks need not be seen here, as on network file systems that keep them to a machine."""
    theirs = [tmp_path / ".proxmtl-01234567-x.npy", tmp_path / ".proxmtl-0123456789abcdef.lock"]
    theirs[0].write_text("half")
    theirs[1].write_text("01234567")
    ours = tmp_path / f"{OWN}x.npy", tmp_path / ".proxmtl-fedcba9876543210.lock"
    ours[0].write_text("half")
    ours[1].write_text(HOST)
    settle_file(tmp_path / "x.npy")
    assert sorted(tmp_path.iterdir()) == sorted(theirs)
    with temporary_file(tmp_path) as file, temporary_folder(tmp_path) as folder:
        assert {path.name.startswith(OWN) for path in (file, folder)} == {True}
    lock = FileLock(tmp_path / "a.lock", "")
    assert (tmp_path / "a.lock").read_text() == HOST
    lock.release()


@posix
def test_strange_things_under_our_names_are_left_alone(tmp_path):
    os.mkfifo(tmp_path / f"{OWN}fifo")
    os.mkfifo(tmp_path / ".proxmtl-fifo.lock")
    (tmp_path / f"{OWN}link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("x")
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "nowhere")
    assert (tmp_path / "file").exists()
    assert (tmp_path / f"{OWN}link").is_symlink()


@posix
@pytest.mark.parametrize("make", [temporary_file, temporary_folder])
def test_a_temporary_that_is_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch, make):
    """Another process may clear up in the moment between the making and the locking."""
    from proxmtl.io import temporaries as module

    whole, taken = module.try_lock, []

    def late(descriptor):
        if not taken:
            taken.append(True)
            for path in tmp_path.iterdir():
                path.rmdir() if path.is_dir() else path.unlink()
        return whole(descriptor)

    monkeypatch.setattr(module, "try_lock", late)
    with make(tmp_path) as path:
        assert taken
        assert path.exists()
        remove_leftovers(tmp_path)
        assert path.exists()
    assert not list(tmp_path.iterdir())
