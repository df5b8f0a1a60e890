"""Features into a file, where those of some of the images are there already."""

import numpy as np
import pytest
from extract_cases import Mixer, Squares

from proxmtl.backbones import KnownRows, extract, extract_to_file


def interrupted(done, _):
    if done >= 8:
        raise KeyboardInterrupt


@pytest.mark.parametrize("start", [0, 8])
def test_known_features_are_taken_as_they_are(tmp_path, start):
    out, looked_at = tmp_path / "f.npy", []
    whole = extract(Squares(20), Mixer())
    place = np.full(20, -1)
    place[[0, 3, 4, 5, 11, 12, 19]] = [6, 5, 4, 3, 2, 1, 0]
    known = KnownRows(-whole[[19, 12, 11, 5, 4, 3, 0]], place)
    if start:
        with pytest.raises(KeyboardInterrupt):
            extract_to_file(Squares(20), Mixer(), out, progress=interrupted, known=known)

    class Watched(Mixer):
        def features(self, pixels):
            looked_at.append(int(pixels.any(axis=(1, 2, 3)).sum()))  # others fill up
            return super().features(pixels)

    found = extract_to_file(Squares(20), Watched(), out, known=known, batch_size=4)
    sign = np.where(place >= 0, -1, 1)
    np.testing.assert_array_equal(found.features, sign[:, None] * whole)
    assert sum(looked_at) == (sign[start:] > 0).sum()


def test_known_features_of_other_shapes_raise(tmp_path):
    features, place = np.zeros((4, 5), np.float32), np.zeros(20, int)
    for network, known in (
        (Mixer(n_members=3), KnownRows(features, place)),
        (Mixer(), KnownRows(features, place[:19])),
        (Mixer(), KnownRows(features[:, :3], place)),
        (Mixer(), KnownRows(features, place + 4)),
    ):
        with pytest.raises(ValueError, match="known: "):
            extract_to_file(Squares(20), network, tmp_path / "f.npy", known=known)
    assert not list(tmp_path.iterdir())
