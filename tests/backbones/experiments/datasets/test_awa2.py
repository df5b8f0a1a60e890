"""Class folders with class-level attributes: by hand, and real pixels of eleven classes."""

import csv
import tarfile

import numpy as np
import pytest
from PIL import Image

from proxmtl.backbones.experiments.datasets import load_awa2
from proxmtl.io import read_labels, write_labels


@pytest.fixture
def folder(animals):
    for name, shade in {"ox/ox_10001": 20, "cat/cat_10002": 90, "killer+whale/k_1": 200}.items():
        path = animals / "JPEGImages" / f"{name}.jpg"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (9, 7), (shade, shade, shade)).save(path)
    return animals


def test_images_have_the_attributes_of_their_class(folder):
    data = load_awa2(folder)
    assert data.image_names == ("cat/cat_10002.jpg", "killer+whale/k_1.jpg", "ox/ox_10001.jpg")
    assert data.label.tolist() == [0, 1, 2]
    assert data.rows(data.classes.train).tolist() == [0, 2]
    table = data.table(data.rows(data.classes.train), 8)
    assert table.names == ("black", "big", "swims", "fur")
    assert table.labels.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1]]
    assert table.ids == ("cat/cat_10002.jpg", "ox/ox_10001.jpg")
    assert np.abs(table.pixels.mean((1, 2, 3)) - [90, 20]).max() < 3
    assert len(data.table().pixels) == 3


def test_labels_and_matrix_for_the_command_line(folder):
    data = load_awa2(folder)
    seen = data.rows(data.classes.train)
    ids = [data.image_names[i] for i in seen]
    write_labels(folder / "labels.csv", data.Y[seen], data.classes.attribute_names, ids)
    read = read_labels(folder / "labels.csv")
    assert read.ids == tuple(ids)
    assert read.names == data.classes.attribute_names
    np.testing.assert_array_equal(read.values, data.Y[seen])
    blank = np.array([[np.nan, 1.0]])
    write_labels(folder / "b.csv", blank, ["a", "b,c"], ["x"], header="id")
    assert read_labels(folder / "b.csv").names == ("a", "b,c")
    np.testing.assert_array_equal(read_labels(folder / "b.csv").values, blank)
    with pytest.raises(ValueError, match=r"labels \(1, 2\) for 2 ids"):
        write_labels(folder / "b.csv", blank, ["a", "b"], ["x", "y"])
    with pytest.raises(ValueError, match="saw -1"):
        write_labels(folder / "b.csv", -np.ones((1, 1)), ["a"], ["x"])


def test_folders_that_do_not_fit_are_refused(folder):
    (folder / "JPEGImages" / "cat").rename(folder / "JPEGImages" / "dog")
    with pytest.raises(ValueError, match="'dog', which is the name of no class"):
        load_awa2(folder)
    with pytest.raises(FileNotFoundError, match="a folder for each class"):
        load_awa2(folder, "images")


@pytest.mark.data
def test_real_pixels_of_eleven_classes(data, tmp_path):
    """Tiny images of AwA's classes, laid out as AwA2: labels are the rows of the real matrix."""
    for name in ("classes", "predicates", "predicate-matrix-binary", "trainclasses", "testclasses"):
        (tmp_path / f"{name}.txt").symlink_to((data / "awa1" / f"{name}.txt").resolve())
    with (data / "tiny_imagenet_awa" / "classes.csv").open() as stream:
        kinds = {row["wnid"]: row["awa_class"] for row in csv.DictReader(stream)}
    with tarfile.open(data / "tiny_imagenet_awa" / "images_64.tar") as archive:
        for wnid, kind in kinds.items():
            (tmp_path / "JPEGImages" / kind).mkdir(parents=True)
            for i in range(2):
                member = archive.extractfile(f"{wnid}/train_{i}.jpg")
                (tmp_path / "JPEGImages" / kind / f"{i}.jpg").write_bytes(member.read())
    animals = load_awa2(tmp_path)
    assert len(animals.images) == 22
    assert sorted({animals.classes.names[i] for i in animals.label}) == sorted(set(kinds.values()))
    seen, unseen = (animals.rows(part) for part in (animals.classes.train, animals.classes.test))
    assert (len(seen), len(unseen)) == (16, 6)
    table = animals.table(unseen, 64)
    assert table.pixels.shape == (6, 3, 64, 64)
    assert table.labels.shape == (6, 85)
