"""``proxmtl train`` and ``proxmtl demo --cnn``: runs, interrupted ones, bad requests."""

import csv
import json
import re

import numpy as np
import pytest

from proxmtl.backbones.training import AttributeCNN, Epoch
from proxmtl.backbones.training.start import networks_of_run
from proxmtl.cli.training_report import risen
from proxmtl.io.seal import read_manifest

SMALL = ["--side", "16", "--epochs", "2", "--max-passes", "20", "--batch-size", "16"]
COMMAND = ["train", "photos", "-l", "photos.csv", "-o", "cnn", "--learning-rate", "0.001", *SMALL]
FROZEN = [*COMMAND[:6], "--side", "16", "--max-passes", "20", "--frozen"]

MODEL = ["model.json", "model.safetensors"]
MARKER = '{"command": "train", "request": {}}'


def objectives(folder):
    lines = (folder / "history.csv").read_text().splitlines()
    return [line.split(",")[1] for line in lines[1:]]


def test_the_page_of_a_training_is_that_of_the_command_report(program, photos, monkeypatch):
    monkeypatch.setattr("proxmtl.report.rendering.vega_bundle", lambda: "window.vegaEmbed = 0;")
    code, _, err = program(*COMMAND, "--epochs", "2", "--report")
    assert code == 0, err
    run = photos / "cnn"
    read_manifest(run).check()
    assert "report.html" in read_manifest(run).entries
    page = (run / "report.html").read_text()
    assert "mean AP by epoch" in page
    assert ".proxmtl" not in page  # the folder in which it was made
    assert program("report", "cnn", "-o", "again.html")[0] == 0
    again = (photos / "again.html").read_text()
    assert page.count('"epoch"') == again.count('"epoch"') > 0


def test_training_writes_a_run_and_goes_on(program, photos):
    code, out, _ = program(*COMMAND, "-g", "kinds.json")
    assert code == 0
    assert "joint objective" in out
    assert "colour" in out
    names = {path.name for path in (photos / "cnn").iterdir()}
    assert names >= {".train", "history.csv", "metrics.json", "model.safetensors"}
    assert [path.name for path in (photos / "cnn" / ".train").iterdir()] == ["checkpoint.pt"]
    model = AttributeCNN.load(photos / "cnn")
    assert model.names == ("red", "bar", "tall")
    assert model.description["groups"] == {"colour": ["red"], "form": ["bar", "tall"]}
    config = json.loads((photos / "cnn" / "config.json").read_text())
    assert (config["command"], config["status"]) == ("train", "finished")
    first = objectives(photos / "cnn")
    assert len(first) == 3
    # again: finished; with more epochs: prolonged, from where it was; started over: the same
    code, _, err = program(*COMMAND, "-g", "kinds.json")
    assert code == 2
    assert "finished run of 2 epochs" in err
    of_two = {name: (photos / "cnn" / name).read_bytes() for name in MODEL}
    longer = [*COMMAND, "-g", "kinds.json", "--epochs", "3"]
    code, out, _ = program(*longer)
    assert code == 0
    assert "going on after epoch 2" in out
    assert objectives(photos / "cnn")[:3] == first
    # killed after its last checkpoint, before its model: the same command finishes it
    of_three = {name: (photos / "cnn" / name).read_bytes() for name in MODEL}
    assert all(of_two[name] != of_three[name] for name in MODEL)
    for name in MODEL:
        (photos / "cnn" / name).write_bytes(of_two[name])
    code, _, err = program(*COMMAND, "-g", "kinds.json")
    assert code == 2
    assert "an interrupted run of 3 epochs; ask for at least as many" in err
    code, _, err = program(*longer)
    assert code == 0, err
    for name in MODEL:
        assert (photos / "cnn" / name).read_bytes() == of_three[name]
    # killed while its files are moved into place
    (photos / "cnn" / ".proxmtl.next").mkdir()
    for name in ("metrics.json", "manifest.json"):
        (photos / "cnn" / name).rename(photos / "cnn" / ".proxmtl.next" / name)
    code, _, err = program("inspect", "cnn")
    assert code == 2
    assert "cnn: a new run is taking the place of the one here" in err
    assert "finished run of 3 epochs" in program(*longer)[2]
    assert program("inspect", "cnn")[0] == 0
    for command in (longer, COMMAND):
        code, _, err = program(*command, "-g", "kinds.json")
        assert code == 2
        assert "a finished run of 3 epochs; ask for more" in err
    code, _, err = program(*COMMAND, "-g", "kinds.json", "--epochs", "4", "--seed", "1")
    assert code == 2
    assert "cnn: holds another run: --seed was 0 and is 1 now. Ask for the same" in err
    assert "give --force to start over" in err
    changed = (
        "-g",
        "kinds.json",
        "--epochs",
        "4",
        "--learning-rate",
        "0.01",
        "--own-strength",
        "1",
    )
    code, _, err = program(*COMMAND, *changed, "--balanced", "--workers", "1")
    assert code == 2
    assert (
        "another run: --own-strength was auto and is 1 now, --balanced was off and is on "
        "now, --learning-rate was 0.001 and is 0.01 now. Ask"
    ) in err
    table = (photos / "photos.csv").read_text()
    (photos / "photos.csv").write_text(table.replace(".png,0", ".png,1", 1))
    code, _, err = program(*longer[:-1], "4")
    assert code == 2
    assert "cnn: holds a checkpoint of another run: images, labels and rows differ" in err
    assert "give --force to start over, or name another folder" in err
    (photos / "photos.csv").write_text(table)
    code, out, _ = program(*COMMAND, "-g", "kinds.json", "--force")
    assert code == 0
    assert objectives(photos / "cnn") == first


