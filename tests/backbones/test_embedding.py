"""Features of an image are its own, however many images come with it."""

import numpy as np
import pytest
from extract_cases import Mixer, Squares

from proxmtl.backbones import embedding, extract, extract_to_file
from proxmtl.backbones.embedding import KnownRows


class OfItsBatch(Mixer):
    """Features depend on how many images are in a batch, as the last digits of libraries' do."""

    def features(self, pixels):
        return super().features(pixels) + len(pixels)


@pytest.mark.parametrize("members", [None, 3])
def test_features_of_an_image_do_not_depend_on_how_many_come_with_it(tmp_path, members):
    network = OfItsBatch(n_members=members)
    images = list(Squares(20))
    whole = extract(images, network)
    np.testing.assert_array_equal(extract(images[3:6], network), whole[..., 3:6, :])
    given = [b"x" if i in {2, 9} else image for i, image in enumerate(images)]
    found = extract_to_file(given, network, tmp_path / "f.npy", skip_corrupt=True)
    np.testing.assert_array_equal(found.features, whole[..., found.rows, :])
    if members is None:
        place = np.where(np.arange(20) % 3 == 0, np.arange(20), -1)
        known = KnownRows(whole, place)
        found = extract_to_file(images, network, tmp_path / "g.npy", known=known)
        np.testing.assert_array_equal(found.features, whole)


def test_large_batches_are_not_filled_up():
    sizes = []

    class Watched(Mixer):
        def features(self, pixels):
            sizes.append(len(pixels))
            return super().features(pixels)

    extract(Squares(70), Watched(), batch_size=50)
    assert sizes == [50, 8, 8, 8]


class Counting(Mixer):
    """Keeps the sizes of its batches."""

    def __init__(self, **more):
        super().__init__(**more)
        self.sizes = []

    def features(self, pixels):
        self.sizes.append(len(pixels))
        return super().features(pixels)


def test_images_without_features_fill_batches_across_those_that_have_some(tmp_path):
    network, images = Counting(), list(Squares(200))
    whole = extract(images, network)
    network.sizes.clear()
    place = np.where(np.arange(200) % 2, np.arange(200), -1)
    known = KnownRows(whole, place)
    extract_to_file(images, network, tmp_path / "f.npy", known=known, batch_size=16)
    assert network.sizes == [16] * 6 + [8]  # of 100
    network.sizes.clear()
    bad = [b"x" if i % 50 == 3 else image for i, image in enumerate(images)]
    extract_to_file(bad, network, tmp_path / "g.npy", skip_corrupt=True, batch_size=50)
    assert network.sizes == [50] * 3 + [8] * 6  # of 196


def test_what_waits_is_bounded_and_kept_when_an_image_is_bad(tmp_path, monkeypatch):
    network, images = Counting(), list(Squares(64))
    whole = extract(images, network)
    place = np.where(np.arange(64) % 8, np.arange(64), -1)  # one of eight is new
    broken = [*images[:48], b"no image", *images[49:]]
    known = KnownRows(whole, place)
    with pytest.raises(ValueError, match=r"(?s)image 48 can't .*Features of the 48 images before"):
        extract_to_file(broken, network, tmp_path / "f.npy", known=known)
    network.sizes.clear()
    monkeypatch.setattr(embedding, "MOST_BYTES", 0)
    rows = []
    extract_to_file(
        images,
        network,
        tmp_path / "g.npy",
        known=known,
        progress=lambda done, _: rows.append(done),
    )
    assert network.sizes == [8] * 4  # two batches at a time, each with one new image
    assert max(np.diff(rows)) <= 16
    monkeypatch.undo()
    network.sizes.clear()
    extract_to_file(images, network, tmp_path / "h.npy", known=known)
    assert network.sizes == [8]


def test_rows_that_are_known_are_of_one_network(tmp_path):
    network = Mixer(n_members=3)
    known = KnownRows(np.zeros((3, 3, 5), np.float32), np.zeros(3, int))
    with pytest.raises(ValueError, match="holds several networks"):
        extract_to_file(list(Squares(3)), network, tmp_path / "f.npy", known=known)


def test_the_images_of_a_feature_that_is_not_finite_are_named(tmp_path):
    class Broken(Mixer):
        def features(self, pixels):
            return super().features(pixels) / 0

    images = list(Squares(20))
    place = np.where(np.arange(20) % 2, np.arange(20), -1)
    known = KnownRows(extract(images, Mixer()), place)
    with pytest.raises(ValueError, match="one of 8 images from image 0 to image 14"):
        extract_to_file(images, Broken(), tmp_path / "f.npy", known=known)
