"""The online scheme: the envelope gradient, a falling objective, options, models."""

import dataclasses
import itertools
import threading

import numpy as np
import pytest
import torch
from arithmetic import half_the_digits
from training_cases import digits, latent_head, rows, small_run

from proxmtl import Logistic
from proxmtl.backbones.pixels import cropped, to_input
from proxmtl.backbones.training import (
    AttributeCNN,
    CropsAndFlips,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)
from proxmtl.backbones.training.features import feature_standard
from proxmtl.backbones.training.model import Architecture
from proxmtl.io import InputError, seal_folder

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
    images = torch.from_numpy(trainer.table.pixels[trainer.train[batch.numpy()]])
    inputs = to_input(images, trainer.mean, trainer.scale)
    parameters = list(trainer.network.parameters())
    value = trainer.layer.network_loss(trainer._features(images), trainer.labels[batch])
    ours = torch.autograd.grad(value, parameters)
    mean, scale = trainer.standard
    features = (trainer.network(inputs) - mean) / scale  # (M, B, D)
    W, b = trainer.layer.coef.detach(), trainer.layer.intercept.detach()
    scores = torch.einsum("mbd,dm->bm", features, W) + b
    data_term = plain_loss(name, scores, trainer.labels[batch]).mean(0).sum()
    theirs = torch.autograd.grad(data_term, parameters)
    apart = half_the_digits(torch.float32)
    assert float(value.detach()) == pytest.approx(data_term.item(), rel=apart["rtol"])
    largest = max(float(g.abs().max()) for g in theirs)
    assert largest > 1e-3
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one / largest, other / largest, **apart)


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


def test_workers_change_nothing(tmp_path):
    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    head = SingleTaskHead(0.3)
    alone = figures(small_run(head=head, epochs=2))
    assert figures(small_run(tmp_path, head=head, epochs=1, workers=2)) == alone[:2]
    assert figures(small_run(tmp_path, head=head, epochs=2)) == alone  # the same run, with none
    main = threading.get_ident()

    class Elsewhere(CropsAndFlips):
        def __call__(self, images, seeds):
            assert threading.get_ident() != main
            return super().__call__(images, seeds)

    trainer = small_run(head=head, epochs=1, workers=1)
    trainer.augmentation = Elsewhere(8, 1, flips=False)
    assert figures(trainer) == alone[:2]


def test_no_step_waits_for_the_device(monkeypatch):
    """A number that Python asks for is one that a GPU has to come to rest for."""
    asked, names = [], ("__bool__", "__float__", "__int__", "item", "tolist")

    def watched(whole):
        def ask(self, *arguments):
            asked.append(self.shape)
            return whole(self, *arguments)

        return ask

    counts = []
    for batch_size in (60, 6):
        trainer = small_run(epochs=1, n_train=60, batch_size=batch_size)
        trainer.augmentation = None
        trainer.advance()
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(torch.Tensor, name, watched(getattr(torch.Tensor, name)))
            trainer.descend(1)
        counts.append(len(asked))
        asked.clear()
    assert counts[0] == counts[1] > 0


def test_an_error_of_a_worker_is_that_of_the_epoch():
    class Broken(CropsAndFlips):
        def __call__(self, *_):
            raise ArithmeticError("of an image")

    trainer = small_run(head=SingleTaskHead(0.3), epochs=1, workers=2)
    trainer.augmentation = Broken(8)
    with pytest.raises(ArithmeticError, match="of an image"):
        trainer.run()
    assert trainer.epoch == 0


def test_a_view_of_an_image_depends_on_its_row_and_epoch_alone():
    """Neither on the batch that it is in, nor on the images around it."""
    seen = {}

    class Watched(CropsAndFlips):
        def __call__(self, images, seeds):
            for seed, image in zip(seeds, super().__call__(images, seeds), strict=True):
                seen.setdefault(seed, []).append(image)
            return super().__call__(images, seeds)

    for batch_size in (24, 7):
        trainer = small_run(head=SingleTaskHead(0.3), epochs=2, batch_size=batch_size, seed=3)
        trainer.augmentation = Watched(8, 1, flips=False)
        trainer.run()
    assert seen.keys() == {(3, epoch, row) for epoch in (1, 2) for row in trainer.train}
    assert all(np.array_equal(*views) for views in seen.values())
    assert any(not np.array_equal(seen[3, 1, r][0], seen[3, 2, r][0]) for r in trainer.train)


def test_pixels_may_be_for_reading_only():
    table = digits()
    table.pixels.flags.writeable = False
    trainer = small_run(epochs=0)
    for rows_ in (np.arange(4), slice(0, 2)):  # a slice is a view, where torch would warn
        images = torch.from_numpy(cropped(table.pixels[rows_], trainer.network.input_shape))
        assert np.array_equal(images.numpy(), table.pixels[rows_])


def test_models_are_saved_and_give_the_same_scores(tmp_path):
    trainer = small_run(epochs=1)
    trainer.run()
    architecture = Architecture(n_members=4, widths=(4, 8), n_features=8)
    model = trainer.model(architecture, {"note": "x"})
    model.save(tmp_path)
    read = AttributeCNN.load(tmp_path)
    scores = read.decision_function(trainer.table.pixels[trainer.test], batch_size=77)
    apart = half_the_digits(torch.float32)  # in other batches
    torch.testing.assert_close(scores, trainer.scores(trainer.test), **apart)
    assert read.names == trainer.table.names
    assert read.description == {"note": "x"}
    text = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(text.replace('"Sequential"', '"Conv2d"', 1))
    seal_folder(tmp_path)
    with pytest.raises(InputError, match="cut into other stages"):
        AttributeCNN.load(tmp_path)
    (tmp_path / "model.json").write_text(text.replace('"n_features": 8', '"n_features": 7'))
    seal_folder(tmp_path)
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
    assert TrainingConfig(rollback_threshold=1).rollback_threshold == 1
    with pytest.raises(ValueError, match="rollback_threshold"):
        TrainingConfig(rollback_threshold=0.99)
    for bad in ({"epochs": -1}, {"batch_size": 0}, {"momentum": 1.0}, {"learning_rate": np.nan}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            TrainingConfig(**bad)
    with pytest.raises(ValueError, match="l2_strength"):
        SingleTaskHead(0)
    with pytest.raises(ValueError, match="use 'small', 'alexnet'"):
        Architecture("resnet")
    with pytest.raises(ValueError, match="'small' comes without; give 'random'"):
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


def test_the_scale_of_features_far_from_zero_is_that_of_float64():
    z = torch.randn(50_000, 3, generator=torch.Generator().manual_seed(0))
    X = 101325 + 30 * z
    X[:, 2] = 0.1  # a constant, which float32 doesn't hold exactly
    mean, scale = feature_standard(X, wanted=True)
    expected = X.double().std(0, correction=0)
    torch.testing.assert_close(scale[0, :2].double(), expected[:2], rtol=2**-23, atol=0)
    assert float(scale[0, 2]) == pytest.approx(float(expected.mean()), rel=1e-6)
    assert not bool((X[:, 2] - mean[:, 2]).any())
    of_tasks = feature_standard(torch.stack([X, 2 * X]), wanted=True)
    assert of_tasks[0].shape == of_tasks[1].shape == (2, 1, 3)
    assert torch.equal(of_tasks[1][1], 2 * scale)


def test_one_image_has_a_scale():
    mean, scale = feature_standard(torch.ones(1, 4), wanted=True)
    assert torch.equal(mean, scale)
