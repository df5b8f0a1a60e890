"""What is written appears whole or not at all."""

import json
import os
import stat

import pytest

from proxmtl.io import InputError, atomic_path, new_run_folder, write_json, write_text


def _files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError), atomic_path(path) as temporary:
        temporary.write_text("half \udc80", encoding="utf-8")
    assert path.read_text() == "old"
    assert _files(tmp_path) == ["a.txt"]


def test_a_write_replaces_and_keeps_the_usual_permissions(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    write_text(path, "new")
    assert path.read_text() == "new"
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"a": [float("nan"), 1.5], "b": (float("inf"),)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [None, 1.5], "b": [None]}


def test_destinations_that_cannot_be(tmp_path):
    with pytest.raises(InputError, match="does not exist; create it"):
        write_text(tmp_path / "no" / "a.txt", "")
    with pytest.raises(InputError, match="this is a folder"):
        write_text(tmp_path, "")


def _run(path, *, text, force=False):
    with new_run_folder(path, force=force) as staging:
        (staging / "plots").mkdir()
        (staging / "plots" / "a.png").write_text(text)
        (staging / "model.json").write_text(text)


def test_a_run_appears_whole(tmp_path):
    target = tmp_path / "deep" / "run"
    _run(target, text="first")
    assert (target / "plots" / "a.png").read_text() == "first"
    assert _files(tmp_path / "deep") == ["run"]
    with pytest.raises(UnicodeEncodeError), new_run_folder(tmp_path / "other") as staging:
        (staging / "model.json").write_text("half \udc80", encoding="utf-8")
    assert _files(tmp_path) == ["deep"]


def test_a_run_is_replaced_only_by_force_and_only_its_own_files(tmp_path):
    target = tmp_path / "run"
    _run(target, text="first")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="--force"):
        _run(target, text="second")
    assert (target / "model.json").read_text() == "first"
    _run(target, text="second", force=True)
    assert (target / "model.json").read_text() == "second"
    assert (target / "plots" / "a.png").read_text() == "second"
    assert (target / "notes.txt").read_text() == "mine"
    assert _files(tmp_path) == ["run"]


def test_force_does_not_touch_what_is_no_run(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("x")
    for target in (tmp_path / "home", tmp_path / "home" / "thesis.tex"):
        with pytest.raises(InputError):
            _run(target, text="", force=True)
    assert _files(tmp_path / "home") == ["thesis.tex"]


def test_names_of_files_that_are_no_text_are_escaped(tmp_path):
    value = {"path": "x\udcff.npy", "name": "gr\u00fcn"}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert "\\udcff" in text
    assert "gr\u00fcn" in text
    assert json.loads(text) == value