@pytest.mark.parametrize(
    "options",
    [
        ["--frozen"],
        ["--single-task", "0.1", "--loss", "logistic", "--holdout", "0"],
        ["--own-strength", "0.1"],
        ["--group-strength", "0.01", "--own-strength", "0.1"],
        ["--shared-stages", "4", "--augment", "none", "--cache", "pixels", "--autocast"],
        ["--frozen-stages", "2", "--shared-stages", "3"],
    ],
    ids=lambda options: options[0],
)
def test_variants_train(program, photos, options):
    code, out, err = program(*(FROZEN if "--frozen" in options else [*COMMAND, *options]))
    assert code == 0, err
    assert len(objectives(photos / "cnn")) == (1 if "--frozen" in options else 3)
    assert ("training images" in out) == ("--holdout" in options)
    assert ("which the model was fitted on: they are too good" in err) == ("--holdout" in options)
    assert ("joint" in out) == ("--single-task" not in options)
    assert ("relative gap" in out) == ("--single-task" in options)
    assert bool(re.search(r"objective [\d.e-]+ -> ", out)) == ("--frozen" not in options)
    assert (", mean AP" in out) == ("--holdout" not in options)
    assert ("BUDGET" in out) == ("raise --max-passes" in out)
    if "--cache" in options:
        pixels = np.load(next((photos / "pixels").glob("*.npy")), mmap_mode="r")
        assert pixels.shape == (40, 3, 18, 18)
        assert pixels.max() == 255


def test_an_interrupted_run_says_where_it_goes_on(program, photos, monkeypatch):
    from proxmtl.backbones.training import Trainer

    whole = Trainer.descend

    def stopped(self, number, *rest):
        if number == 2:
            raise KeyboardInterrupt
        return whole(self, number, *rest)

    monkeypatch.setattr(Trainer, "descend", stopped)
    code, out, err = program(*COMMAND)
    assert code == 130
    assert err.strip() == "Stopped. Epoch 1 is kept; the same command goes on from there."
    assert out.count("\n") == 2
    assert "epoch 1 of 2: objective" in out
    monkeypatch.undo()
    monkeypatch.chdir(photos)
    code, out, _ = program(*COMMAND)
    assert code == 0
    assert "going on after epoch 1" in out
    assert "epoch 2 of 2: objective" in out


