"""``doctor``: what is installed, what is off and why, and what is broken."""

import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from proxmtl.cli import health
from proxmtl.kernels.dispatch import BACKENDS


def _found(program):
    code, out, _ = program("doctor", "--json")
    document = json.loads(out)
    assert document["ok"] == (code == 0)
    return code, {(each["area"], each["name"]): each for each in document["findings"]}


def test_a_whole_installation_is_said_to_be_so(program):
    code, found = _found(program)
    assert code == 0
    assert found["versions", "torch"]["text"] == metadata.version("torch")
    assert {name for area, name in found if area == "kernels on cpu"} == set(BACKENDS)
    assert found["kernels on cpu", "torch"]["state"] == "ok"
    assert found["solver", "a lasso"]["text"].startswith("CONVERGED")
    extras = {name for area, name in found if area == "extras"}
    assert extras == set(health.EXTRAS)
    told = set(metadata.metadata("proxmtl").get_all("Provides-Extra"))
    assert told >= extras
    code, out, _ = program("doctor")
    assert code == 0
    assert "all that is needed is there" in out


def test_what_is_off_says_why_and_what_would_help(program, monkeypatch):
    version = metadata.version

    def without(name):
        if name in ("altair", "triton"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(health.metadata, "version", without)
    code, found = _found(program)
    assert code == 0
    off = found["extras", "report"]
    assert off["state"] == "off"
    assert "pip install 'proxmtl[report]' (altair)" in off["text"]


def test_what_is_needed_and_missing_or_too_old_is_a_fault(program, monkeypatch):
    version = metadata.version

    def other(name):
        if name == "rich":
            raise metadata.PackageNotFoundError(name)
        return "0.1" if name == "scipy" else version(name)

    monkeypatch.setattr(health.metadata, "version", other)
    code, found = _found(program)
    assert code == 1
    assert found["versions", "rich"]["state"] == "fault"
    assert "pip install rich" in found["versions", "rich"]["text"]
    assert found["versions", "scipy"]["text"] == "0.1; >=1.12 is needed"
    assert "2 to be mended" in program("doctor")[1]


def test_a_kernel_that_is_wrong_is_a_fault(program, monkeypatch):
    right = health.kernels.soft_threshold

    def wrong(x, weight, *, backend):
        found, value = right(x, weight, backend=backend)
        return (found + 1 if backend == "torch" else found), value

    monkeypatch.setattr(health.kernels, "soft_threshold", wrong)
    code, found = _found(program)
    assert code == 1
    assert "wrong results" in found["kernels on cpu", "torch"]["text"]
    assert found["kernels on cpu", "naive"]["state"] == "ok"


def test_a_solve_that_fails_is_a_fault(program, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr("proxmtl.minimization.minimize", broken)
    code, found = _found(program)
    assert code == 1
    assert found["solver", "a lasso"]["text"] == "RuntimeError: no such instruction"


def test_folders_that_take_no_files_are_named(program, monkeypatch):
    monkeypatch.setattr(health, "_takes_files", lambda _: False)
    code, found = _found(program)
    assert code == 1
    assert found["folders", "compiled kernels"]["state"] == "off"
    assert "no access to" in found["folders", "temporary files"]["text"]


def test_a_folder_is_tried_where_it_would_be_made(tmp_path):
    assert health._takes_files(tmp_path / "not" / "yet")
    assert not (tmp_path / "not").exists()
    (tmp_path / "file").write_text("")
    assert health._takes_files(Path(tmp_path / "file" / "below"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_is_named(program):
    _, found = _found(program)
    assert torch.cuda.get_device_name(0) in found["devices", "cuda:0"]["text"]
