"""Figures of each epoch, gradients that are clipped, and the epoch that is kept."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from arithmetic import half_the_digits
from training_cases import latent_head, small_run

from proxmtl.backbones.training import SingleTaskHead, Trainer, TrainingConfig
from proxmtl.backbones.training.descent import Descent


@pytest.mark.parametrize("shared", [0, 3])
def test_figures_are_those_of_the_head_and_its_features(shared):
    trainer = small_run(head=SingleTaskHead(0.3), epochs=1, shared=shared, n_train=60)
    start = trainer.advance()
    before = trainer.features(trainer.train).double().numpy()
    W, b = (trainer.factors[name].double().numpy() for name in ("W", "intercept"))
    record = trainer.advance()
    after = trainer.features(trainer.train).double().numpy()

    def scores(features, W, b):
        features = np.broadcast_to(features, (4, *features.shape[-2:]))
        return np.einsum("mnd,dm->nm", features, W) + b

    drift = np.abs(scores(after, W, b).mean(0) - scores(before, W, b).mean(0)).max()
    W, b = (trainer.factors[name].double().numpy() for name in ("W", "intercept"))
    margins = 1 - trainer.labels.double().numpy() * scores(after, W, b)
    singular = np.linalg.svd(W, compute_uv=False)
    apart = half_the_digits(torch.float32)["rtol"]
    expected = {
        "data_loss": (0.5 * margins.clip(0) ** 2).mean(0).sum(),
        "coef_norm": np.linalg.norm(W),
        "coef_spectral_norm": singular[0],
        "coef_rank": np.linalg.matrix_rank(W),
        "feature_scale": np.sqrt(after.var(axis=-2).mean()),
        "score_drift": drift,
    }
    for name, value in expected.items():
        assert getattr(record, name) == pytest.approx(value, rel=apart), name
    assert start.feature_scale == pytest.approx(1, abs=0.3)  # dead units have no deviation
    assert math.isnan(start.score_drift)
    assert math.isnan(start.gradient_norm)
    assert record.gradient_norm > 0


@pytest.mark.parametrize(("limit", "length"), [(2.5, 2.5), (10.0, 5.0), (math.inf, 5.0)])
def test_a_gradient_is_scaled_down_to_the_limit(limit, length):
    layer = torch.nn.Linear(2, 1, bias=False)
    config = TrainingConfig(learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=limit)
    before = layer.weight.detach().clone()
    norm = Descent(layer, config).step((layer.weight * torch.tensor([[3.0, 4.0]])).sum())
    assert float(norm) == pytest.approx(5)
    moved = before - layer.weight.detach()
    assert float(moved.norm()) == pytest.approx(length, rel=1e-5)
    torch.testing.assert_close(moved / moved.norm(), torch.tensor([[0.6, 0.8]]))


def test_the_limit_must_be_positive():
    with pytest.raises(ValueError, match="clip_norm: got 0"):
        TrainingConfig(clip_norm=0)


def test_the_best_epoch_is_kept_also_by_a_run_that_goes_on(tmp_path, monkeypatch):
    scores = iter([0.5, 0.7, 0.7, 0.6])
    monkeypatch.setattr(Trainer, "evaluate", lambda _: (0.0, next(scores)))

    def made(epochs):
        head = latent_head(max_passes=10)
        return small_run(tmp_path, head=head, epochs=epochs, n_train=60, keep_best=True)

    def weights(trainer):
        return [t.clone() for t in (*trainer.network.parameters(), *trainer.factors.values())]

    trainer = made(2)
    trainer.advance()
    trainer.advance()
    best = weights(trainer)
    trainer.run()
    assert trainer.chosen == 1  # the first of two
    assert all(map(torch.equal, weights(trainer), best))
    longer = made(3)
    assert not all(map(torch.equal, weights(longer), best))  # it goes on from the last one
    longer.run()
    assert (longer.epoch, longer.chosen) == (3, 1)
    assert all(map(torch.equal, weights(longer), best))


def test_the_last_epoch_is_kept_without_images_that_choose():
    trainer = small_run(epochs=1, n_train=60, head=SingleTaskHead(0.3))
    trainer.run()
    assert trainer.chosen == trainer.epoch == 1
    with pytest.raises(ValueError, match="keep_best: there are no held-out images"):
        Trainer(
            trainer.network,
            trainer.head,
            trainer.table,
            dataclasses.replace(trainer.config, keep_best=True),
            train=trainer.train,
        )
