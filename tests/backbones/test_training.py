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
    CropsAndFlips,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
    read_checkpoint,
)
from proxmtl.backbones.training.batches import TrainingBatches
from proxmtl.backbones.training.checkpoint import FORMAT, remove_leftovers
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


def watched_run(**settings):
    """Train on three colours; its end, and what networks and solve were given."""
    table = digits()
    sizes = {"input_shape": (3, 8, 8), "widths": (4, 8), "n_features": 8}
    trainer = Trainer(
        Architecture(n_members=4, **sizes).ensemble(seed=0),
        SingleTaskHead(0.3),
        dataclasses.replace(table, pixels=np.repeat(table.pixels, 3, axis=1)),
        TrainingConfig(epochs=1, batch_size=24, learning_rate=1e-3, **settings),
        **rows(72, 0),
    )
    calls, dtypes = set(), set()
    forward, solve = trainer.network.forward, trainer.layer.solve

    def watched(images):
        last = images.is_contiguous(memory_format=torch.channels_last)
        calls.add((trainer.network.training, torch.is_autocast_enabled("cpu"), last))
        return forward(images)

    def solved(features, labels):
        dtypes.update((features.dtype, labels.dtype))
        return solve(features, labels)

    trainer.network.forward, trainer.layer.solve = watched, solved
    return trainer.run()[-1].objective, calls, dtypes


def test_options_reach_networks_and_solve_and_change_little():
    plain, calls, dtypes = watched_run()
    # in SGD, and for the features of the solve
    assert calls == {(True, False, False), (False, False, False)}
    assert dtypes == {torch.float32}
    for option in ("autocast", "channels_last", "solve_in_double"):
        objective, calls, dtypes = watched_run(**{option: True})
        reached = (option == "autocast", option == "channels_last")
        assert calls == {(True, *reached), (False, *reached)}
        assert dtypes == {torch.float64 if option == "solve_in_double" else torch.float32}
        assert objective == pytest.approx(plain, rel=0.01)


def test_one_network_for_all_gives_one_matrix_of_features():
    plain = small_run(epochs=1, head=SingleTaskHead(0.3)).run()
    trainer = small_run(epochs=1, head=SingleTaskHead(0.3), shared=3)
    changed = trainer.run()
    assert trainer.features(trainer.train).shape == (120, 8)
    assert changed[-1].objective == pytest.approx(plain[-1].objective, rel=0.1)


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


@pytest.mark.parametrize(
    ("reached", "undone"),
    [
        ([1.0, 1.04, 1.07], [2]),  # small rises don't add up
        ([1.0, 0.5, 0.9], [2]),  # though below the start
        ([1.0, 0.5, 0.52, 0.53, 0.524], [3]),  # nor do they later
        ([1.0, np.nan, np.inf, 1.05], [1, 2]),
    ],
)
def test_epochs_are_measured_against_the_lowest_so_far(monkeypatch, reached, undone):
    trainer = small_run(epochs=len(reached) - 1, n_train=60, head=SingleTaskHead(0.3))
    solve, values = trainer._solve, iter(reached)
    monkeypatch.setattr(
        trainer, "_solve", lambda: dataclasses.replace(solve(), objective=next(values))
    )
    history = trainer.run()
    assert [record.epoch for record in history if record.rejected is not None] == undone
    for number in undone:
        assert history[number].objective == history[number - 1].objective
        assert repr(history[number].rejected) == repr(reached[number])


def test_the_rate_falls_after_patience_epochs_without_a_fall(monkeypatch):
    trainer = small_run(epochs=7, n_train=60, head=SingleTaskHead(0.3), patience=2, factor=0.5)
    solve, values = trainer._solve, iter([1.0, 1.0, 1.0, 1.0, 0.9, 1.0 - 0.11, 0.9, 0.9])
    monkeypatch.setattr(
        trainer, "_solve", lambda: dataclasses.replace(solve(), objective=next(values))
    )
    rates = [record.learning_rate / 1e-3 for record in trainer.run()]
    # two epochs at 1.0 after the first, then falls
    assert rates == pytest.approx([1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.5])
    assert trainer.optimizer.param_groups[0]["lr"] / 1e-3 == pytest.approx(0.25)


def state_of(trainer):
    """All that the next epoch depends on."""
    modules = {"network": trainer.network, "layer": trainer.layer}
    tensors = {f"{m} {k}": t for m, part in modules.items() for k, t in part.state_dict().items()}
    for i, state in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"momentum {i} {name}": tensor for name, tensor in state.items()}
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    return copies, trainer.standard, repr(trainer.history), repr(trainer.scheduler.state_dict())


