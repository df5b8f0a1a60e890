"""Which images the demo's networks see, and how unseen digits are recognised."""

import numpy as np
import pytest
import torch

from proxmtl.cli.digits_unseen import digit_rows, zero_shot_accuracy
from proxmtl.io import load_digit_attributes

DATA = load_digit_attributes()


@pytest.mark.parametrize("seed", range(4))
def test_unseen_digits_are_in_no_part_and_every_attribute_keeps_both_classes(seed):
    rows = digit_rows(DATA, 300, 0.3, seed)
    parts = (rows.train, rows.calibration, rows.test, rows.unseen)
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything) == len(DATA.X)
    assert len(rows.train) == 300
    assert len(rows.calibration) == 200
    for part in parts[:3]:
        assert not np.isin(DATA.digits[part], rows.digits).any()
    assert set(DATA.digits[rows.unseen]) == set(rows.digits)
    known = ~np.isnan(rows.labels)
    assert 0.25 < known[rows.train].mean() < 0.35
    assert known[everything[300:]].all()
    assert np.array_equal(rows.labels[known], DATA.Y[known])
    means = DATA.Y[np.concatenate(parts[:3])].mean(0)
    assert ((means > 0) & (means < 1)).all()


def test_the_seed_chooses_the_digits_and_too_many_images_are_refused():
    assert len({digit_rows(DATA, 300, 1.0, seed).digits for seed in range(8)}) > 2
    again = digit_rows(DATA, 300, 0.5, 3)
    assert np.array_equal(again.train, digit_rows(DATA, 300, 0.5, 3).train)
    with pytest.raises(ValueError, match="--n-train is 1790"):
        digit_rows(DATA, 1790, 1.0, 0)


class Oracle:
    """Scores that are the attributes, with noise; a stand-in for a trainer."""

    def __init__(self, noise):
        self.noise = noise

    def scores(self, rows):
        random = np.random.default_rng(0)
        signs = 2.0 * DATA.Y[rows] - 1
        return torch.from_numpy(signs + self.noise * random.standard_normal(signs.shape))


def test_right_attributes_recognise_unseen_digits_and_noise_guesses():
    rows = digit_rows(DATA, 300, 0.3, 0)
    good = zero_shot_accuracy(Oracle(0.3), DATA, rows)
    assert list(good.index) == list(rows.digits)
    assert float(good.min()) > 0.95
    assert 0.35 < float(zero_shot_accuracy(Oracle(1e3), DATA, rows).mean()) < 0.65
