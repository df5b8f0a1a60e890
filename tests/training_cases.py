"""A small training run: digits, few attributes, seconds of work."""

import numpy as np

from proxmtl import Groups, LatentMTL
from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.training import CropsAndFlips, LatentHead, Trainer, TrainingConfig
from proxmtl.backbones.training.model import Architecture
from proxmtl.io import load_digit_attributes


def digits(n_attributes=4):
    """The digits with the first attributes, as an image table."""
    data = load_digit_attributes()
    pixels = (data.X.reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    labels = data.Y[:, :n_attributes].astype(float)
    ids = tuple(str(i) for i in range(len(pixels)))
    return ImageTable(pixels, labels, data.names[:n_attributes], ids)


def rows(n_train, n_test):
    order = np.random.default_rng(0).permutation(1797)
    return {"train": order[:n_train], "test": order[n_train : n_train + n_test]}


def latent_head(**changes):
    settings = {
        "groups": Groups.from_lists([[0, 1], [2, 3]]),
        "group_strength": 0.03,
        "l1_strength": 3e-4,
        "frobenius_strength": 3e-4,
        "max_passes": 40,
    }
    return LatentHead(LatentMTL(**(settings | changes)))


def small_run(folder=None, *, head=None, epochs=3, n_train=120, shared=0, network=None, **changes):
    table = digits()
    architecture = Architecture(n_members=4, shared_stages=shared, widths=(4, 8), n_features=8)
    settings = {"batch_size": 24, "learning_rate": 1e-3, "patience": 1} | changes
    return Trainer(
        network or architecture.ensemble(seed=0),
        head or latent_head(),
        table,
        TrainingConfig(epochs=epochs, **settings),
        **rows(n_train, 200),
        augmentation=CropsAndFlips(8, 1, flips=False),
        folder=folder,
    )
