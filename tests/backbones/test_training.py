"""The online scheme: the envelope gradient, a falling objective, runs that are killed and go on."""

import dataclasses
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import digits, latent_head, rows, small_run

from proxmtl import Logistic
from proxmtl.backbones.training import (
    AttributeCNN,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
    read_checkpoint,
)
from proxmtl.backbones.training.batches import TrainingBatches
from proxmtl.backbones.training.model import Architecture
from proxmtl.io import InputError

HEADS = {
    "latent": latent_head(reduction="mean", max_passes=50),
    "latent, sums": latent_head(reduction="sum", max_passes=50, group_strength=10.0),
    "squared hinge": SingleTaskHead(0.1, max_passes=50),
    "logistic": SingleTaskHead(0.05, Logistic(), max_passes=50),
}


def plain_loss(name, scores, labels):
    margins = labels * scores
    if name == "logistic":
        return torch.nn.functional.softplus(-margins)
    return 0.5 * (1 - margins).clamp_min(0) ** 2


@pytest.mark.parametrize("shared", [0, 1, 3])
@pytest.mark.parametrize("name", HEADS)
def test_parameters_get_the_gradient_of_the_two_phase_scheme(name, shared):
    """Solve, hold W fixed, write the data term in plain torch, and differentiate it."""
    trainer = small_run(head=HEADS[name], epochs=0, shared=shared)
    trainer.advance()
    batch = torch.arange(7, 31)
    inputs = trainer._inputs(torch.from_numpy(trainer.table.pixels[trainer.train[batch.numpy()]]))
    parameters = list(trainer.network.parameters())
    value = trainer.layer.network_loss(trainer._features(inputs), trainer.labels[batch])
    ours = torch.autograd.grad(value, parameters)
    mean, scale = trainer.standard
    features = (trainer.network(inputs) - mean) / scale  # (M, B, D)
    W, b = trainer.layer.coef.detach(), trainer.layer.intercept.detach()
    scores = torch.einsum("mbd,dm->bm", features, W) + b
    data_term = plain_loss(name, scores, trainer.labels[batch]).mean(0).sum()
    theirs = torch.autograd.grad(data_term, parameters)
    assert float(value.detach()) == pytest.approx(data_term.item(), rel=1e-5)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert max(float(g.abs().max()) for g in theirs) > 1e-3


@pytest.mark.parametrize("name", ["latent", "single task"])
def test_joint_training_lowers_the_objective_and_beats_the_frozen_start(name):
    head = latent_head() if name == "latent" else SingleTaskHead(0.3)
    trainer = small_run(head=head, epochs=5, n_train=240)
    trainer.augmentation = None
    history = trainer.run()
    values = [record.objective for record in history]
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    assert values[-1] < 0.8 * values[0]
    assert history[-1].accuracy > history[0].accuracy + 0.03
    assert history[-1].ap > history[0].ap + 0.1
    # the figures are those of the scores
    predicted = (trainer.scores(trainer.test) > 0).double().numpy()
    right = (predicted == trainer.table.labels[trainer.test]).mean()
    assert history[-1].accuracy == pytest.approx(right)


def test_frozen_networks_stay_as_they_were():
    trainer = small_run(epochs=0)
    before = {name: t.clone() for name, t in trainer.network.state_dict().items()}
    (record,) = trainer.run()
    assert record.epoch == 0
    assert np.isnan(record.sgd_loss)
    for name, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_frozen_stages_keep_their_weights_and_others_do_not_go_on(tmp_path):
    def run(frozen):
        sizes = {"widths": (4, 8), "n_features": 8}
        plan = Architecture(n_members=4, shared_stages=2, frozen_stages=frozen, **sizes)
        head = SingleTaskHead(0.3)
        return small_run(tmp_path, network=plan.ensemble(seed=0), head=head, epochs=1)

    trainer = run(1)
    before = {name: t.clone() for name, t in trainer.network.state_dict().items()}
    trainer.run()
    after = trainer.network.state_dict()
    kept = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    assert kept == {name for name in before if name.startswith("trunk.blocks/0/")}
    assert len(kept) == 4
    with pytest.raises(InputError, match=r"another run: networks.* differ"):
        run(0)


