"""Descriptions of trained networks are compared with their arrays before anything is built."""

import copy
import itertools
import json
import sys
import types

import numpy as np
import pytest
import torch
from documents_cases import ODD, places

from proxmtl.backbones.networks import Ensemble
from proxmtl.backbones.training import AttributeCNN
from proxmtl.backbones.training.model import Architecture
from proxmtl.cli.inspect import _of_training
from proxmtl.cli.scoring import attribute_groups
from proxmtl.io import InputError, seal_folder

ARCHITECTURE = Architecture(n_members=3, widths=(4, 8), n_features=6, shared_stages=1)
NAMES = ("red", "tall", "old")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    network = ARCHITECTURE.ensemble(seed=0)
    factors = {"L": torch.ones(6, 2), "S": torch.ones(2, 3), "intercept": torch.zeros(3)}
    pairs = (torch.zeros(1), torch.ones(1)), (torch.zeros(3, 1, 6), torch.ones(3, 1, 6))
    solve = {"status": "CONVERGED", "passes": 3.0, "relative_kkt": None}
    more = {"groups": {"g": ["red", "old"]}, "epochs": 2, "solve": solve, "images": {"side": 9}}
    AttributeCNN(ARCHITECTURE, network, factors, *pairs, NAMES, more).save(folder)
    return folder


def changed(saved, folder, place, value):
    for name in ("model.safetensors", "model.json", "manifest.json"):
        (folder / name).write_bytes((saved / name).read_bytes())
    document = json.loads((saved / "model.json").read_text())
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (folder / "model.json").write_text(json.dumps(document))
    seal_folder(folder)
    return folder


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("parameters", "n_members"), 10**6, "n_members: 1000000 networks for 3 names"),
        (("parameters", "widths"), [4, 10**9 * 2], "networks of these have network"),
        (("parameters", "n_features"), 10**9, "networks of these have network"),
        (("parameters", "input_shape"), [10**4, 10**4, 10**4], "networks of these have network"),
        (("parameters", "shared_stages"), 0, "networks of these have network"),
        (("parameters", "name"), "alexnet", "describe a whole model"),
        (("parameters", "name"), "timm:hf-hub:someone/net", "set PROXMTL_ALLOW_HUB=1"),
        (("parameters", "name"), "timm:local-dir:/tmp/net", "set PROXMTL_ALLOW_HUB=1"),
        (("description", "names"), ["red", "tall"], "3 networks for 2 names"),
        (("description", "groups"), {"g": ["blue"]}, "blue"),
    ],
)
def test_sizes_are_compared_before_anything_is_built(saved, tmp_path, place, value, message):
    """What would be built takes up to terabytes."""
    changed(saved, tmp_path, place, value)
    with pytest.raises(InputError, match=rf"model\.json: .*{message}"):
        AttributeCNN.load(tmp_path)


def test_wrong_types_anywhere_are_refused_or_harmless(saved, tmp_path):
    """A model that is read is of use: it scores images, and says what it is."""
    whole = json.loads((saved / "model.json").read_text())
    images = np.zeros((2, 1, 8, 8), np.uint8)
    odd_ones, refused = itertools.cycle(ODD), 0
    for place in places(whole):
        for odd in itertools.islice(odd_ones, 3):
            try:
                model = AttributeCNN.load(changed(saved, tmp_path, place, copy.deepcopy(odd)))
            except InputError:
                refused += 1
                continue
            assert model.decision_function(images).shape == (2, 3)
            _of_training(model)
            attribute_groups(model)
            assert model.description.get("images", {"side": 9})["side"] == 9 or place[-1] == "side"
    assert refused > 100


def test_a_hub_is_asked_only_if_that_is_wanted(saved, tmp_path, monkeypatch):
    asked = []

    def create_model(name, *, pretrained):
        asked.append((name, pretrained))
        raise RuntimeError("no such model")

    timm = types.ModuleType("timm")
    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    changed(saved, tmp_path, ("parameters", "name"), "timm:hf-hub:someone/net")
    with pytest.raises(InputError, match="looked up outside the library"):
        AttributeCNN.load(tmp_path)
    assert not asked
    for options, variable in (({"hub": True}, ""), ({}, "1")):
        monkeypatch.setenv("PROXMTL_ALLOW_HUB", variable)
        with pytest.raises(InputError, match="no such model"):
            AttributeCNN.load(tmp_path, **options)
    assert asked == [("hf-hub:someone/net", False)] * 2


def test_models_that_get_weights_unasked_are_none_of_torchvisions(monkeypatch):
    models = types.ModuleType("torchvision.models")
    models.list_models = lambda module: ["resnet18"] if module is models else []
    models.get_model = lambda *_, **__: pytest.fail("built")
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    with pytest.raises(ValueError, match="it is none of its classifiers"):
        Architecture("torchvision:fasterrcnn_resnet50_fpn").ensemble()


def test_no_more_networks_are_made_than_are_kept():
    made = []

    def make():
        made.append(ARCHITECTURE.network())
        return made[-1]

    one = Ensemble(make, 1000, shared_stages=3)
    assert one.is_one
    assert len(made) == 1
    assert one(torch.zeros(2, 1, 8, 8)).shape == (1000, 2, 6)
