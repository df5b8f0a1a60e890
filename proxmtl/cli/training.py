"""The work of ``proxmtl train``."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.training import (
    Architecture,
    Augmentation,
    CropsAndFlips,
    Krizhevsky,
    LatentHead,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)
from proxmtl.backbones.training.events import EVENT_FOLDER, EventLog, require_tensorboard
from proxmtl.backbones.training.head import attribute_signs
from proxmtl.cli.console import keeping, make_console, shown_path, step_progress, thousandths
from proxmtl.cli.inputs import (
    attributes_to_fit,
    check_classes,
    read_groups,
    split_rows,
    torch_device,
)
from proxmtl.cli.options import strengths_of
from proxmtl.cli.parts import Parts
from proxmtl.cli.run import named_groups, scored_on
from proxmtl.cli.trained import trained_metrics, write_trained
from proxmtl.cli.training_folder import check_unfinished, claimed, naming_settings
from proxmtl.cli.training_report import epoch_line, kept, summary, undone
from proxmtl.estimators.losses import resolve_loss
from proxmtl.experiments import group_means
from proxmtl.groups import Groups
from proxmtl.io import read_labels, write_json
from proxmtl.io.names import TRAINING_FILE
from proxmtl.io.outputs import settle_folder
from proxmtl.io.run_folder import replaced_model
from proxmtl.latent import LatentMTL
from proxmtl.latent.strengths import RelativeStrengths
from proxmtl.report.tables import group_table
from proxmtl.sources import Source, sources_read
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmtl.backbones.training import Epoch, Head

__all__ = ["Request", "run_training"]

ALEXNET_SIDE = 224
CROP = 7 / 8
"""Part of a stored side that networks see: 224 of 256, as in the paper."""


@dataclass(frozen=True)
class Request:
    """What the command was asked for; see its options."""

    images: Path
    labels: Path
    groups: Path | None
    id_column: str | None
    min_positives: int
    skip_corrupt: bool
    cache: Path | None
    holdout: float
    network: str
    weights: str | None
    shared_stages: int
    frozen_stages: int
    side: int
    single_task: float | None
    loss: str
    shared_strength: str
    own_strength: str
    group_strength: float | None
    l1_strength: float | None
    frobenius_strength: float | None
    n_latents: int | None
    balanced: bool
    max_passes: int
    epochs: int
    batch_size: int
    learning_rate: float
    augment: str
    flips: bool
    device: str
    workers: int
    autocast: bool
    channels_last: bool
    seed: int

    @property
    def network_side(self) -> int:
        """Side of the images that the networks see."""
        return ALEXNET_SIDE if self.network.startswith("alexnet") else self.side

    def config(self) -> TrainingConfig:
        """Return the settings of the training."""
        return TrainingConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            workers=self.workers,
            autocast=self.autocast,
            channels_last=self.channels_last,
            # vectorised convolutions on a GPU have no reproducible form everywhere
            deterministic=self.device == "cpu",
            seed=self.seed,
        )

    def architecture(self) -> Architecture:
        """Return which networks, for one attribute."""
        return Architecture(
            self.network,
            shared_stages=self.shared_stages,
            frozen_stages=self.frozen_stages,
            input_shape=(3, self.network_side, self.network_side),
            widths=(16, 32, 64),
            n_features=64,
        )

    def head(self, groups: Groups | None, n_tasks: int) -> Head:
        """Return what is solved."""
        loss, weighting = resolve_loss(self.loss), "balanced" if self.balanced else None
        if self.single_task is not None:
            if groups is not None or self.n_latents is not None:
                raise ValueError(
                    "groups, n-latents: these are of latent tasks; leave them out with "
                    "--single-task."
                )
            return SingleTaskHead(
                self.single_task, loss, class_weight=weighting, max_passes=self.max_passes
            )
        given = strengths_of(
            self.shared_strength,
            self.own_strength,
            self.group_strength,
            self.l1_strength,
            self.frobenius_strength,
        )
        shared, own = given.pop("shared_strength"), given.pop("own_strength")
        papers = {name: value for name, value in given.items() if value is not None}
        if papers and own not in ("auto", math.inf):
            raise ValueError(
                "own-strength: heads have it beside --shared-strength, not beside the paper's "
                "strengths; leave one of them out."
            )
        model = LatentMTL(
            groups=groups or (None if papers else Groups.single(n_tasks)),
            n_latents=self.n_latents,
            **papers,
            loss=loss,
            class_weight="balanced" if self.balanced else None,
            max_passes=self.max_passes,
            random_state=self.seed,
        )
        return LatentHead(model, None if papers else RelativeStrengths(shared, own))

    def augmentation(self) -> Augmentation | None:
        """Return how training images are changed."""
        if self.augment == "none":
            return None
        if self.augment == "crops":
            return CropsAndFlips(self.network_side, flips=self.flips)
        if self.augment == "krizhevsky":
            return Krizhevsky(self.network_side, flips=self.flips)
        raise ValueError(f"augment: got {self.augment!r}; use 'crops', 'krizhevsky' or 'none'.")


def run_training(
    request: Request, out: Path, *, force: bool = False, tensorboard: bool = False
) -> None:
    """Train, or go on with it, and write the run folder."""
    if tensorboard:
        require_tensorboard()
    settle_folder(request.cache, "--cache", out)
    with claimed(out), sources_read() as sources:
        if not force:
            check_unfinished(out, request.epochs)
        _train(request, out, sources, force=force, tensorboard=tensorboard)


def _train(
    request: Request, out: Path, sources: list[Source], *, force: bool, tensorboard: bool
) -> None:
    console = make_console()
    config, augmentation = request.config(), request.augmentation()
    architecture = request.architecture()
    # what is wrong with the request is said now: images may take long to read
    architecture.ensemble(request.seed, request.weights)
    read = read_labels(request.labels, id_column=request.id_column)
    fitted = attributes_to_fit(request.labels, read.values, read.names, request.min_positives)
    names = tuple(read.names[m] for m in fitted)
    left_out = [read.names[m] for m in np.setdiff1d(range(len(read.names)), fitted)]
    groups = read_groups(request.groups, names, left_out, latent=request.single_task is None)
    head, device = request.head(groups, len(names)), torch_device(request.device)
    with step_progress("Reading images", 1000) as advance:
        table = ImageTable.read(
            request.images,
            request.labels,
            round(request.network_side / CROP),
            skip_corrupt=request.skip_corrupt,
            id_column=request.id_column,
            cache=request.cache,
            workers=request.workers,
            progress=thousandths(advance),
        ).with_attributes(names)
    if table.skipped:
        skipped = f"{counted(len(table.skipped), 'image')} skipped, the first: {table.skipped[0]}"
        console.print(skipped, markup=False)
    architecture = replace(architecture, n_members=len(names))
    networks = architecture.ensemble(request.seed, request.weights).to(device)
    train, test = split_rows(table.labels, table.names, request.holdout, request.seed, table.ids)
    layer = head.layer(networks.n_features, len(table.names))
    check_classes(request.labels, table.labels[train], table.names)
    layer.take_labels(attribute_signs(table.labels[train]))  # so is what is wrong with the labels
    with naming_settings(out, _plain(request)):
        trainer = Trainer(
            networks,
            head,
            table,
            config,
            train=train,
            test=test,
            augmentation=augmentation,
            folder=out,
            fresh=force,
        )
    # a checkpoint of another request raises in the trainer: what is recorded is what runs
    asked = {"command": "train", "request": _plain(request)}
    replaces = force and (out / TRAINING_FILE).is_file()  # that run stays until there is an epoch
    if not replaces:
        write_json(out / TRAINING_FILE, asked)
    if trainer.history:
        console.print(f"going on after epoch {trainer.epoch}")
    saved = trainer.epoch
    with contextlib.ExitStack() as stack:
        log = None
        if tensorboard:
            log = stack.enter_context(EventLog(out / EVENT_FOLDER, trainer.history)).add

        def after(epoch: Epoch) -> None:  # it is on the disk
            nonlocal saved
            saved = epoch.epoch
            if replaces and saved == 0:
                write_json(out / TRAINING_FILE, asked)
            if log is not None:
                log(epoch)
            if not console.is_terminal:  # there the bar shows it
                console.print(epoch_line(epoch, config.epochs), soft_wrap=True)

        stack.enter_context(keeping(lambda _: kept(saved, forced=force)))
        train_with_bar(trainer, after)
    scored = test if len(test) else train
    metrics = trained_metrics(trainer, scored)
    means = group_means(metrics, named_groups(groups))
    on = scored_on(len(train), len(test), "image")
    inputs = [source._asdict() for source in sources]
    with (
        Parts() as parts,
        replaced_model(out) as staging,
        keeping(lambda _: kept(saved, forced=force)),
    ):
        write_trained(
            staging,
            parts,
            trainer,
            architecture,
            metrics={"model": metrics},
            summary={"scored_on": on, "groups": means.to_dict(orient="index")},
            config={**asked, "inputs": inputs, "skipped": list(table.skipped)},
            groups=groups,
        )
    console.print(group_table(means, title=f"Scores on {on}"))
    joint = request.single_task is None
    console.print(summary(trainer.history, joint=joint), soft_wrap=True)
    rejected = undone(trainer.history, config.learning_rate)
    if rejected:
        console.print(rejected, soft_wrap=True)
    console.print(f"\nrun folder -> {shown_path(out)}")
    parts.tell(out, "the same command without --force" if force else "the same command")


def train_with_bar(trainer: Trainer, log: Callable[[Epoch], None] | None = None) -> None:
    """Run a trainer under a bar of its batches, the figures of the last epoch beside it."""
    batches = -(-len(trainer.train) // trainer.config.batch_size)
    left = trainer.config.epochs - max(trainer.epoch, 0)
    note = ["first solve"]
    with step_progress("Training", 1 + left * batches) as advance:

        def after(epoch: Epoch) -> None:
            if log is not None:
                log(epoch)
            note[0] = f"epoch {epoch.epoch}: objective {epoch.objective:.4g}"
            if np.isfinite(epoch.accuracy):
                note[0] += f", accuracy {epoch.accuracy:.1%}"
            if epoch.epoch == 0:
                advance(note[0])

        trainer.run(after, lambda done, total: advance(note[0]))  # noqa: ARG005


def _plain(request: Request) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(request).items()}
