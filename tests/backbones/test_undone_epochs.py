"""Epochs that are undone or interrupted, and rates that fall."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from training_cases import latent_head, small_run

from proxmtl.backbones.training import SingleTaskHead, read_checkpoint


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
    assert trainer.descent.optimizer.param_groups[0]["lr"] / 1e-3 == pytest.approx(0.25)


def state_of(trainer):
    """All that the next epoch depends on."""
    modules = {"network": trainer.network, "layer": trainer.layer}
    tensors = {f"{m} {k}": t for m, part in modules.items() for k, t in part.state_dict().items()}
    for i, state in trainer.descent.optimizer.state_dict()["state"].items():
        tensors |= {f"momentum {i} {name}": tensor for name, tensor in state.items()}
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    return (
        copies,
        trainer.standard,
        repr(trainer.history),
        repr(trainer.descent.scheduler.state_dict()),
    )


class StopError(BaseException):
    """As KeyboardInterrupt, which would stop pytest."""


@pytest.mark.parametrize(
    ("where", "epoch"), [("sgd", 2), ("scores", 0), ("scores", 1), ("disk", 1)]
)
def test_an_epoch_that_is_interrupted_never_was(monkeypatch, tmp_path, where, epoch):
    def made(folder=None):
        return small_run(folder, epochs=2, n_train=60, head=latent_head(max_passes=10))

    def figures(trainer):
        return [repr(dataclasses.replace(r, seconds=0.0)) for r in trainer.run()]

    def stop(*_):
        raise StopError

    trainer = made(tmp_path)
    for _ in range(epoch):
        trainer.advance()
    before = state_of(trainer)
    if where == "scores":  # after the solve, when the layer has its new weights
        monkeypatch.setattr(trainer, "evaluate", stop)
    if where == "disk":  # it is full
        monkeypatch.setattr(torch, "save", stop)
    with pytest.raises(StopError):
        trainer.advance(stop if where == "sgd" else None)
    monkeypatch.undo()
    after = state_of(trainer)
    assert after[0].keys() == before[0].keys()
    for name, tensor in before[0].items():
        assert torch.equal(after[0][name], tensor), name
    assert after[2:] == before[2:]
    assert (after[1] is None) == (before[1] is None)
    # gone before the momentum is copied: the peak is that of an epoch
    assert all(parameter.grad is None for parameter in trainer.network.parameters())
    checkpoint = read_checkpoint(tmp_path)
    assert (0 if checkpoint is None else len(checkpoint.history)) == epoch
    assert figures(trainer) == figures(made())


def test_divergence_is_said():
    trainer = small_run(
        epochs=3, head=SingleTaskHead(0.3), learning_rate=1e6, rollback_threshold=float("inf")
    )
    with pytest.raises(ValueError, match="Lower learning_rate"):
        trainer.run()


def test_features_far_too_large_are_undone_too(monkeypatch, caplog):
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
    (said,) = caplog.messages
    assert re.fullmatch(r"epoch 1 is undone: .*Lower learning_rate\. \(.*curvature.*\)", said)
    for name, tensor in state_of(trainer)[0].items():
        assert torch.equal(tensor, before[0][name])
    assert bool(torch.isfinite(trainer.features(trainer.train)).all())
    monkeypatch.setattr(
        trainer, "config", dataclasses.replace(trainer.config, rollback_threshold=np.inf)
    )
    with pytest.raises(ValueError, match=r"Lower learning_rate\. \(.*curvature"):
        trainer.advance()


def test_an_error_with_usual_features_is_no_divergence(monkeypatch):
    trainer = small_run(epochs=2, n_train=60, head=SingleTaskHead(0.3))
    trainer.advance()
    before = state_of(trainer)

    def broken(*_):
        raise ValueError("a slip in a solver")

    monkeypatch.setattr(trainer.layer, "solve", broken)
    with pytest.raises(ValueError, match=r"^a slip in a solver$"):
        trainer.advance()
    for name, tensor in state_of(trainer)[0].items():
        assert torch.equal(tensor, before[0][name])


def test_networks_that_were_given_wrong_are_no_divergence():
    trainer = small_run(epochs=1)
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(np.nan)
    with pytest.raises(ValueError, match="before any training: check their initial weights"):
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
