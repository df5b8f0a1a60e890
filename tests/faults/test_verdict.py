"""What `tests.faults` takes for a clear error and for the same files: it can say no."""

import random
from types import SimpleNamespace

import pytest

from tests.faults.commands import COMMANDS
from tests.faults.compare import snapshot
from tests.faults.faults import Fault, _damage_done
from tests.faults.process import Ended
from tests.faults.verdict import complaint, files_in

COMMAND = "photos -l y.csv --side 8 --cache out/cache --tol 0.1 -o out/run"
FILES = files_in(COMMAND.split())


def ended(sentence, code=2):
    return Ended(code, "", f"a line before\nError: {sentence}\n", 0.1, 5, 0)


def fault(name, work):
    return Fault(SimpleNamespace(work=work), name, SimpleNamespace(after={}), random.Random(0))


def test_files_are_named_by_whole_paths_by_names_and_by_their_folders():
    assert FILES == ["out", "out/cache", "out/run", "photos", "y.csv"]
    assert files_in(["made/run/model.json"]) == ["made", "made/run", "made/run/model.json",
                                                 "model.json"]  # fmt: skip


@pytest.mark.parametrize(
    "sentence",
    [
        "y.csv: row 3 has no label.",
        "y.csv, line 3: no label.",
        "/tmp/somewhere/y.csv: no such file or folder; check the path.",
        "out/run: no space is left on its disk.",
        "out/run/config.json: it was changed.",
        "no space is left for out/cache.",
        "out/somewhere: no such file or folder.",
        "out: no such file or folder; check the path.",
        "/tmp/somewhere/out: no such file or folder; check the path.",
        "there is no folder 'out'.",
        "photos: it holds no image.",
        "photos/03.png can't be read.",
        "--labels: give a file.",
        "there is too little; give --labels or none.",
        "features: there are none.",
    ],
)
def test_sentences_that_name_something_are_clear(sentence):
    assert not complaint(ended(sentence), FILES, ["features", "--labels", "-l"])


@pytest.mark.parametrize(
    "sentence",
    [
        "that did not work out without a reason.",
        "we ran out of it: nothing more to say.",
        "the run: it failed.",
        "it failed in the run, and photos were seen.",
        "some features: too many.",
        "the file ay.csv is bad.",
        "the file y.csv-old is bad.",
        "the file y.csvs is bad.",
        "workout/run failed.",
        "out/: it is not good.",
        "/tmp/somewhere/out/.proxmtl-1f: no such folder.",
        "in/out: it is not good.",
        "run it again with --labelled.",
        "run it again with --force.",
        "it took 8 of 0.1.",
        "[Errno None] None.",
    ],
)
def test_sentences_that_name_nothing_are_not(sentence):
    found = complaint(ended(sentence), FILES, ["features", "--labels", "-l"])
    assert found.startswith("names no file or argument")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_takes_words_for_names(name, tmp_path):
    for sentence in (
        "that did not work out without a reason.",
        "the run of the demo in photos made it into the lasso.",
    ):
        assert fault(name, tmp_path).complaint(ended(sentence))


def test_a_damaged_file_is_named_itself_unless_it_is_still_valid(tmp_path):
    trained = fault("train", tmp_path)
    others = ended("photos: the named file 22.p~g is not there; give --skip-corrupt.")
    assert _damage_done(trained, others, "photos.csv", "", valid=False).startswith("names no file")
    assert not _damage_done(trained, others, "photos.csv", "", valid=True)
    itself = ended("photos.csv, line 3: no label.")
    assert not _damage_done(trained, itself, "photos.csv", "", valid=False)


def test_a_sentence_is_asked_for_and_the_exit_code_of_errors():
    assert complaint(ended("y.csv: no", code=2), FILES).startswith("no sentence")
    assert complaint(ended("y.csv: no.", code=1), FILES).startswith("exit code 1")
    traceback = Ended(2, "", "Traceback ...\nError: y.csv: no.", 0.1, 5, 0)
    assert complaint(traceback, FILES).startswith("Traceback")


@pytest.mark.parametrize("name", ["pixels-0123456789abcdef.npy", "tmp1f.tmp", ".pixels.npy.tmp"])
def test_what_is_left_in_a_cache_is_noticed(name, tmp_path):
    cache = tmp_path / "out" / "cache"
    cache.mkdir(parents=True)
    (cache / "pixels-00000000000000aa.npy").write_bytes(b"pixels")
    trained = fault("train-cached", tmp_path)
    trained.reference.after = snapshot(tmp_path)
    assert not trained.differences()
    (cache / name).write_bytes(b"nonsense")
    assert "out/cache/" in trained.differences()


def test_only_pixels_of_other_images_may_be_left(tmp_path):
    cache = tmp_path / "out" / "cache"
    cache.mkdir(parents=True)
    trained = fault("train-cached", tmp_path)
    trained.reference.after = {"out/cache": "nothing"}
    assert not trained.differences()
    trained.images_changed = True
    trained.reference.after = {}
    (cache / "pixels-0123456789abcdef.npy").write_bytes(b"of a damaged image")
    assert not trained.differences()
    (cache / "left.tmp").write_bytes(b"")
    assert "left over: out/cache/left.tmp" in trained.differences()