@pytest.mark.parametrize(
    "options",
    [{"autocast": True}, {"channels_last": True}, {"solve_in_double": True}, {"shared": 3}],
    ids=str,
)
def test_options_run_and_change_little(options):
    plain = small_run(epochs=1, head=SingleTaskHead(0.3)).run()
    trainer = small_run(epochs=1, head=SingleTaskHead(0.3), **options)
    changed = trainer.run()
    assert trainer.features(trainer.train).ndim == (2 if "shared" in options else 3)
    tolerance = 0.1 if "shared" in options else 0.02
    assert changed[-1].objective == pytest.approx(plain[-1].objective, rel=tolerance)


def test_killed_runs_end_as_the_one_that_was_left_alone(tmp_path):
    kills = 10 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 3
    script = Path(__file__).parent / "killed_runs.py"
    command = [sys.executable, str(script), str(tmp_path), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    left = [int(number) for number in done.stdout.split()]
    assert len(left) == kills
    assert any(0 < number < kills + 3 for number in left)  # in the middle of it
    alone, killed = (torch.load(tmp_path / name / "end.pt") for name in ("alone", "killed"))
    assert len(alone["history"]) == kills + 3
    assert repr(killed["history"]) == repr(alone["history"])  # repr: NaN, and every digit
    assert alone["network"].keys() == killed["network"].keys()
    for name, tensor in alone["network"].items():
        assert torch.equal(tensor, killed["network"][name])


def test_a_run_can_be_prolonged_and_another_one_is_refused(tmp_path):
    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    whole = figures(small_run(head=SingleTaskHead(0.3), epochs=3))
    assert figures(small_run(tmp_path, head=SingleTaskHead(0.3), epochs=1)) == whole[:2]
    assert figures(small_run(tmp_path, head=SingleTaskHead(0.3), epochs=3)) == whole
    lines = (tmp_path / "scalars.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch,objective,sgd_loss,accuracy")
    with pytest.raises(InputError, match="another run: head differ"):
        small_run(tmp_path, head=SingleTaskHead(0.2))
    other = small_run(head=SingleTaskHead(0.3)).network
    with torch.no_grad():
        next(other.parameters()).add_(1e-6)
    with pytest.raises(InputError, match="another run: initial weights differ"):
        small_run(tmp_path, head=SingleTaskHead(0.3), network=other)
    with pytest.raises(InputError, match="settings, normalisation, images, labels and rows differ"):
        small_run(tmp_path, head=SingleTaskHead(0.3), n_train=100, seed=1)


def test_small_rises_do_not_add_up():
    trainer = small_run(epochs=0)
    start = trainer.advance()
    kept = dataclasses.replace(start, epoch=1, objective=1.04 * start.objective)
    assert trainer._is_kept(kept)
    trainer.history.append(kept)
    assert not trainer._is_kept(dataclasses.replace(kept, objective=1.04 * kept.objective))


# Python from 3.12 on warns of forks where there are threads; the workers touch nothing of theirs
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes_change_nothing(tmp_path):
    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    head = SingleTaskHead(0.3)
    alone = figures(small_run(head=head, epochs=2))
    assert figures(small_run(tmp_path, head=head, epochs=1, workers=2)) == alone[:2]
    assert figures(small_run(tmp_path, head=head, epochs=2)) == alone  # the same run, with none


def test_damaged_and_strange_checkpoints_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    (tmp_path / ".checkpoint.pt.abc.pt").write_bytes(b"half")
    assert read_checkpoint(tmp_path) is None
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(InputError, match="can't be read"):
        read_checkpoint(tmp_path)
    torch.save({"format": "proxmtl training 3", "object": Path("x")}, path)
    with pytest.raises(InputError, match="can't be read"):  # a pickled object
        read_checkpoint(tmp_path)
    torch.save({"format": "proxmtl training 3"}, path)
    with pytest.raises(InputError, match="isn't a checkpoint of this version"):
        read_checkpoint(tmp_path)


def test_models_are_saved_and_give_the_same_scores(tmp_path):
    trainer = small_run(epochs=1)
    trainer.run()
    architecture = Architecture(n_members=4, widths=(4, 8), n_features=8)
    model = AttributeCNN(
        architecture,
        trainer.network,
        trainer.factors,
        (trainer.mean, trainer.scale),
        trainer.standard,
        trainer.table.names,
        {"note": "x"},
    )
    model.save(tmp_path)
    read = AttributeCNN.load(tmp_path)
    scores = read.decision_function(trainer.table.pixels[trainer.test], batch_size=77)
    torch.testing.assert_close(scores, trainer.scores(trainer.test), rtol=1e-4, atol=1e-4)
    assert read.names == trainer.table.names
    assert read.description == {"note": "x"}
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace('"Sequential"', '"Conv2d"', 1))
    with pytest.raises(InputError, match="cut into other stages"):
        AttributeCNN.load(tmp_path)
    (tmp_path / "model.json").write_text(text.replace('"n_features": 8', '"n_features": 7'))
    with pytest.raises(InputError, match="doesn't describe a whole model"):
        AttributeCNN.load(tmp_path)


