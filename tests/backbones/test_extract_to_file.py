"""Features into a file: kills, memory, identities, corrupt images, names of rows."""

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

from proxmtl.backbones import extract, extract_to_file
from proxmtl.backbones.extract import digest
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


@pytest.mark.parametrize("fresh", [False, True])  # an interrupted --force goes on as well
def test_a_part_is_gone_on_with(tmp_path, fresh):
    out, looked_at = tmp_path / "f.npy", []
    part(out)
    assert json.loads((tmp_path / "f.npy.partial.json").read_text())["done"] == 8

    class Watched(Mixer):
        def features(self, pixels):
            looked_at.append(len(pixels))
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


@pytest.mark.parametrize("name", ["f.npy.partial", "f.npy.partial.json"])
def test_damaged_parts_are_refused(tmp_path, name):
    part(tmp_path / "f.npy")
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"damaged|can't be read"):
        extract_to_file(Squares(20), Mixer(), tmp_path / "f.npy")


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("name", ["f.npy.partial", "f.npy.partial.json"])
def test_any_flipped_bit_of_a_part_is_found(tmp_path, name, members):
    network, path = Mixer(n_members=members), tmp_path / name
    part(tmp_path / "f.npy", network=network)
    whole, expected = path.read_bytes(), extract(Squares(20), network)
    rng = np.random.default_rng(0)
    done = 128 + 4 * 8 * 5  # bytes that are spoken of, of the first network
    many = done if name == "f.npy.partial" else len(whole)
    for position in rng.choice(np.arange(128 if many == done else 0, many), 30, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"start over \(--force") as caught:
            extract_to_file(Squares(20), network, tmp_path / "f.npy")
        assert caught.value.source == path
    if name == "f.npy.partial":  # the header, and rows still to come, are written again
        whole = b"\0" * 128 + whole[128:-3] + b"xyz"
    path.write_bytes(whole)
    found = extract_to_file(Squares(20), network, tmp_path / "f.npy")
    np.testing.assert_array_equal(found.features, expected)


def test_images_to_come_may_be_repaired(tmp_path):
    images = list(Squares(20))
    broken = [*images[:15], b"not an image", *images[16:]]
    with pytest.raises(ValueError, match=r"image 15 can't be decoded.* 8 images before it"):
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


def test_what_a_kill_left_in_the_middle_of_a_replacement_is_removed(tmp_path):
    for name in ("f.npy.partial.new", "f.npy.partial.rows", "f.npy.partial.lock"):
        (tmp_path / name).write_text("x")
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
    """An interruption at each line of the writing of a batch; the next call completes the file."""
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
    assert lines > 10


def test_a_file_that_failed_at_its_first_image_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="image 0 can't be decoded"):
        extract_to_file([b"x"], Mixer(), tmp_path / "f.npy")
    assert not list(tmp_path.iterdir())


def test_room_for_a_copy_is_asked_for_where_blocks_must_move(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1500))
    images, ensemble = list(Squares(20)), Mixer(n_members=3)
    for name, network, skip in (("one", Mixer(), True), ("three", ensemble, False)):
        extract_to_file(images, network, tmp_path / f"{name}.npy", skip_corrupt=skip)
    with pytest.raises(InputError, match=r"take 2\.66e-06 GB"):
        extract_to_file(images, ensemble, tmp_path / "f.npy", skip_corrupt=True)


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


@pytest.mark.parametrize("suffix", [".partial", ".partial.json"])
def test_half_of_what_a_kill_left_is_begun_anew(tmp_path, suffix):
    """A process may end after it has made the file and before it has noted how far it got."""
    out = tmp_path / "f.npy"
    out.with_name(out.name + suffix).write_bytes(b"half a file")
    found = extract_to_file(Squares(3), Mixer(), out)
    np.testing.assert_array_equal(found.features, extract(Squares(3), Mixer()))
    assert {path.name for path in tmp_path.iterdir()} == {"f.npy", "f.seal.json"}


def test_a_file_that_may_not_have_its_size_is_named(tmp_path):
    out = tmp_path / "f.npy"
    with file_limit(100), pytest.raises(OSError, match="too large") as caught:  # of its header
        extract_to_file(Squares(3), Mixer(), out)
    assert caught.value.filename == f"{out}.partial"
    with file_limit(150), pytest.raises(InputError, match=r"f\.npy: it takes .*ulimit"):
        extract_to_file(Squares(3), Mixer(), out)
    names = [f"{i:0200}" for i in range(3)]
    with file_limit(500), pytest.raises(OSError, match="too large") as caught:  # of the record
        extract_to_file(Squares(3), Mixer(), out, ids=names)
    assert caught.value.filename == f"{out}.partial.json"


def test_identifiers_of_other_rows_are_refused(tmp_path):
    np.save(tmp_path / "f.npy", np.ones((3, 2), np.float32))
    (tmp_path / "f.ids.csv").write_text("id\na\nb\n")
    with pytest.raises(InputError, match=r"2 identifiers for 3 rows of .*, so it is of others"):
        load_features(tmp_path / "f.npy")
    (tmp_path / "f.ids.csv").write_text("id\na\nb\nb\n")
    with pytest.raises(InputError, match="'b' was already used"):
        load_features(tmp_path / "f.npy")