def test_a_run_stays_until_the_one_that_replaces_it_has_an_epoch(program, photos, monkeypatch):
    from proxmtl.backbones.training import Trainer

    def contents():
        return {path: path.read_bytes() for path in (photos / "cnn").rglob("*") if path.is_file()}

    assert program(*FROZEN)[0] == 0
    before = contents()
    forced = [*COMMAND, "--seed", "1", "--force"]
    for name, error in (("_solve", KeyboardInterrupt()), ("figures", OSError(28, "full", "x"))):
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, name, _failing(error))
            assert program(*forced)[0] in {2, 130}
        assert contents() == before
        assert program("inspect", "cnn")[0] == 0
    # once it has an epoch, no model of the other run stands beside it
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "descend", _failing(KeyboardInterrupt()))
        code, _, err = program(*forced)
    assert code == 130
    assert "Epoch 0 is kept; the same command without --force goes on from there." in err
    assert objectives(photos / "cnn") != []
    config = json.loads((photos / "cnn" / "config.json").read_text())
    assert (config["status"], config["request"]["seed"]) == ("running", 1)
    assert config["options"]["seed"] == 1
    assert program("inspect", "cnn")[0] == 2
    assert {path.name for path in contents()} == {"checkpoint.pt", "history.csv", "config.json"}
    code, out, err = program(*forced[:-1])
    assert code == 0, err
    assert "going on after epoch 0" in out
    assert program("inspect", "cnn")[0] == 0


def _failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