def test_impossible_runs_are_refused():
    with pytest.raises(ValueError, match="3 networks, 4 attributes"):
        Trainer(
            Architecture(n_members=3).ensemble(seed=0),
            SingleTaskHead(),
            digits(),
            TrainingConfig(),
            **rows(50, 0),
        )
    for bad in ({"epochs": -1}, {"batch_size": 0}, {"momentum": 1.0}, {"learning_rate": np.nan}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            TrainingConfig(**bad)
    with pytest.raises(ValueError, match="l2_strength"):
        SingleTaskHead(0)
    with pytest.raises(ValueError, match="use one of 'small', 'alexnet'"):
        Architecture("resnet")
    with pytest.raises(ValueError, match="'small' comes without; leave them out"):
        Architecture().ensemble(weights="x.pth")
    with pytest.raises(ValueError, match="give the file of torchvision's"):
        Architecture("alexnet").ensemble(weights="imagenet")


def test_labels_are_looked_at_before_any_work():
    table = digits()
    labels = table.labels.copy()
    labels[:, 1] = 1.0
    network = Architecture(n_members=4).ensemble(seed=0)
    for head, match in (
        (SingleTaskHead(), "task 1 has only"),
        (SingleTaskHead(class_weight="balance"), "class_weight: got 'balance'"),
    ):
        with pytest.raises(ValueError, match=match):
            Trainer(
                network,
                head,
                dataclasses.replace(table, labels=labels),
                TrainingConfig(),
                **rows(50, 0),
            )


@pytest.mark.skipif(sys.platform != "linux", reason="other systems copy the pixels to each worker")
def test_workers_are_forked_and_pixels_may_be_for_reading_only():
    pixels = digits().pixels[:4]
    pixels.flags.writeable = False
    shape = pixels.shape[1:]
    batches = TrainingBatches(pixels, [np.arange(4), slice(0, 2)], [0, 0], shape)
    assert batches.loader(2).multiprocessing_context.get_start_method() == "fork"
    for i, n in enumerate((4, 2)):  # a slice is a view, where torch would warn
        assert np.array_equal(batches[i].numpy(), pixels[:n])


def test_divergence_is_said():
    trainer = small_run(
        epochs=3, head=SingleTaskHead(0.3), learning_rate=1e6, undo_above=float("inf")
    )
    with pytest.raises(ValueError, match="Lower learning_rate"):
        trainer.run()


@pytest.mark.parametrize("rate", [1e6, 0.3])  # not finite; a risen objective
def test_epochs_that_raise_the_objective_are_undone(tmp_path, rate):
    def made(folder, epochs):
        return small_run(folder, head=latent_head(), epochs=epochs, learning_rate=rate, n_train=60)

    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    trainer = made(None, 4)
    start = trainer.advance()
    before = {name: t.clone() for name, t in trainer.network.state_dict().items()}
    first = trainer.advance()
    assert first.rejected > 1.05 * start.objective
    assert first.objective == start.objective
    for name, tensor in trainer.network.state_dict().items():
        assert torch.equal(tensor, before[name])
    history = trainer.run()
    for earlier, later in itertools.pairwise(history):
        assert later.objective <= 1.05 * start.objective
        assert (later.rejected is None) or later.objective == earlier.objective
    rates = [r.learning_rate for r in history[1:]]
    assert rates[1] == pytest.approx(rate / 10)
    # what is on disk after an undone epoch leads on to the same
    made(tmp_path, 1).run()
    assert figures(made(tmp_path, 4)) == figures(trainer)
