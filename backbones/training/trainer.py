"""The training loop: in each epoch, features of all networks, a solve for W, and SGD below it."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from proxmtl.backbones.ahead import ahead
from proxmtl.backbones.pixels import cropped, moments
from proxmtl.backbones.training.checkpoint import (
    Checkpoint,
    in_main_memory,
    restore,
    state_of,
    write_checkpoint,
)
from proxmtl.backbones.training.descent import Descent
from proxmtl.backbones.training.determinism import reproducible
from proxmtl.backbones.training.diagnostics import (
    feature_moments,
    held_out_means,
    score_drift,
    solved_figures,
)
from proxmtl.backbones.training.features import (
    DivergenceError,
    feature_standard,
    joined,
    network_features,
    standardized,
)
from proxmtl.backbones.training.head import Head, attribute_signs, solve_report
from proxmtl.backbones.training.identity import resume
from proxmtl.backbones.training.model import Architecture, AttributeCNN
from proxmtl.backbones.training.record import Epoch, as_csv, best_epoch
from proxmtl.io.atomic import atomic_path
from proxmtl.io.names import CONFIG_FILE, HISTORY_FILE
from proxmtl.io.run_folder import remove_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from proxmtl.backbones.data import ImageTable
    from proxmtl.backbones.networks import Ensemble
    from proxmtl.backbones.training.augment import Augmentation, Seed
    from proxmtl.backbones.training.config import TrainingConfig

__all__ = ["Trainer"]

FAR = 1e6  # of features, in units of their deviations at the start: the networks have diverged
LOWER = "the training diverged. Lower learning_rate."
UNSOLVED = "nothing is solved yet; call run or advance first."
logger = logging.getLogger(__name__)


class Trainer:
    """Networks below, a solved head on top.

    An epoch: SGD moves the networks, W fixed; all features are computed in evaluation mode; the
    head is solved on them, starting from its last factors. A first solve precedes all epochs. If
    the objective rose, the epoch is undone (``TrainingConfig.rollback_threshold``).

    Parameters
    ----------
    network
        One member per attribute; trained in place. It stays on its device.
    head
        What is solved.
    table
        Images and labels.
    train, test
        Rows to learn from, and rows to score after each epoch.
    config
        Settings.
    augmentation
        Random changes of the training images in SGD, each a function of the seed, the epoch and the
        row. The features of the solve come from unchanged images (their middle).
    normalisation
        (mean, scale) of the input; default: the network's own, else those of the training images.
    folder
        Of the run, made where there is none: its checkpoint is continued, and written after every
        epoch, next to the figures (``history.csv``). Only one process at a time may train in it;
        ``proxmtl train`` sees to that by a lock.
    fresh
        Start over: the first checkpoint replaces the run in the folder, which stays until then.

    Raises
    ------
    ValueError
        If numbers of attributes or shapes differ, there is no row to learn from, or an attribute
        lacks a class among those.
    InputError
        If the checkpoint in the folder is of another run, or the folder is a file.
    """

    def __init__(
        self,
        network: Ensemble,
        head: Head,
        table: ImageTable,
        config: TrainingConfig,
        *,
        train: NDArray[np.intp],
        test: NDArray[np.intp] | None = None,
        augmentation: Augmentation | None = None,
        normalisation: tuple[Tensor, Tensor] | None = None,
        folder: str | Path | None = None,
        fresh: bool = False,
    ) -> None:
        if network.n_members != table.labels.shape[1] or not len(train):
            msg = (
                f"{network.n_members} networks, {table.labels.shape[1]} attributes and "
                f"{len(train)} images to learn from: give one network per attribute, and images."
            )
            raise ValueError(msg)
        if config.keep_best and (test is None or not len(test)):
            raise ValueError("keep_best: there are no held-out images to choose by; give test.")
        head.check(network, None if folder is None else Path(folder))
        self.network, self.head, self.table, self.config = network, head, table, config
        self.train = np.asarray(train, dtype=np.intp)
        self.test = np.asarray([] if test is None else test, dtype=np.intp)
        self.augmentation = augmentation and augmentation.fitted(table.pixels, self.train)
        self.folder = None if folder is None else Path(folder)
        if normalisation is None and network.normalisation is not None:
            mean, scale = map(torch.tensor, network.normalisation)
            normalisation = mean, scale
        mean, scale = normalisation or moments(table.pixels, self.train)
        self.mean, self.scale = mean.to(network.device), scale.to(network.device)
        signs = attribute_signs(table.labels[self.train])
        self.labels = signs.to(network.device, config.solve_dtype)
        place = {"device": network.device, "dtype": config.solve_dtype}
        self.layer = head.layer(network.n_features, network.n_members, **place)
        self.layer.take_labels(self.labels)  # what is wrong with them is said now
        self.descent = Descent(network, config, head.ranks)
        self.standard: tuple[Tensor, Tensor] | None = None
        self.means: Tensor | None = None  # of the features of the last solve
        self.best: dict[str, Any] = {}  # networks and head of the best epoch, where it is kept
        self.history: list[Epoch] = []
        self._identity: dict[str, str] = {}
        self._fresh = fresh
        if self.folder is not None:
            self._identity = resume(self, self.folder, fresh=fresh)

    @property
    def factors(self) -> dict[str, Tensor]:
        """Weights of the head by name: ``L``, ``S``, or ``W``; and ``intercept``."""
        found = {name: p.detach() for name, p in self.layer.named_parameters()}
        return {"intercept": self.layer.coef.new_zeros(self.network.n_members), **found}

    @property
    def epoch(self) -> int:
        """Epochs of SGD so far; -1 before the first solve."""
        return len(self.history) - 1

    @property
    def chosen(self) -> int:
        """Epoch at which :meth:`run` ends: the best one with ``keep_best``, else the last."""
        return best_epoch(self.history) if self.config.keep_best else self.epoch

    def run(
        self,
        progress: Callable[[Epoch], None] | None = None,
        batches: Callable[[int, int], None] | None = None,
    ) -> list[Epoch]:
        """Train up to ``config.epochs`` and return the figures of all epochs.

        With ``keep_best`` networks and head are then those of the best one; what is on the disk
        goes on from the last.

        Parameters
        ----------
        progress
            Called with the figures of each epoch, once they are on the disk.
        batches
            Called with (done, all) after each batch of SGD.
        """
        wanted, on_cpu = self.config.deterministic, self.network.device.type == "cpu"
        with reproducible(on_cpu if wanted is None else wanted):
            while self.epoch < self.config.epochs:
                self.advance(batches)
                if progress is not None:
                    progress(self.history[-1])
        if self.best:
            self.network.load_state_dict(self.best["network"])
            self.layer.load_state_dict(self.best["layer"])
        return self.history

    def advance(self, batches: Callable[[int, int], None] | None = None) -> Epoch:
        """Do one epoch; the first call is the solve on the networks as they are.

        Whatever stops it (Ctrl-C, an error, a callback's, a full disk) leaves the trainer as it was
        before.
        """
        before, result = in_main_memory(state_of(self)), self.layer.result

        def go_back() -> None:
            restore(self, before)
            self.layer.result = result

        try:
            record = self._epoch(go_back, batches)
            self.history.append(record)
            if self.config.keep_best and self.chosen == record.epoch:
                weights = {"network": self.network.state_dict(), "layer": self.layer.state_dict()}
                self.best = in_main_memory(weights)
            if self.folder is not None:
                now = Checkpoint(self._identity, state_of(self))
                write_checkpoint(self.folder, now, partial(self._write_beside, self.folder))
        except BaseException:
            go_back()
            raise
        return record

    def _epoch(
        self, go_back: Callable[[], None], batches: Callable[[int, int], None] | None
    ) -> Epoch:
        """SGD and a solve, undone where the objective has risen; returns the figures."""
        begin, number, rate = time.perf_counter(), len(self.history), self.descent.rate
        moved: dict[str, Any] = self.descend(number, batches) if number else {}
        most = math.inf
        if self.history:  # the lowest so far, not the last: small rises in a row must not add up
            lowest = min(earlier.objective for earlier in self.history)
            most = self.config.rollback_threshold * lowest
        try:
            record = self._solve()
            reached = record.objective
        except DivergenceError as error:
            if math.isinf(most):
                raise
            # the figures hold numbers alone, and this has a reason
            logger.warning("epoch %d is undone: %s", number, error)
            reached = math.inf
        if reached <= most or math.isinf(most):
            self.descent.scheduler.step(record.objective)
        else:
            go_back()
            self.descent.lower()
            record = replace(self.history[-1], rejected=reached)
        seconds = time.perf_counter() - begin
        return replace(record, epoch=number, learning_rate=rate, seconds=seconds, **moved)

    def _write_beside(self, folder: Path) -> None:
        """Write what must be in the folder when a checkpoint counts, and remove what must not."""
        with atomic_path(folder / HISTORY_FILE) as temporary:
            temporary.write_text(self.figures(), encoding="utf-8")
            if self._fresh and self.epoch == 0:  # of which a history may be a part
                remove_run(folder, but=CONFIG_FILE)

    def _solve(self) -> Epoch:
        """Solve on the features of the networks as they are, and score the held-out images."""
        features = self.features(self.train)
        if self.standard is None:
            self.standard = feature_standard(features, wanted=self.config.standardize)
            features = standardized(features, self.standard).to(self.config.solve_dtype)
        means, deviations = feature_moments(features)
        drift = math.nan if self.means is None else score_drift(self.layer, self.means, means)
        self.means = means
        try:
            result = self.layer.solve(features, self.labels)
        except ValueError as error:
            # labels and shapes were right in the first solve; with usual features, look elsewhere
            if not self.history or self.head.ranks.largest(float(features.abs().max())) < FAR:
                raise
            raise DivergenceError(f"{LOWER} ({error})") from error
        figures = solved_figures(self.layer, features, self.labels, deviations)
        del features
        accuracy, ap = self.evaluate()
        return Epoch(
            objective=result.certificate.objective,
            accuracy=accuracy,
            ap=ap,
            score_drift=drift,
            **figures,
            **solve_report(result),
        )

    def descend(
        self, number: int, batches: Callable[[int, int], None] | None = None
    ) -> dict[str, float]:
        """Move the networks by one epoch of SGD under a fixed head.

        Returns the figures of the epoch that belong to SGD, by their names in :class:`Epoch`.
        """
        config, device = self.config, self.network.device
        stream = config.stream(number)
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(stream))
        parts = torch.split(order, config.batch_size)
        on_gpu = device.type == "cuda"

        def made(part: Tensor) -> Tensor:
            rows = self.train[part.numpy()]
            seeds = [(config.seed, number, row) for row in rows.tolist()]
            images = self._images(rows, self.augmentation, seeds)
            return images.pin_memory() if on_gpu else images

        total, norms = torch.zeros((2,), dtype=torch.float64, device=device)
        self.network.train()
        with torch.random.fork_rng(devices=[device] if on_gpu else []):  # for dropout
            torch.manual_seed(stream)
            batches_made = ahead(made, parts, config.workers)
            for i, (part, images) in enumerate(zip(parts, batches_made, strict=True)):
                features = self._features(images)
                labels = self.labels[part.to(device)]
                loss = self.layer.network_loss(features, labels, checked=True)
                norms += self.descent.step(loss)
                total += len(part) * loss.detach().double()  # stays on the device: no step waits
                if batches is not None:
                    batches(i + 1, len(parts))
        return {
            "sgd_loss": float(total) / len(order),
            "gradient_norm": float(norms) / len(parts),
        }

    def features(self, rows: NDArray[np.intp]) -> Tensor:
        """Features in evaluation mode, (M, N, D); (N, D) where the networks are one."""
        self.network.eval()
        starts = range(0, len(rows), self.config.feature_batch)
        parts = [rows[start : start + self.config.feature_batch] for start in starts]
        made = map(self._features, ahead(self._images, parts, self.config.workers))
        with torch.no_grad():
            out = joined(made, len(rows), self.config.solve_dtype)
        if self.head.ranks.largest(not bool(torch.isfinite(out).all())):
            msg = "the networks give features that aren't finite"
            if not self.history:
                msg += " before any training: check their initial weights, and the normalisation."
                raise ValueError(msg)
            raise DivergenceError(f"{msg}: {LOWER}")
        return out

    def scores(self, rows: NDArray[np.intp]) -> Tensor:
        """Scores (N, M) of some images by the networks and the head as they are."""
        if not self.history:
            raise ValueError(UNSOLVED)
        return self._scores(rows)

    def figures(self) -> str:
        """Figures of all epochs as CSV: what ``history.csv`` holds."""
        return as_csv(self.history)

    def evaluate(self) -> tuple[float, float]:
        """Mean accuracy and mean average precision on the held-out images."""
        if not len(self.test):
            return float("nan"), float("nan")
        scores, labels = self._scores(self.test), self.table.labels[self.test]
        return held_out_means(scores, labels, self.table.names, self.head.ranks)

    def _scores(self, rows: NDArray[np.intp]) -> Tensor:
        with torch.no_grad():
            scores: Tensor = self.layer(self.features(rows))
        return scores

    def _images(
        self,
        rows: NDArray[np.intp],
        augmentation: Augmentation | None = None,
        seeds: Sequence[Seed] = (),
    ) -> Tensor:
        """Images (B, C, H, W) uint8 of the shape that the networks take."""
        shape = self.network.input_shape
        return torch.from_numpy(cropped(self.table.pixels[rows], shape, augmentation, seeds))

    def _features(self, images: Tensor) -> Tensor:
        features = network_features(
            self.network,
            images,
            (self.mean, self.scale),
            autocast=self.config.autocast,
            channels_last=self.config.channels_last,
        )
        return features if self.standard is None else standardized(features, self.standard)

    def model(self, architecture: Architecture, description: Mapping[str, Any]) -> AttributeCNN:
        """Return networks and head as a model, which shares their tensors.

        ``architecture`` says how the networks were built, and ``description``, JSON-able, is kept
        beside them. Raises ``ValueError`` before the first solve.
        """
        if self.standard is None:
            raise ValueError(UNSOLVED)
        return AttributeCNN(
            architecture,
            self.network,
            self.factors,
            (self.mean, self.scale),
            self.standard,
            self.table.names,
            dict(description),
        )
