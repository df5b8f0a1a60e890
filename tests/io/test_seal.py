"""A sealed folder or document is read as it was written, or not at all."""

import json

import numpy as np
import pytest

from proxmtl.io import InputError, new_run_folder, seal_folder
from proxmtl.io.seal import read_manifest, read_sealed, write_sealed

DOCUMENT = {"rows": (1, 2), "reason": "na\udcffme", "share": 0.1, "none": None}


def test_a_document_comes_back_as_json_has_it(tmp_path):
    write_sealed(tmp_path / "a.json", DOCUMENT)
    assert read_sealed(tmp_path / "a.json", "x.") == {**DOCUMENT, "rows": [1, 2]}
    text = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(json.dumps(json.loads(text)))  # other blanks
    assert read_sealed(tmp_path / "a.json", "x.")["rows"] == [1, 2]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("0.1", "0.2"), "is not as it was written"),
        (lambda text: text.replace("rows", "bows"), "is not as it was written"),
        (lambda text: text.replace("seal", "steal"), "is not as it was written"),
        (lambda text: text[:-5], "not readable as JSON"),
        (lambda _: "[1]", "is no table"),
        (lambda _: "", "not readable as JSON"),
        (lambda text: text.replace("{", '{"share": 0.1,', 1), "'share' is there twice"),
    ],
)
def test_a_changed_document_is_found(tmp_path, damage, message):
    path = tmp_path / "a.json"
    write_sealed(path, DOCUMENT)
    path.write_text(damage(path.read_text()))
    with pytest.raises(InputError, match=rf"a.json: .*{message}.*start over"):
        read_sealed(path, "start over.")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "latents.png").write_bytes(b"picture")
    (tmp_path / "history.csv").write_bytes(b"")
    seal_folder(tmp_path)
    return tmp_path


def test_a_folder_is_sealed_with_all_its_files(folder):
    manifest = read_manifest(folder)
    assert sorted(manifest.entries) == ["history.csv", "plots/latents.png"]
    assert manifest.read("plots/latents.png") == b"picture"
    manifest.check()
    (folder / "mine.txt").write_text("added later")
    manifest.check()
    with pytest.raises(InputError, match=r"mine.txt: is not listed"):
        manifest.read("mine.txt")
    seal_folder(folder)  # lists what it listed
    assert sorted(read_manifest(folder).entries) == ["history.csv", "plots/latents.png"]


@pytest.mark.parametrize("damage", [None, lambda text: text[:-9], lambda _: "x"])
def test_a_folder_can_be_sealed_again_whatever_its_manifest_is(folder, damage):
    for name in ("model.json", "notes.txt", "own.txt"):
        (folder / name).write_text(name)
    seal_folder(folder, ["history.csv", "own.txt", "plots/latents.png"])  # lacks the model
    (folder / "plots" / "latents.png").unlink()  # a figure may go
    manifest = folder / "manifest.json"
    if damage is not None:
        manifest.write_text(damage(manifest.read_text()))
        (folder / "own.txt").unlink()  # nobody knows any more that it was listed
    seal_folder(folder)
    read_manifest(folder).check()
    expected = ["history.csv", "model.json", *(["own.txt"] if damage is None else [])]
    assert sorted(read_manifest(folder).entries) == expected


def test_what_a_folder_cannot_be_sealed_without_is_named(folder):
    (folder / "model.json").write_text("model")
    seal_folder(folder)
    (folder / "model.json").unlink()
    with pytest.raises(InputError, match=r"model\.json: cannot be read"):
        seal_folder(folder)
    (folder / ".proxmtl.next").mkdir()
    with pytest.raises(InputError, match="a new run is taking the place"):
        seal_folder(folder, ["history.csv"])


def test_changed_files_are_listed(folder):
    manifest = read_manifest(folder)
    assert manifest.changed(manifest.entries) == []
    (folder / "history.csv").write_text("x")
    assert manifest.changed(manifest.entries) == ["history.csv"]
    (folder / "plots" / "latents.png").unlink()
    assert manifest.changed(["plots/latents.png"]) == ["plots/latents.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_bytes(b"pictures"), "has 8 bytes where manifest.json lists 7"),
        (lambda path: path.write_bytes(b"Picture"), "SHA-256 differs"),
    ],
)
def test_a_file_that_changed_is_named(folder, change, message):
    change(folder / "plots" / "latents.png")
    for look in (lambda m: m.check(), lambda m: m.read("plots/latents.png")):
        with pytest.raises(InputError, match=rf"latents.png: .*{message}.*run again"):
            look(read_manifest(folder))
    read_manifest(folder).check(["history.csv"])


@pytest.mark.parametrize(
    "files",
    [
        None,
        [],
        {"a": 1},
        {"a": {"bytes": "7", "sha256": ""}},
        {"../a": {"bytes": 7, "sha256": ""}},
        {"/a": {"bytes": 7, "sha256": ""}},
    ],
)
def test_a_manifest_of_something_else_is_refused(tmp_path, files):
    head = {"format": "proxmtl manifest", "format_version": 1}
    write_sealed(tmp_path / "manifest.json", {**head, "files": files})
    with pytest.raises(InputError, match=r"manifest.json: .*run again"):
        read_manifest(tmp_path)
    write_sealed(tmp_path / "manifest.json", {**head, "format_version": 2, "files": {}})
    with pytest.raises(InputError, match="no manifest of this version"):
        read_manifest(tmp_path)


def test_runs_are_sealed_last(tmp_path):
    for text in ("first", "second"):
        with new_run_folder(tmp_path / "run", force=True) as staging:
            (staging / "model.json").write_text(text)
            np.save(staging / "z.npy", np.zeros(3))
        read_manifest(tmp_path / "run").check()
    assert read_manifest(tmp_path / "run").read("model.json") == b"second"
