"""Features into a file: kills, memory, identities, corrupt images, names of rows."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from disks import file_limit
from extract_cases import Mixer, Squares
from PIL import Image

from proxmtl.backbones import extract, extract_to_file, feature_file
from proxmtl.backbones.extraction import digest
from proxmtl.backbones.feature_file import FeatureFile
from proxmtl.io import InputError, load_features


def test_memory_does_not_grow_and_killed_extractions_go_on(tmp_path):
    script = Path(__file__).parents[1] / "extract_cases.py"
    run = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    short, long = report["peak"]
    sizes = [(tmp_path / name).stat().st_size for name in ("300.npy", "2100.npy")]
    assert sizes[1] - sizes[0] > 1e8
    assert long - short < 1e7, report
    # kills left parts behind, and what they left was gone on with
    first, *later = report["done"]
    assert first == 0
    assert 0 < later[0] < later[1] < later[2] < later[3], report
    alone, killed = np.load(tmp_path / "alone.npy"), np.load(tmp_path / "killed.npy")
    assert alone.shape == (3, 1500, 5)
    np.testing.assert_array_equal(alone, killed)
    named = {"alone", "killed"}
    names = {f"{stem}.{end}" for stem in named for end in ("npy", "ids.csv", "seal.json")}
    names |= {f"{stem}.{end}" for stem in (300, 2100) for end in ("npy", "seal.json")}
    assert {path.name for path in tmp_path.iterdir()} == names


def interrupted_after(done):
    def progress(now, total):
        if now >= done:
            raise KeyboardInterrupt

    return progress


def part(out, network=None, images=None, **options):
    """Leave a part of the features of 20 images behind."""
    with pytest.raises(KeyboardInterrupt):
        extract_to_file(
            images or Squares(20), network or Mixer(), out, progress=interrupted_after(8), **options
        )


def done_in(folder):
    """Images that the last part of an extraction speaks of."""
    records = sorted(folder.glob("0*.json"))
    return json.loads(records[-1].read_text())["done"] if records else 0


@pytest.mark.parametrize("fresh", [False, True])  # an interrupted --force goes on as well
def test_a_part_is_gone_on_with(tmp_path, fresh):
    out, looked_at = tmp_path / "f.npy", []
    part(out)
    assert done_in(tmp_path / "f.npy.partial") == 8

    class Watched(Mixer):
        def features(self, pixels):
            looked_at.append(int(pixels.any(axis=(1, 2, 3)).sum()))
            return super().features(pixels)

    found = extract_to_file(Squares(20), Watched(), out, fresh=fresh)
    assert looked_at == [8, 4]
    np.testing.assert_array_equal(found.features, extract(Squares(20), Mixer()))
    np.testing.assert_array_equal(found.rows, np.arange(20))
    assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"network": Mixer(seed=1)}, "network differ"),
        ({"network": Mixer(n_features=6)}, "network differ"),
        ({"images": Squares(21)}, "number of images differ"),
        ({"fit": "pad"}, "fit differ"),
        ({"ids": [f"{i}" for i in range(20)]}, "names differ"),
        ({"images": list(Squares(28))[8:]}, "aren't those given now"),
    ],
)
def test_parts_of_other_features_are_refused(tmp_path, options, said):
    out = tmp_path / "f.npy"
    part(out)
    call = {"images": Squares(20), "network": Mixer()} | options
    with pytest.raises(InputError, match=said):
        extract_to_file(out=out, **call)
    fresh = extract_to_file(out=out, fresh=True, **call)
    assert len(fresh.features) == len(call["images"])


FILES = ["00000.npy", "00000.json", "plan.json"]


@pytest.mark.parametrize("name", FILES)
def test_damaged_parts_are_refused(tmp_path, name):
    part(tmp_path / "f.npy")
    path = tmp_path / "f.npy.partial" / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"damaged|can't be read"):
        extract_to_file(Squares(20), Mixer(), tmp_path / "f.npy")
    fresh = extract_to_file(Squares(20), Mixer(), tmp_path / "f.npy", fresh=True)
    np.testing.assert_array_equal(fresh.features, extract(Squares(20), Mixer()))


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("name", FILES)
def test_any_flipped_bit_of_a_part_is_found(tmp_path, name, members):
    network, path = Mixer(n_members=members), tmp_path / "f.npy.partial" / name
    part(tmp_path / "f.npy", network=network)
    whole, expected = path.read_bytes(), extract(Squares(20), network)
    rng = np.random.default_rng(0)
    for position in rng.choice(len(whole), 30, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"start over \(--force") as caught:
            extract_to_file(Squares(20), network, tmp_path / "f.npy")
        assert caught.value.source == path
    path.write_bytes(whole)
    found = extract_to_file(Squares(20), network, tmp_path / "f.npy")
    np.testing.assert_array_equal(found.features, expected)


def test_parts_of_many_images_and_of_wide_features(tmp_path, monkeypatch):
    """A part begins after so many images, or so many bytes."""
    for name, value, n_parts in (("PART_IMAGES", 6, 3), ("PART_BYTES", 500, 2)):
        with monkeypatch.context() as patch:
            patch.setattr(feature_file, name, value)
            with pytest.raises(KeyboardInterrupt):
                extract_to_file(
                    [*Squares(19), b"x"],
                    Mixer(n_members=3),
                    tmp_path / f"{name}.npy",
                    batch_size=4,
                    skip_corrupt=True,
                    progress=interrupted_after(20),
                )
        folder = tmp_path / f"{name}.npy.partial"
        assert len(list(folder.glob("0*.npy"))) == n_parts
        assert done_in(folder) == 20
        found = extract_to_file(
            [*Squares(19), b"x"], Mixer(n_members=3), tmp_path / f"{name}.npy", skip_corrupt=True
        )
        np.testing.assert_array_equal(found.features, extract(Squares(19), Mixer(n_members=3)))


def test_parts_of_another_version_are_refused_and_replaced_by_force(tmp_path):
    out = tmp_path / "f.npy"
    for end in (".partial", ".partial.json"):
        out.with_name(out.name + end).write_bytes(b"an older file")
    with pytest.raises(InputError, match=r"f\.npy\.partial: is of another version.*--force"):
        extract_to_file(Squares(3), Mixer(), out)
    extract_to_file(Squares(3), Mixer(), out, fresh=True)
    assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json"}


def test_other_files_in_the_folder_of_the_parts_are_not_removed(tmp_path):
    part(tmp_path / "f.npy")
    (tmp_path / "f.npy.partial" / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        extract_to_file(Squares(20), Mixer(), tmp_path / "f.npy")
    assert len(np.load(tmp_path / "f.npy")) == 20
    assert [path.name for path in (tmp_path / "f.npy.partial").iterdir()] == ["notes.txt"]


def test_images_to_come_may_be_repaired(tmp_path):
    images = list(Squares(20))
    broken = [*images[:15], b"not an image", *images[16:]]
    with pytest.raises(ValueError, match=r"(?s)image 15 can't be decoded.* 8 images before"):
        extract_to_file(broken, Mixer(), tmp_path / "f.npy")
    found = extract_to_file(images, Mixer(), tmp_path / "f.npy")
    np.testing.assert_array_equal(found.features, extract(images, Mixer()))


@pytest.mark.parametrize("members", [None, 3])
def test_bad_images_are_left_out_if_asked_and_rows_keep_their_names(tmp_path, members):
    images, out = list(Squares(20)), tmp_path / "f.npy"
    bad = {2, 9, 10, 19}
    given = [b"x" if i in bad else image for i, image in enumerate(images)]
    names = [f"{i}.png" for i in range(20)]
    network = Mixer(n_members=members)
    found = extract_to_file(given, network, out, ids=names, skip_corrupt=True, batch_size=3)
    assert found.rows.tolist() == [i for i in range(20) if i not in bad]
    assert len(found.skipped) == 4
    assert found.skipped[1].startswith("9.png can't be decoded")
    whole = extract(images, network)
    np.testing.assert_array_equal(found.features, whole[..., found.rows, :])
    assert not list(tmp_path.glob("*.partial*"))
    if members is None:
        assert load_features(out).ids == tuple(n for i, n in enumerate(names) if i not in bad)
    # the names of other features don't stay behind
    extract_to_file(images, Mixer(), out, fresh=True)
    assert load_features(out).ids is None


def test_skipped_images_are_not_forgotten_by_a_later_call(tmp_path):
    images = [b"x", *list(Squares(20))[1:]]
    part(tmp_path / "f.npy", images=images, skip_corrupt=True)
    with pytest.raises(InputError, match="1 image skipped so far"):
        extract_to_file(images, Mixer(), tmp_path / "f.npy")
    found = extract_to_file(images, Mixer(), tmp_path / "f.npy", skip_corrupt=True)
    assert found.features.shape == (19, 5)
    (tmp_path / "f.npy").unlink()
    part(tmp_path / "f.npy", images=images, skip_corrupt=True)
    repaired = list(Squares(20))
    whole = extract_to_file(repaired, Mixer(), tmp_path / "f.npy", fresh=True)
    assert whole.features.shape == (20, 5)
    with pytest.raises(ValueError, match="none of the 3 images"):
        extract_to_file([b"x"] * 3, Mixer(), tmp_path / "g.npy", skip_corrupt=True)


def test_what_a_kill_left_in_the_middle_of_a_part_is_removed(tmp_path):
    (tmp_path / "f.npy.partial").mkdir()
    for name in ("00000.npy", "00001.json", "features.npy", "ids.csv"):  # without a plan
        (tmp_path / "f.npy.partial" / name).write_text("x")
    (tmp_path / "f.npy.partial.lock").write_text("x")
    (tmp_path / ".f.npy.swp").write_text("of an editor")
    extract(Squares(3), Mixer(), out=tmp_path / "f.npy")
    assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json", ".f.npy.swp"}


def test_one_extraction_at_a_time_writes_a_file(tmp_path):
    out = tmp_path / "f.npy"

    def again(done, total):
        if done == 8:
            with pytest.raises(InputError, match=r"another process is writing f\.npy"):
                extract_to_file(Squares(20), Mixer(seed=1), out, fresh=True)

    found = extract_to_file(Squares(20), Mixer(), out, progress=again)
    np.testing.assert_array_equal(found.features, extract(Squares(20), Mixer()))
    assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json"}


def test_rows_stay_with_their_images_when_interrupted_anywhere(tmp_path):
    """An interruption at each line where a batch is taken; the next call completes the file."""
    expected, lines = extract(Squares(8), Mixer()), 0
    for moment in range(1, 100):
        out, left = tmp_path / f"{moment}.npy", [moment]

        def trace(frame, event, _, left=left):
            if frame.f_code is not FeatureFile.append.__code__:
                return None
            left[0] -= event == "line"
            if left[0] == 0:
                raise KeyboardInterrupt
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            extract_to_file(Squares(8), Mixer(), out, batch_size=4)
            break
        except KeyboardInterrupt:
            lines += 1
        finally:
            sys.settrace(before)
        found = extract_to_file(Squares(8), Mixer(), out, batch_size=4)
        np.testing.assert_array_equal(found.features, expected)
    assert lines > 6


def test_a_file_that_failed_at_its_first_image_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="image 0 can't be decoded"):
        extract_to_file([b"x"], Mixer(), tmp_path / "f.npy")
    assert not list(tmp_path.iterdir())


def test_room_for_the_parts_and_the_whole_is_asked_for(tmp_path, monkeypatch):
    usage, size = shutil.disk_usage(tmp_path), 4 * 3 * 20 * 5
    for free, enough in ((2 * size, True), (2 * size - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        ended = contextlib.nullcontext()
        if not enough:
            ended = pytest.raises(InputError, match=r"take 2\.4e-06 GB, and its disk has")
        with ended:
            extract_to_file(Squares(20), Mixer(n_members=3), tmp_path / f"{free}.npy")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "a "], "'a' is there 2 times"),
        (["a", ""], "'' is there"),
        (["a", "\udcff"], "isn't text"),
        (["a"], "1 ids for 2"),
    ],
)
def test_names_that_could_not_be_read_again_are_refused_before_the_work(tmp_path, ids, said):
    def progress(done, total):
        raise AssertionError

    with pytest.raises(ValueError, match=said):
        extract_to_file(Squares(2), Mixer(), tmp_path / "f.npy", ids=ids, progress=progress)
    (tmp_path / "f.npy").mkdir()
    with pytest.raises(ValueError, match="is a folder"):
        extract_to_file(Squares(2), Mixer(), tmp_path / "f.npy", progress=progress)


def test_files_of_one_name_in_two_folders_are_two_images(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (5, 5)).save(tmp_path / name / "1.png")
        os.utime(tmp_path / name / "1.png", (0, 0))
    assert digest([tmp_path / "a" / "1.png"], "") != digest([tmp_path / "b" / "1.png"], "")


def test_a_full_disk_is_seen_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"take .* GB, and its disk has"):
        extract_to_file(Squares(10**15), Mixer(), tmp_path / "f.npy")
    assert not list(tmp_path.iterdir())


def test_names_that_no_extraction_wrote_are_not_replaced(tmp_path):
    """They may be of the rows of f.npz, which would be matched by the new ones."""
    out, beside, names = tmp_path / "f.npy", tmp_path / "f.ids.csv", ["a", "b", "c"]
    beside.write_text("id\nc\nb\na\n")
    np.savez(tmp_path / "f.npz", x=np.ones((3, 2)))
    for ids in (names, None):
        with pytest.raises(InputError, match=r"f\.ids\.csv: the file exists, and no extraction"):
            extract_to_file(Squares(3), Mixer(), out, ids=ids)
    assert {path.name for path in tmp_path.iterdir()} == {"f.npz", "f.ids.csv"}
    assert load_features(tmp_path / "f.npz").ids == ("c", "b", "a")
    beside.unlink()

    def appearing(done, total):
        beside.write_text("id\nc\nb\na\n")

    with pytest.raises(InputError, match="no extraction to"):
        extract_to_file(Squares(3), Mixer(), out, ids=names, progress=appearing)
    extract_to_file(Squares(3), Mixer(), out, ids=names, fresh=True)
    assert load_features(out).ids == tuple(names)
    # names that their seal lists are an extraction's own
    out.unlink()
    extract_to_file(Squares(2), Mixer(), out, ids=names[:2])
    assert load_features(out).ids == ("a", "b")


def test_a_file_that_may_not_have_its_size_is_named(tmp_path, monkeypatch):
    out = tmp_path / "f.npy"
    folder = tmp_path / "f.npy.partial"
    with file_limit(100), pytest.raises(OSError, match="too large") as caught:
        extract_to_file(Squares(3), Mixer(), out)
    assert caught.value.filename == str(folder / "plan.json")
    wide = Mixer(n_features=200)
    with file_limit(2000), pytest.raises(OSError, match="too large") as caught:
        extract_to_file(Squares(3), wide, out)
    assert caught.value.filename == str(folder / "00000.npy")
    monkeypatch.setattr(feature_file, "PART_IMAGES", 3)  # each small enough, but not the whole
    with file_limit(2700), pytest.raises(InputError, match=r"f\.npy: it takes .*ulimit"):
        extract_to_file(Squares(6), wide, out, batch_size=3, fresh=True)
    assert not out.exists()


def test_identifiers_of_other_rows_are_refused(tmp_path):
    np.save(tmp_path / "f.npy", np.ones((3, 2), np.float32))
    (tmp_path / "f.ids.csv").write_text("id\na\nb\n")
    with pytest.raises(InputError, match=r"2 identifiers for 3 rows of .*, so it is of others"):
        load_features(tmp_path / "f.npy")
    (tmp_path / "f.ids.csv").write_text("id\na\nb\nb\n")
    with pytest.raises(InputError, match="'b' was already used"):
        load_features(tmp_path / "f.npy")
