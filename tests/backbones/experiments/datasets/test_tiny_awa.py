"""Images of classes with attributes, in a tar archive; and the folds of their tables."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from proxmtl.backbones.experiments.datasets import load_tiny_awa
from proxmtl.backbones.experiments.tables.tiny_awa import load, seen_folds, unseen_folds

SEEN, UNSEEN = 8, 2
TABLE = np.array(
    [[k % 2, k < 3, k < 1, 1, k in {0, 3}, k in {0, 1, 4}] for k in range(SEEN + UNSEEN)], int
)


@pytest.fixture
def folder(tmp_path):
    awa = tmp_path / "awa1"
    awa.mkdir()
    names = [f"kind{k}" for k in range(SEEN + UNSEEN)]
    lines = [f"{k + 1}\t{name}" for k, name in enumerate(names)]
    (awa / "classes.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{k + 1}\ta{k}" for k in range(TABLE.shape[1])]
    (awa / "predicates.txt").write_text("\n".join(lines) + "\n")
    rows = [" ".join(map(str, row)) for row in TABLE]
    (awa / "predicate-matrix-binary.txt").write_text("\n".join(rows) + "\n")
    (awa / "trainclasses.txt").write_text("".join(f"{name}\n" for name in names[:SEEN]))
    (awa / "testclasses.txt").write_text("".join(f"{name}\n" for name in names[SEEN:]))
    groups = {"one": (0, 1), "two": (2, 3), "three": (4, 5)}
    content = {g: [{"index0": k, "name": f"a{k}"} for k in ks] for g, ks in groups.items()}
    (awa / "attribute_groups_9.json").write_text(json.dumps(content))
    tiny = tmp_path / "tiny_imagenet_awa"
    tiny.mkdir()
    lines = [f"n{k},{name}" for k, name in enumerate(names)]
    (tiny / "classes.csv").write_text("\n".join(["wnid,awa_class", *lines]) + "\n")
    with tarfile.open(tiny / "images_64.tar", "w") as archive:
        for k in range(SEEN + UNSEEN):
            for part, count in (("train", 24), ("val", 4)):
                for number in range(count):
                    add(archive, f"n{k}/{part}_{number}.png", (k, number, part == "val"))
    return tiny


def add(archive, name, colour):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), tuple(map(int, colour))).save(buffer, "PNG")
    entry = tarfile.TarInfo(name)
    entry.size = buffer.tell()
    archive.addfile(entry, io.BytesIO(buffer.getvalue()))


def test_images_have_the_attributes_of_their_class(folder):
    data = load_tiny_awa(folder)
    assert len(data.images) == 28 * (SEEN + UNSEEN)
    assert data.image_names[0] == "n0/train_0.png"
    np.testing.assert_array_equal(data.Y, np.repeat(TABLE, 28, axis=0))
    assert len(data.parts["val"]) == 4 * (SEEN + UNSEEN)
    assert data.groups.names == ("one", "two", "three")


def features(name, images, ids):
    assert name == "tinyawa"
    assert len(images) == len(ids)
    return np.arange(len(ids), dtype=np.float32)[:, None]


def test_tables_have_the_attributes_that_tell_seen_classes_apart(folder):
    data = load(folder, features)
    # of eight seen classes three or four have a0, a1 and a5; two have a4, one has a2, all have a3
    assert data.names == ("a0", "a1", "a5")
    assert {n: list(data.groups.members(g)) for g, n in enumerate(data.groups.names)} == {
        "one": [0, 1],
        "three": [2],
    }
    np.testing.assert_array_equal(data.signatures["binary"], TABLE[:, [0, 1, 5]])
    validation = np.isin(np.arange(len(data.X)), data.parts["val"])
    folds = seen_folds(data, 0)
    learnt = np.concatenate([fold.refit for fold in folds])
    assert len(np.unique(learnt)) == len(learnt) == 24 * SEEN
    for fold in folds:
        assert set(fold.test) == set(np.flatnonzero(validation & (data.classes < SEEN)))
    for fold in unseen_folds(data, 0):
        assert set(data.classes[fold.test]) == {SEEN, SEEN + 1}
        assert len(fold.test) == 28 * UNSEEN
        for train, held in fold.parts:
            assert not set(data.classes[train]) & set(data.classes[held])
            assert len(set(data.classes[held])) == 2  # one alone has no attribute to score


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("classes.csv", "wnid,awa_class\nn0,dragon\n", "has the class 'dragon'"),
        ("classes.csv", "wnid,awa_class\nn0,kind0\nn0,kind1\n", "one wnid twice"),
        ("classes.csv", "wnid,awa_class\nn0,kind0\n", "images_64.tar has 'n1/train_0.png'"),
    ],
)
def test_files_that_disagree_raise(folder, file, content, message):
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_tiny_awa(folder)


def test_missing_parts_raise(folder):
    (folder / "images_64.tar").unlink()
    with pytest.raises(FileNotFoundError, match="a tar archive of the images"):
        load_tiny_awa(folder)
    (folder.parent / "awa1").rename(folder.parent / "elsewhere")
    with pytest.raises(FileNotFoundError, match="Animals with Attributes 1"):
        load_tiny_awa(folder)
