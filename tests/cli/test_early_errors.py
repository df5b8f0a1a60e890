"""Errors in options and in the files that users write come before torch is imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from proxmtl.baselines import BASELINES
from proxmtl.cli import option_values
from proxmtl.estimators.thresholds import check_threshold
from proxmtl.latent.model import ALGORITHMS
from proxmtl.losses import LOSS_NAMES

CASES = {
    "a label of 2": ("fit f.npy -l two.csv -o r", "two.csv, line 4: column 'old' has '2'"),
    "misspelled column": ("fit f.npy -l l.csv -o r --id-column imgae", "is it 'image'?"),
    "one class": ("fit f.npy -l one.csv -o r", "'old' has only yes"),
    "attribute of a group": ("fit f.npy -l l.csv -g bad.toml -o r", "is it 'old'?"),
    "weight of a group": ("tune f.npy -l l.csv -g stray.toml -o r", "there are weights of"),
    "missing image": ("fit photos -l more.csv -o r", "1 of the 7 named files is not there: 9.png"),
    "no file names": ("fit photos -l bare.csv -o r", "no column of file names"),
    "image of train": ("train photos -l more.csv -o r", "1 of the 7 named files is not there"),
    "groups of train": ("train photos -l l.csv -g bad.toml -o r", "is it 'old'?"),
    "labels of evaluate": ("evaluate run f.npy -l two.csv", "two.csv, line 4"),
    "attributes of evaluate": ("evaluate run f.npy -l one.csv", "no column for 1 of the model's"),
    "no run": ("predict photos f.npy -o p.csv", "no model is in this folder"),
    "labels for features": ("predict run l.csv -o p.csv", "l.csv: features are read from .npy"),
    "features as text": ("fit x.csv -l bare.csv -o r", "x.csv: features are read from .npy"),
    "features of torch": ("tune x.pt -l l.csv -o r", "numpy.save('x.npy', torch.load("),
    "images of features": ("predict run photos -o p.csv", "features of the images with proxmtl"),
    "samples of evaluate": ("evaluate run l.csv -l l.csv", "l.csv: features are read from"),
    "algorithm": ("fit f.npy -l l.csv -o r --algorithm gramm", "Did you mean 'gram'?"),
    "threshold": (
        "fit f.npy -l l.csv -o r --auto --threshold balanced",
        "Did you mean 'balanced_accuracy'?",
    ),
    "ridge": ("fit photos -l l.csv -o r --single-task -1", "'--single-task': got '-1'"),
    "ridge of train": ("train photos -l l.csv -o r --single-task 0", "'--single-task': got '0'"),
    "latents": ("fit f.npy -l l.csv -o r --n-latents many", "--n-latents: got 'many'"),
    "memory": ("fit f.npy -l l.csv -o r --memory lots", "--memory: got lots"),
    "match": ("fit f.npy -l l.csv -o r --match positon", "Did you mean 'position'?"),
    "model": ("tune f.npy -l l.csv -o r --model lasoo", "Did you mean 'lasso'?"),
    "method": ("tune f.npy -l l.csv -o r --method gird", "Did you mean 'grid'?"),
    "loss": ("train photos -l l.csv -o r --loss logistc", "Did you mean 'logistic'?"),
    "network": ("train photos -l l.csv -o r --network smal", "Did you mean 'small'?"),
    "table": ("reproduce clothes", "Did you mean 'clothing'?"),
    "system": ("reproduce clothing --systems single,mg-shufled", "Did you mean 'mg-shuffled'?"),
    "data of a table": ("reproduce mulan --data nowhere", "expected the folder of the data set"),
    "numbers": ("reproduce awa --labels-per-attribute 3", "give numbers of 8 or more"),
}
PROGRAM = """
import json, sys
from typer.testing import CliRunner
from proxmtl.cli.app import app
said = {}
for name, line in json.load(sys.stdin).items():
    result = CliRunner().invoke(app, line.split(), env={"COLUMNS": "1000"})
    said[name] = (result.exit_code, result.output, "torch" in sys.modules)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each line says, in one process that has not imported torch."""
    from proxmtl.io import ModelState, write_model_state

    folder = tmp_path_factory.mktemp("early")
    (folder / "photos").mkdir()
    rows = [f"{i}.png,{i % 2},{i % 3 == 0:d}" for i in range(6)]
    for i in range(6):
        Image.new("RGB", (8, 8)).save(folder / "photos" / f"{i}.png")
    np.save(folder / "f.npy", np.zeros((6, 2)))
    files = {
        "l.csv": ["image,red,old", *rows],
        "two.csv": ["image,red,old", *rows[:2], "2.png,0,2", *rows[3:]],
        "more.csv": ["image,red,old", *rows, "9.png,1,0"],
        "one.csv": ["image,blue,old", *(f"{i}.png,{i % 2},1" for i in range(6))],
        "bare.csv": ["red,old", *(row.split(",", 1)[1] for row in rows)],
        "x.csv": ["x0,x1", *(f"{i}.5,-1" for i in range(6))],
        "x.pt": [],
        "bad.toml": ['g = ["red", "odl"]'],
        "stray.toml": ["[groups]", 'g = ["red"]', "[weights]", "h = 2"],
    }
    for name, lines in files.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    (folder / "run").mkdir()
    names = {"label_names": ["red", "old"]}
    write_model_state(folder / "run", ModelState("SingleTaskClassifier", {}, {}, names))
    lines = json.dumps({name: line for name, (line, _) in CASES.items()})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=lines,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_errors_come_before_torch(said, case):
    code, output, torch = said[case]
    assert CASES[case][1] in output
    assert code == 2
    assert not torch


def test_words_of_options_are_those_that_there_are():
    from proxmtl.backbones.networks.registry import NETWORKS

    assert option_values.ALGORITHMS == ALGORITHMS
    free = [name for name, row in BASELINES.items() if row.decomposition == "free"]
    assert list(option_values.CONVEX) == free
    assert list(option_values.LOSSES) == list(LOSS_NAMES)
    assert list(option_values.NETWORKS) == list(NETWORKS)
    for name in option_values.THRESHOLDS:
        check_threshold(name)
