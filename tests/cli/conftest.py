"""A small data set as files, and the program as a function."""

import json
from pathlib import Path

import numpy as np
import pytest
from pictures import draw_no_figures
from PIL import Image
from typer.testing import CliRunner

NAMES = ["black", "white", "spots", "stripes"]


def pytest_collection_modifyitems(items):
    """Fits of these tests are brief: that they end early is no fault."""
    brief = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(brief)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    # Messages are not cut into lines where a test looks for their words.
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 6)).astype(np.float32)
    Y = (X @ rng.standard_normal((6, 4)) > 0).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    np.save(tmp_path / "x.npy", X)
    cells = [["" if np.isnan(y) else f"{y:.0f}" for y in row] for row in Y]
    lines = [",".join(NAMES), *(",".join(row) for row in cells)]
    (tmp_path / "y.csv").write_text("\n".join(lines) + "\n")
    groups = {"colors": NAMES[:2], "patterns": NAMES[2:]}
    (tmp_path / "g.json").write_text(json.dumps(groups))
    return tmp_path


@pytest.fixture
def blank_figures(monkeypatch):
    draw_no_figures(monkeypatch.setattr)


@pytest.fixture
def program(files, monkeypatch, blank_figures):
    """Run the program in the folder of the files; give (exit code, stdout, stderr)."""
    from proxmtl.cli.app import app

    monkeypatch.chdir(files)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run


@pytest.fixture
def photos(files):
    """Forty squares, red or not, with a bar or not, in ``photos``, and ``photos.csv``."""
    random = np.random.default_rng(0)
    (files / "photos").mkdir()
    lines = ["file,red,bar,tall"]
    for i in range(40):
        red, bar, tall = random.integers(0, 2, 3)
        pixels = random.integers(0, 90, (20, 20, 3), dtype=np.uint8)
        pixels[..., 0] += np.uint8(120 * red)
        if bar:
            pixels[:, 8:12] = 255
        if tall:
            pixels[2:6] //= 2
        Image.fromarray(pixels).save(files / "photos" / f"{i}.png")
        lines.append(f"{i}.png,{red},{bar},{tall}")
    (files / "photos.csv").write_text("\n".join(lines) + "\n")
    (files / "kinds.json").write_text('{"colour": ["red"], "form": ["bar", "tall"]}')
    return files


@pytest.fixture
def looked_at(monkeypatch):
    """Count the images that networks see, without what fills up their batches: black squares."""
    from proxmtl.backbones.frozen import FrozenNetwork

    seen = []
    features = FrozenNetwork.features

    def counting(self, pixels):
        seen.append(int(pixels.any(axis=(1, 2, 3)).sum()))
        return features(self, pixels)

    monkeypatch.setattr(FrozenNetwork, "features", counting)
    return seen
