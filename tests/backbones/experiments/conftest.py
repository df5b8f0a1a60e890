"""Small data sets in the layouts of Animals with Attributes and of Clothing Attributes."""

import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from proxmtl.backbones.experiments.datasets import CLOTHING_GROUPS

SEEN, N_CLASSES, N_ATTRIBUTES, N_FEATURES = 15, 17, 8, 8


def signatures(rng):
    """Attributes of classes, each of some and not of others."""
    while True:
        table = rng.integers(0, 2, (N_CLASSES, N_ATTRIBUTES))
        few = table[:SEEN].sum(0)
        if ((few > 5) & (few < 10)).all() and len({tuple(row) for row in table}) == N_CLASSES:
            return table


@pytest.fixture
def animals_folder(tmp_path):
    """Features that are a linear image of the attributes, and noise."""
    rng = np.random.default_rng(0)
    table = signatures(rng)
    label = np.arange(408) % N_CLASSES
    X = table[label] @ rng.standard_normal((N_ATTRIBUTES, N_FEATURES))
    X = np.round(20 * (X + 0.3 * rng.standard_normal(X.shape))).clip(-127, 127)
    folder = tmp_path / "data" / "awa1"
    folder.mkdir(parents=True)
    lines = [f"{k + 1}\tclass{k}" for k in range(N_CLASSES)]
    (folder / "classes.txt").write_text("\n".join(lines) + "\n")
    lines = [f"{k + 1}\ta{k}" for k in range(N_ATTRIBUTES)]
    (folder / "predicates.txt").write_text("\n".join(lines) + "\n")
    lines = [" ".join(map(str, row)) for row in table]
    (folder / "predicate-matrix-binary.txt").write_text("\n".join(lines) + "\n")
    lines = [" ".join(f"{90 * value + 5:.1f}" for value in row) for row in table]
    (folder / "predicate-matrix-continuous.txt").write_text("\n".join(lines) + "\n")
    (folder / "trainclasses.txt").write_text("".join(f"class{k}\n" for k in range(SEEN)))
    (folder / "testclasses.txt").write_text("class15\nclass16\n")
    groups = {"look": range(4), "rest": range(4, N_ATTRIBUTES)}
    content = {g: [{"index0": k, "name": f"a{k}"} for k in ks] for g, ks in groups.items()}
    (folder / "attribute_groups_9.json").write_text(json.dumps(content))
    np.savez(folder / "features_pca512_int8.npz", features=X.astype(np.int8), label=label)
    return folder.parent


@pytest.fixture
def clothing_folder(tmp_path):
    """The layout of the distributed data set, with six made-up images."""
    rng = np.random.default_rng(0)
    (tmp_path / "labels_mat").mkdir()
    (tmp_path / "images").mkdir()
    for names in CLOTHING_GROUPS.values():
        for name in names:
            labels = rng.choice([1.0, 2.0, np.nan], size=(6, 1))
            savemat(tmp_path / "labels_mat" / f"{name}_GT.mat", {"GT": labels})
    for i in range(6):
        Image.new("RGB", (4, 6), (40 * i, 0, 0)).save(tmp_path / "images" / f"{i + 1:06d}.jpg")
    return tmp_path
