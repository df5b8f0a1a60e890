"""Hand-made features: what is counted, and where."""

import sys

import numpy as np
import pytest

from proxmtl import Groups
from proxmtl.backbones.experiments.cells import CellLog
from proxmtl.backbones.experiments.descriptors import (
    CELL,
    CHROMA,
    GRID,
    LIGHT,
    ORIENTATIONS,
    PATTERNS,
    RADII,
    SIDE,
    TONES,
    hand_made_features,
)
from proxmtl.backbones.experiments.protocol import Data, Fitted, System, Table
from proxmtl.backbones.experiments.running import compute
from proxmtl.backbones.experiments.splits import random_folds

REGIONS = GRID * GRID
BLOCKS = (SIDE // CELL - 1) ** 2 * 4 * ORIENTATIONS


def parts(features):
    """Gradients, and the shares of lightness, tones and each radius: (n, regions + 1, bins)."""
    sizes = [BLOCKS] + [n * (REGIONS + 1) for n in (LIGHT, TONES**2, *[PATTERNS] * len(RADII))]
    assert features.shape[1] == sum(sizes)
    gradients, *histograms = np.split(features.astype(float), np.cumsum(sizes)[:-1], axis=1)
    return gradients, [h.reshape(len(features), REGIONS + 1, -1) ** 2 for h in histograms]


def picture(height, width):
    """Red left of the middle, and stripes of black and white right of it."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 255
    image[::2, width // 2 :] = 255
    return image


def test_shares_are_of_the_image_and_of_its_regions():
    X = hand_made_features([picture(160, 160), np.full((40, 50, 3), 128, np.uint8)])
    assert X.dtype == np.float32
    gradients, histograms = parts(X)
    for shares in histograms:
        np.testing.assert_allclose(shares.sum(axis=2), 1.0, rtol=1e-5)
        # the whole image is the mean of its regions, which are of one size
        np.testing.assert_allclose(shares[:, 0], shares[:, 1:].mean(axis=1), atol=1e-6)
    tones = histograms[1]
    red = tones[0, 1:].reshape(GRID, GRID, -1)
    # CIELAB of sRGB's red is (53.2, 80.1, 67.2): both axes end in the last bin
    assert CHROMA < 67
    np.testing.assert_allclose(red[:, : GRID // 2, -1], 1.0, rtol=1e-5)
    np.testing.assert_allclose(red[:, GRID // 2 :, -1], 0.0, atol=1e-5)
    gray = TONES // 2 * (TONES + 1)
    np.testing.assert_allclose(red[:, GRID // 2 :, [gray, gray - 1, gray - TONES]].sum(-1), 1.0)
    assert not gradients[1].any()  # of one colour
    assert gradients[0].any()


def test_an_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'proxmtl\[descriptors\]'"):
        hand_made_features([picture(8, 8)])


def test_a_row_of_a_table_learns_from_the_features_that_it_names(tmp_path):
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.5).astype(float)
    known = labels + 0.01 * rng.standard_normal((60, 2))
    made = []

    def better():
        made.append(known)
        return np.column_stack([known, known[:, 0]])

    data = Data(
        rng.standard_normal((60, 4)),
        labels,
        ("a", "b"),
        Groups.single(2),
        np.arange(60),
        others={"better": better},
    )

    def fit(part):
        n = part.X.shape[1]
        return Fitted(lambda X: X[:, :2], {"features": n}, [], {})

    table = Table(
        "t",
        "T",
        lambda *_: data,
        lambda given, seed: random_folds(given, 2, 0.5, seed),
        "",
        (System("plain", "", fit, {}), System("other", "", fit, {}, features="better")),
    )
    with CellLog(tmp_path / "t.jsonl") as log:
        compute(table, data, log, [None])
        cells = compute(table, data, log, [None])
    assert len(made) == 2  # of the cells that were computed
    chosen = {cell["system"]: cell["chosen"]["features"] for cell in cells}
    assert chosen == {"plain": 4, "other": 3}
    aps = {cell["system"]: np.mean(cell["metrics"]["ap"]) for cell in cells}
    assert aps["other"] == 1.0
    assert aps["plain"] < 0.9
