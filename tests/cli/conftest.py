"""A small data set as files, and the program as a function."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

NAMES = ["black", "white", "spots", "stripes"]


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
def program(files, monkeypatch):
    """Run the program in the folder of the files; give (exit code, stdout, stderr)."""
    from proxmtl.cli.app import app

    monkeypatch.chdir(files)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout, result.stderr

    return run
