"""``--config``: options from a file, which those on the line win over."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from proxmtl.estimators import load_model

FIT = ("fit", "x.npy", "-o", "run")


@pytest.mark.parametrize("name", ["o.toml", "o.json"])
def test_options_come_from_a_file_and_the_line_wins(program, files, name):
    given = {"labels": "y.csv", "single-task": 0.5, "max_passes": 70, "balanced": True, "seed": 3}
    lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
    (files / name).write_text(json.dumps(given) if name == "o.json" else "\n".join(lines))
    assert program(*FIT, "--config", name, "--seed", "4")[0] == 0
    model = load_model(files / "run")
    assert (model.l2_strength, model.max_passes, model.class_weight) == (0.5, 70, "balanced")
    config = json.loads((files / "run" / "config.json").read_text())
    assert config["seed"] == 4
    expected = {"features": "x.npy", "labels": "y.csv", "single_task": 0.5, "max_passes": 70}
    assert config["options"] == {**expected, "balanced": True, "seed": 4}


def test_arguments_come_from_a_file_too(program, files):
    assert program("fit", "x.npy", "-l", "y.csv", "-o", "run", "--single-task", "1")[0] == 0
    (files / "o.toml").write_text('run = "run"\nsamples = "x.npy"\nout = "p.csv"\nscores = true\n')
    code, out, err = program("predict", "--config", "o.toml")
    assert code == 0, err
    assert "80 samples, 4 attributes (scores)" in out


def test_the_example_of_the_docs_runs_as_it_is_printed(program, files):
    text = (Path(__file__).parents[2] / "docs" / "reference" / "cli.md").read_text("utf-8")
    example = re.search(
        r"^```toml\n(# options.toml, for: proxmtl ([^\n]*)\n[^`]*)```", text, re.MULTILINE
    )
    (files / "options.toml").write_text(example[1])
    for name, given in {"x.npy": "features.npy", "y.csv": "labels.csv"}.items():
        (files / name).rename(files / given)
    (files / "groups.toml").write_text('colors = ["black", "white"]\nothers = ["spots", "stripes"]')
    code, _, err = program(*shlex.split(example[2]))
    assert code == 0, err
    config = json.loads((files / "runs" / "first" / "config.json").read_text())
    assert config["options"]["features"] == "features.npy"


def test_images_and_the_file_of_their_features_have_names(program, photos):
    lines = ['features = "photos"', 'labels = "photos.csv"', 'features-file = "kept.npy"']
    (photos / "o.toml").write_text("\n".join([*lines, 'network = "untrained"', "auto = false"]))
    code, _, err = program("fit", "--config", "o.toml", "--out", "run", "--no-report")
    assert code == 0, err
    assert (photos / "kept.npy").is_file()
    (photos / "photos.csv").rename(photos / "x.csv")
    np.save(photos / "x.npy", np.ones((2, 2)))
    code, _, err = program("fit", "x.npy", "-l", "x.csv", "-o", "r", "--features", "kept.npy")
    assert code == 2
    assert "--features: this is an option of images" in err


def test_what_the_line_says_is_not_blamed_on_the_file(program, files):
    (files / "o.toml").write_text("max-passes = 7")
    code, _, err = program(*FIT, "-l", "y.csv", "--config", "o.toml", "--max-passes", "many")
    assert code == 2
    assert "many" in err
    assert "o.toml" not in err


def test_what_the_work_objects_to_is_named_with_its_file(program, files):
    (files / "o.toml").write_text("labels = 'none.csv'\nalgorithm = 'magic'\ntol = -1.0")
    (files / "none.csv").touch()
    said = {
        (): "o.toml has algorithm = 'magic'.",
        ("--algorithm", "auto"): "o.toml has tol = -1.0.",
        ("--tol", "1", "--algorithm", "auto"): "o.toml has labels = 'none.csv'.",
        ("-l", "y.csv", "--tol", "1", "--algorithm", "gone"): "Options were read from o.toml, too.",
    }
    for more, message in said.items():
        code, _, err = program(*FIT, "--config", "o.toml", *more)
        assert code == 2
        assert message in " ".join(err.split())
        assert err.count("o.toml") == 1


WRONG = {
    "typo": ("max-pases = 3", "fit has no option 'max-pases'; did you mean 'max-passes'?"),
    "unlike any": (
        "zzzz = 3",
        "what stands without a name on the line is 'features' here; see proxmtl fit --help.",
    ),
    "number": ("max-passes = 'many'", "o.toml has max-passes = 'many'."),
    "range": ("max-passes = 0", "o.toml has max-passes = 0."),
    "switched off": ("no-auto = true", "fit has no option 'no-auto'; write auto = false."),
    "twice": ("max-passes = 3\nmax_passes = 4", "is there twice"),
    "table": ("[max-passes]\na = 1", "'max-passes' is a table"),
    "not TOML": ("max-passes 3", "o.toml"),
    "itself": ("config = 'o.toml'", "fit has no option 'config'"),
    "ruled out": (
        "single-task = 1\nn-latents = '2'",
        "--n-latents: this is an option of the latent",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_an_error_that_says_what_is_wrong(program, files, case):
    text, message = WRONG[case]
    (files / "o.toml").write_text(text)
    code, _, err = program(*FIT, "-l", "y.csv", "--config", "o.toml")
    assert code == 2
    assert message in " ".join(err.split())
    assert not (files / "run").exists()


def test_a_file_that_is_not_there_or_of_another_kind(program, files):
    code, _, err = program(*FIT, "-l", "y.csv", "--config", "none.toml")
    assert code == 2
    assert "none.toml: no such file" in err
    code, _, err = program(*FIT, "-l", "y.csv", "--config", "y.csv")
    assert code == 2
    assert "read from .toml or .json" in err
    (files / "o.json").write_text("[1]")
    code, _, err = program(*FIT, "-l", "y.csv", "--config", "o.json")
    assert code == 2
    assert "holds no table" in err
