"""`proxmtl reproduce` on a data set of four hundred samples, as a user calls it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from proxmtl import Groups
from proxmtl.backbones.experiments import running
from proxmtl.backbones.experiments.catalogue import EXPERIMENTS, folder_of
from proxmtl.backbones.experiments.images import kept_features
from proxmtl.backbones.experiments.markdown import page
from proxmtl.backbones.experiments.tables import TABLES, chosen_tables, whole_table
from proxmtl.cli.app import app
from proxmtl.io import read_labels
from proxmtl.io.errors import InputError

ROWS = "ridge,single,bilinear"
PAGE = Path(__file__).parents[3] / "docs" / "how_to" / "reproduce.md"


@pytest.fixture
def command(animals_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")

    def run(*more, table="awa", systems=ROWS):
        line = ["reproduce", table, "--data", str(animals_folder), "--out", str(tmp_path / "out")]
        return CliRunner().invoke(app, [*line, "--systems", systems, *more])

    return run


def cells(folder, name="awa"):
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore")
def test_tables_come_from_one_command_and_go_on_where_they_were(command, tmp_path, monkeypatch):
    fits = []
    whole = running._cell

    def interrupted(table, data, fold, system, device):
        if len(fits) == 3:
            raise KeyboardInterrupt
        fits.append((table.name, system.name, fold.name))
        return whole(table, data, fold, system, device)

    monkeypatch.setattr(running, "_cell", interrupted)
    result = command()
    assert result.exit_code == 130, result.output
    assert "the same command goes on" in result.output
    out = tmp_path / "out"
    assert [(c["system"], c["split"]) for c in cells(out)] == [f[1:3] for f in fits]

    monkeypatch.setattr(running, "_cell", lambda *a: fits.append(a[3]) or whole(*a))
    result = command()
    assert result.exit_code == 0, result.output
    # two rows on five splits, and three rows on five splits of unseen classes
    assert len(fits) == 25
    seen, unseen = cells(out), cells(out, "awa-unseen")
    assert (len(seen), len(unseen)) == (10, 15)
    assert {cell["rows"]["test"] for cell in seen} == {135}
    for cell in seen + unseen:
        assert cell["versions"]["proxmtl"]
        assert cell["seconds"] >= 0
        assert len(cell["metrics"]["ap"]) == len(cell["attributes"]) == 8
        assert len(cell["validation"]) > 1
    text = (out / "awa.md").read_text()
    assert "Table IV of the paper" in text
    assert "| lasso | 61.75 |" in text
    assert "*ours: L2 regression*" in text
    assert "proxmtl reproduce awa --systems ridge" in text
    zero_shot = {c["system"]: c["extra"]["zero-shot accuracy"] for c in unseen}
    assert min(zero_shot.values()) > 0.6  # of two classes
    assert "zero-shot accuracy, %" in text
    # scores of the bilinear row are no log-odds
    assert "| bilinear compatibility (ESZSL) − L2 regression |" in text
    assert "accuracy, points" not in text
    table = chosen_tables("awa", None)[0]
    data = table.load(tmp_path / "data" / "awa1", None)
    single = [cell for cell in seen if cell["system"] == "single"]
    peers = [{**cell, "system": "logistic", "versions": {"torch": "1.0"}} for cell in single]
    mixed = page(table, data, [*peers, *single], "")
    assert f"torch 1.0 and {single[0]['versions']['torch']}, " in mixed
    assert "over splits, which learn from disjoint rows and share a test set, the" in mixed
    assert "accuracy, points" in mixed
    grid = [
        {"shared_strength": a, "own_strength": b, "ap": a + b}
        for a, b in [(0.1, 0.02), (0.1, 0.01), (0.5, 0.02), (0.5, 0.01)]
    ]
    surface = [{**cell, "system": "own-surface", "validation": grid} for cell in single]
    for cell in surface[1:]:
        cell["validation"] = [{**line, "ap": line["ap"] + 0.25} for line in grid]
    text_of_it = page(whole_table(table), data, surface, "")
    assert "5 splits, by `shared_strength` in rows and `own_strength` in columns:" in text_of_it
    assert "|  | 0.01 | 0.02 |" in text_of_it
    assert "| 0.5 | 71.00 | 72.00 |\n| 0.1 | 31.00 | 32.00 |" in text_of_it

    del fits[:]
    again = command()
    assert again.exit_code == 0
    assert not fits
    assert (out / "awa.md").read_text() == text

    monkeypatch.setattr(running, "PROTOCOL", -1)  # cells mean something else
    assert command(systems="ridge").exit_code == 0
    assert len(fits) == 10


@pytest.mark.filterwarnings("ignore")
def test_figures_against_labels_and_rows_of_earlier_commands(command, tmp_path):
    assert command(systems="ridge").exit_code == 0
    result = command("--labels-per-attribute", "12,20", systems="single")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "awa.md").read_text()
    assert "| L2 regression |" in text
    table = text[text.index("Mean average precision, %, against") :]
    assert "|  | 12 | 20 | all |" in table
    assert "awa 1 of 15: single on set 0: AP" in result.output
    assert "12 labels of each attribute" in result.output
    few = [c for c in cells(tmp_path / "out") if c["labels"] == 12]
    assert len(few) == 5
    whole = [c for c in cells(tmp_path / "out") if c["labels"] is None and c["system"] == "single"]
    assert {c["rows"]["parts"] for c in few} == {4}  # few labels validate in turn
    assert {c["rows"]["parts"] for c in whole} == {1}
    means = [np.nanmean([c["metrics"]["auc"] for c in some]) for some in (few, whole)]
    assert means[0] < means[1]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"table": "imagenet"}, "TABLE: got 'imagenet'; use 'awa'"),
        ({"systems": "mgg"}, "got 'mgg'; use 'logistic', 'svm'"),
        ({"more": ("--labels-per-attribute", "25,x")}, "give numbers of 8 or more"),
        ({"more": ("--labels-per-attribute", "4")}, "give numbers of 8 or more"),
    ],
)
def test_what_is_asked_for_has_to_exist(command, more, message, tmp_path):
    result = command(*more.pop("more", ()), **more)
    assert result.exit_code != 0
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_rows_are_listed_without_data(command):
    result = command(systems="list")
    assert result.exit_code == 0
    assert "awa: mg-shuffled  W = L S, shuffled groups (only where it is named)\n" in result.output
    assert "awa-unseen: bilinear" in result.output


def test_rows_that_run_only_when_they_are_asked_for():
    plain = {s.name for table in chosen_tables("awa", None) for s in table.systems}
    assert "mg" in plain
    assert "mg-shuffled" not in plain
    (asked,) = chosen_tables("awa", ["mg-shuffled"])
    assert [system.name for system in asked.systems] == ["mg-shuffled"]
    assert len(whole_table(asked).systems) > 10


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_declarations_agree_with_their_rows(table):
    names = [system.name for system in table.systems]
    assert len(set(names)) == len(names)
    assert {name for pair in table.pairs for name in pair} <= set(names)
    for published in table.published:
        assert set(published.ours) <= set(published.rows)
        assert {name for ours in published.ours.values() for name in ours} <= set(names)


def test_the_catalogue_lists_each_table_once():
    assert sorted(t for e in EXPERIMENTS.values() for t in e.tables) == sorted(TABLES)


def test_a_data_set_is_found_by_its_folder_or_that_of_all(tmp_path):
    inside = tmp_path / "awa1"
    inside.mkdir()
    assert folder_of("awa", tmp_path) == inside
    assert folder_of("awa", inside) == inside
    assert folder_of("wbcatt", inside) == inside
    with pytest.raises(FileNotFoundError, match="expected the folder of the data set 'mulan'"):
        folder_of("mulan", tmp_path / "nowhere")


class Network:
    """Mean colours."""

    name, fit, input_size, n_features, n_members = "mean", None, 4, 3, None

    def __init__(self):
        import torch

        self.shift, self.calls = torch.zeros(3), 0

    def features(self, pixels):
        import torch

        self.calls += len(pixels)
        values = torch.from_numpy(pixels.astype(np.float32))
        channel = values.shape.index(3, 1)
        axes = tuple(i for i in (1, 2, 3) if i != channel)
        return values.mean(dim=axes) + self.shift

    def tensors(self):
        return {"shift": self.shift}


def test_features_of_images_are_made_once(tmp_path, monkeypatch):
    from proxmtl.backbones.experiments import images

    network = Network()
    monkeypatch.setattr(images, "load_network", lambda _: network)
    pictures = [np.full((6, 6, 3), k, np.uint8) for k in range(5)]
    ids = [f"{k}.png" for k in range(5)]
    features = kept_features(tmp_path / "features")
    X = features("colours", pictures, ids)
    np.testing.assert_allclose(X, np.arange(5)[:, None] * np.ones(3))
    made = network.calls
    np.testing.assert_array_equal(features("colours", pictures, ids), X)
    assert network.calls == made
    with pytest.raises(InputError, match="features of other images"):
        features("colours", [255 - picture for picture in pictures], ids)
    network.shift += 1  # other weights
    with pytest.raises(InputError, match="features of other images or networks"):
        features("colours", pictures, ids)
    with pytest.raises(FileNotFoundError, match="images of cells aren't there"):
        features("cells", None, ids)


def test_the_page_runs_as_it_is_printed(tmp_path, clothing_folder, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clothing_attributes").symlink_to(clothing_folder)
    text = PAGE.read_text(encoding="utf-8")
    given = TABLES["clothing"].load(clothing_folder, lambda *_: np.zeros((6, 2)))
    assert {s.features for s in TABLES["clothing"].systems} == {None, *given.others}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(code, PAGE.name, "exec"), {})
    groups = Groups.from_file("groups.json", read_labels("clothing.csv").names)
    assert groups.sizes.tolist() == [11, 6, 4, 2]
    assert "| L2 regression − single-task |" in capsys.readouterr().out
    assert len((tmp_path / "runs" / "digits.jsonl").read_text().splitlines()) == 10


def test_the_page_names_the_tables_and_rows_that_there_are():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9-]+)`", text))
    systems = {s.name for table in TABLES.values() for s in table.systems}
    assert systems | set(EXPERIMENTS) <= named


def test_a_device_is_that_of_rows_that_train_networks(command):
    result = command("--device", "cuda")
    assert result.exit_code == 2
    assert "--device cuda: none of these rows trains networks" in result.output
    result = command("--device", "no", table="clothing", systems="s-cnn")
    assert result.exit_code != 0
    assert "device: 'no' can't be used" in result.output