def test_figures_that_could_not_be_saved_are_drawn_by_the_same_command(
    program, photos, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("proxmtl.cli.run.plot_latents", _failing(OSError(28, "full", "x")))
        code, _, err = program(*FROZEN)
    assert code == 2
    assert err.endswith("without plots/latents.png; the same command writes the whole run.\n")
    assert program("inspect", "cnn")[0] == 0
    assert not (photos / "cnn" / "plots" / "latents.png").exists()
    code, out, err = program(*FROZEN)
    assert code == 0, err
    assert "going on after epoch 0" in out
    assert (photos / "cnn" / "plots" / "latents.png").exists()
    assert "a finished run of 0 epochs" in program(*FROZEN)[2]


def test_epochs_that_were_undone_are_counted(program, photos):
    code, out, err = program(*COMMAND, "--learning-rate", "1000")
    assert code == 0, err
    assert "2 of 2 epochs were undone" in out
    assert len(set(objectives(photos / "cnn"))) == 1


def test_the_model_of_an_epoch_after_the_lowest_is_named():
    epochs = [Epoch(epoch=k, objective=value) for k, value in enumerate((0.5, 0.4, 0.41))]
    assert "that of epoch 2, with an objective of 0.41; that of epoch 1 was lower, 0.4." in str(
        risen(epochs)
    )
    assert risen(epochs[:2]) is None
    # an epoch that was undone has the figures of the one before, and is not the model's
    assert "that of epoch 2," in str(risen([*epochs, Epoch(epoch=3, objective=0.41, rejected=9.0)]))


BAD = {
    "no folder": (["train", "no", *COMMAND[2:]], ["no: no such folder"]),
    "network": ([*COMMAND, "--network", "big"], ["use 'small', 'alexnet'"]),
    "stages": ([*COMMAND, "--shared-stages", "9"], ["0 to 4 shared stages"]),
    "frozen stages": ([*COMMAND, "--frozen-stages", "1"], ["--frozen-stages 1", "--shared-stages"]),
    "weights": ([*COMMAND, "--weights", "w.pth"], ["'w.pth'", "'small' comes without"]),
    "augment": ([*COMMAND, "--augment", "magic"], ["augment", "'crops'"]),
    "device": ([*COMMAND, "--device", "abacus"], ["device", "abacus"]),
    "alone with groups": ([*COMMAND, "--single-task", "1", "-g", "kinds.json"], ["leave them out"]),
    "alone with strength": (
        [*COMMAND, "--single-task", "1", "--group-strength", "77"],
        ["--group-strength", "the latent model"],
    ),
    "frozen for epochs": ([*FROZEN, "--epochs", "7"], ["--epochs", "--frozen leaves out"]),
    "frozen with workers": ([*FROZEN, "--workers", "3"], ["--workers", "--frozen leaves out"]),
    "frozen without flips": ([*FROZEN, "--no-flips"], ["--no-flips", "--frozen leaves out"]),
    "flips of nothing": (
        [*COMMAND, "--augment", "none", "--no-flips"],
        ["--no-flips", "--augment crops or krizhevsky"],
    ),
    "side of alexnet": ([*COMMAND, "--network", "alexnet"], ["--side", "224"]),
    "other folder": ([*COMMAND, "-o", "photos"], ["no run of training"]),
    "corrupt": (COMMAND, ["1 of 40 images", "7.png", "get them again", "--skip-corrupt"]),
    "no labels": (["train", "photos", "-l", "no.csv", "-o", "cnn"], ["no.csv: no such file"]),
    "no groups": ([*COMMAND, "-g", "no.toml"], ["no.toml: no such file"]),
    "wrong folder": (["train", ".", *COMMAND[2:]], ["none of the 40 named files", "right folder?"]),
    # found before any image is read, of which one is corrupt
    "corrupt and groups": ([*COMMAND, "-g", "typo.json"], ["typo.json", "rad"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_one_paragraph(program, photos, case):
    command, expected = BAD[case]
    (photos / "typo.json").write_text('{"colour": ["rad"], "form": ["bar", "tall"]}')
    if "corrupt" in case:
        (photos / "photos" / "7.png").write_bytes(b"x")
    code, _, err = program(*command)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for part in expected:
        assert part.lower() in err.lower()
    assert ".;" not in err
    assert not (photos / "cnn").exists()


def test_corrupt_images_are_skipped_if_asked(program, photos):
    (photos / "photos" / "7.png").write_bytes(b"x")
    code, out, _ = program(*FROZEN, "--skip-corrupt")
    assert code == 0
    assert "1 image skipped" in out
    assert "7.png" in json.loads((photos / "cnn" / "config.json").read_text())["skipped"][0]


def test_a_small_demo_with_networks(program, files):
    size = ["--n-train", "90", "--observed", "0.8", "--epochs", "1", "--max-passes", "10"]
    code, out, _ = program("demo", "--cnn", *size, "--out", "demo")
    assert code == 0
    for part in ("frozen random, groups", "single-task CNN", "joint CNN, groups", "AP topology"):
        assert part in out
    metrics = json.loads((files / "demo" / "metrics.json").read_text())
    table = list(csv.DictReader((files / "demo" / "zero_shot.csv").read_text().splitlines()))
    for row in table:  # two digits that no network has seen
        found = metrics["zero_shot"][row.pop("model")]
        mean, chance = found.pop("mean"), found.pop("chance")
        assert chance == 0.5
        assert len(found) == 2
        assert found == pytest.approx({digit: float(share) for digit, share in row.items()})
        assert mean == pytest.approx(sum(found.values()) / 2)
        assert f"digit {next(iter(found))}" in out
    assert len(table) == 3
    assert "are in none of them" in out
    totals = {name: rows["Total"]["ap"] for name, rows in metrics["groups"].items()}
    assert all(0.3 < ap < 1 for ap in totals.values())
    assert len((files / "demo" / "history_joint.csv").read_text().splitlines()) == 3
    assert len(AttributeCNN.load(files / "demo").names) == 21
    # an earlier demo is replaced
    assert json.loads((files / "demo" / "config.json").read_text())["cnn"] is True


def test_labels_without_both_classes_leave_the_last_run_alone(program, photos):
    lines = (photos / "photos.csv").read_text().splitlines()
    same = [",".join([line.split(",")[0], "1", *line.split(",")[2:]]) for line in lines[1:]]
    (photos / "photos.csv").write_text("\n".join([lines[0], *same]))
    checkpoint = photos / "cnn" / ".train" / "checkpoint.pt"
    checkpoint.parent.mkdir(parents=True)
    (photos / "cnn" / "config.json").write_text(MARKER)
    checkpoint.write_bytes(b"of the last run")
    code, _, err = program(*COMMAND, "--force")
    assert code == 2
    assert "photos.csv: 'red' has only yes in the" in " ".join(err.split())
    assert checkpoint.read_bytes() == b"of the last run"


def test_rare_attributes_are_left_out_of_the_networks_and_the_groups(program, photos):
    lines = (photos / "photos.csv").read_text().splitlines()
    same = [",".join([line.split(",")[0], "1", *line.split(",")[2:]]) for line in lines[1:]]
    (photos / "photos.csv").write_text("\n".join([lines[0], *same]))
    call = [*FROZEN, "-g", "kinds.json", "--min-positives", "3"]
    code, _, err = program(*call)
    assert code == 0, err
    assert "1 of 3 attributes has fewer than 3 rows with yes or with no" in err
    model = AttributeCNN.load(photos / "cnn")
    assert model.names == ("bar", "tall")
    assert model.description["groups"] == {"form": ["bar", "tall"]}


def test_networks_begin_at_those_of_a_run_and_images_choose_the_epoch(program, photos):
    alone = [*COMMAND, "--single-task", "0.1", "-o", "alone", "--epochs", "1"]
    assert program(*alone, "--validate", "0.25")[0] == 0
    joint = [*COMMAND, "--validate", "0.25", "--clip-norm", "0.5", "--weights", "alone"]
    code, out, err = program(*joint)
    assert code == 0, err
    assert "Scores on 8 held-out images" in out
    split = {row["id"]: row["part"] for row in table(photos / "cnn" / "split.csv")}
    parts = list(split.values())
    assert [parts.count(part) for part in ("fitted", "validated", "held_out")] == [24, 8, 8]
    scored = {row["id"] for row in table(photos / "cnn" / "predictions.csv")}
    assert scored == {name for name, part in split.items() if part == "held_out"}
    aps = [float(row["ap"]) for row in table(photos / "cnn" / "history.csv")]
    model, start = (AttributeCNN.load(photos / name) for name in ("cnn", "alone"))
    assert model.description["epoch"] == int(np.argmax(aps))
    assert np.array_equal(model.inputs[0], start.inputs[0])  # also of other images
    networks, _ = networks_of_run(photos / "alone", start.architecture, start.names)
    for name, tensor in start.network.state_dict().items():
        assert np.array_equal(tensor, networks.state_dict()[name]), name
    (photos / "fewer.csv").write_text(
        "".join(
            f"{line.rsplit(',', 1)[0]}\n"
            for line in (photos / "photos.csv").read_text().splitlines()
        )
    )
    for change, message in (
        (("--epochs", "3", "--clip-norm", "1"), "--clip-norm was 0.5 and is 1.0 now"),
        (("--shared-stages", "1", "-o", "other"), "alone: holds other networks"),
        (("--validate", "0.5", "-o", "other"), "images that --validate sets apart here"),
        (("--seed", "5", "-o", "other"), "images that --holdout sets apart here"),
        (("-l", "fewer.csv", "-o", "other"), "alone: holds networks of other attributes"),
    ):
        code, _, err = program(*joint, *change)
        assert code == 2
        assert message in err


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))
