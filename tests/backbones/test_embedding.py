"""Features of an image are its own, however many images come with it."""

import numpy as np
import pytest
from extract_cases import Mixer, Squares

from proxmtl.backbones import extract, extract_to_file
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