class StopError(BaseException):
    """As KeyboardInterrupt, which would stop pytest."""


@pytest.mark.parametrize(("where", "epoch"), [("sgd", 2), ("scores", 0), ("scores", 1)])
def test_an_epoch_that_is_interrupted_never_was(monkeypatch, where, epoch):
    def made():
        return small_run(epochs=2, n_train=60, head=latent_head(max_passes=10))

    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    def stop(*_):
        raise StopError

    trainer = made()
    for _ in range(epoch):
        trainer.advance()
    before = state_of(trainer)
    if where == "scores":  # after the solve, when the layer has its new weights
        monkeypatch.setattr(trainer, "evaluate", stop)
    with pytest.raises(StopError):
        trainer.advance(stop if where == "sgd" else None)
    monkeypatch.undo()
    after = state_of(trainer)
    assert after[0].keys() == before[0].keys()
    for name, tensor in before[0].items():
        assert torch.equal(after[0][name], tensor), name
    assert after[2:] == before[2:]
    assert (after[1] is None) == (before[1] is None)
    assert figures(trainer) == figures(made())


# Python from 3.12 on warns of forks where there are threads; the workers touch nothing of theirs
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_worker_processes_change_nothing(tmp_path):
    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    head = SingleTaskHead(0.3)
    alone = figures(small_run(head=head, epochs=2))
    assert figures(small_run(tmp_path, head=head, epochs=1, workers=2)) == alone[:2]
    assert figures(small_run(tmp_path, head=head, epochs=2)) == alone  # the same run, with none
    main = os.getpid()

    class Elsewhere(CropsAndFlips):
        def __call__(self, images, seed):
            assert os.getpid() != main
            return super().__call__(images, seed)

    trainer = small_run(head=head, epochs=1, workers=1)
    trainer.augmentation = Elsewhere(8, 1, flips=False)
    assert figures(trainer) == alone[:2]


def test_damaged_and_strange_checkpoints_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    (tmp_path / ".checkpoint.pt.abc.pt").write_bytes(b"half")
    assert read_checkpoint(tmp_path) is None
    assert list(tmp_path.iterdir())  # another process may be writing it
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(InputError, match="can't be read"):
        read_checkpoint(tmp_path)
    torch.save({"format": FORMAT, "object": Path("x")}, path)
    with pytest.raises(InputError, match="can't be read"):  # a pickled object
        read_checkpoint(tmp_path)
    torch.save({"format": FORMAT}, path)
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


def test_rows_that_move_from_one_split_to_the_other_make_another_run(tmp_path):
    def made(cut):
        return Trainer(
            Architecture(n_members=4, widths=(4, 8), n_features=8).ensemble(seed=0),
            SingleTaskHead(0.3),
            digits(),
            TrainingConfig(epochs=0),
            train=np.arange(cut),
            test=np.arange(cut, 150),
            normalisation=(torch.zeros(1), torch.ones(1)),
            folder=tmp_path,
        )

    made(100).run()
    assert made(100).epoch == 0
    with pytest.raises(InputError, match="another run: images, labels and rows differ"):
        made(120)


def test_features_far_too_large_are_undone_too(monkeypatch):
    trainer = small_run(epochs=2, n_train=60, head=SingleTaskHead(0.3))
    trainer.advance()
    before, descend = state_of(trainer), trainer.descend

    def astray(number, batches):
        loss = descend(number, batches)
        with torch.no_grad():
            for parameter in trainer.network.parameters():
                parameter.mul_(1e7)
        return loss

    monkeypatch.setattr(trainer, "descend", astray)
    record = trainer.advance()
    assert record.rejected == np.inf
    for name, tensor in state_of(trainer)[0].items():
        assert torch.equal(tensor, before[0][name])
    assert bool(torch.isfinite(trainer.features(trainer.train)).all())
    monkeypatch.setattr(trainer, "config", dataclasses.replace(trainer.config, undo_above=np.inf))
    with pytest.raises(ValueError, match=r"Lower learning_rate\. \(.*curvature"):
        trainer.advance()


def test_networks_that_were_given_wrong_are_no_divergence():
    trainer = small_run(epochs=1)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(np.nan)
    with pytest.raises(ValueError, match="before any training: check their initial weights"):
        trainer.run()


def test_the_folder_is_made_before_any_work(tmp_path):
    trainer = small_run(tmp_path / "new" / "run", epochs=0, n_train=60)
    assert (tmp_path / "new" / "run").is_dir()
    trainer.run()
    with pytest.raises(InputError, match="this is a file"):
        small_run(tmp_path / "new" / "run" / "scalars.csv")


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
