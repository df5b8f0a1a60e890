"""Networks of timm and torchvision, real ones: trained end to end, and frozen."""

import csv

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from proxmtl.backbones.training import AttributeCNN
from proxmtl.cli.app import app

SIDE, NAMES = 32, ("red", "bar")
TRAIN = ["train", "photos", "-l", "labels.csv", "--weights", "random", "--side", str(SIDE)]
TRAIN += ["--epochs", "2", "--batch-size", "8", "--max-passes", "500"]


def needs(library):
    """Skip where a library isn't installed, or is built for another torch."""
    pytest.importorskip(library, exc_type=(ImportError, RuntimeError, OSError))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (32, len(NAMES)))
    lines = [["image", *NAMES]]
    (tmp_path / "photos").mkdir()
    for i, (red, bar) in enumerate(labels):
        pixels = rng.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[..., 0] += np.uint8(120 * red)
        pixels[:, 12:20] += np.uint8(40 * bar)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
        lines.append([f"{i}.png", red, bar])
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(lines)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # of these libraries and of short solves
@pytest.mark.parametrize(
    ("network", "rate"),
    [
        ("timm:resnet18", "0.001"),
        ("timm:mobilenetv3_small_050", "0.00001"),  # from random weights higher ones are undone
        ("torchvision:resnet18", "0.001"),
    ],
)
def test_a_trunk_is_trained(network, rate, photos):
    needs(network.partition(":")[0])
    options = ["--network", network, "--learning-rate", rate, "--out", "run"]
    done = CliRunner().invoke(app, [*TRAIN, *options])
    assert done.exit_code == 0, done.stderr
    with (photos / "run" / "history.csv").open() as stream:
        epochs = list(csv.DictReader(stream))
    assert len(epochs) == 3
    assert not epochs[-1]["rejected"]
    frozen, trained = float(epochs[0]["objective"]), float(epochs[-1]["objective"])
    assert trained < 0.999 * frozen
    assert AttributeCNN.load(photos / "run").names == NAMES


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("network", ["timm:resnet18", "torchvision:resnet18"])
def test_a_trunk_gives_features(network, photos):
    needs(network.partition(":")[0])
    command = ["extract", "photos", "--network", network, "--weights", "random"]
    done = CliRunner().invoke(app, [*command, "--out", "features.npy"])
    assert done.exit_code == 0, done.stderr
    assert np.load(photos / "features.npy").shape == (32, 512)
