"""The work of ``proxmtl train``."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace
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
from proxmtl.cli.console import keeping, make_console, say_warning, shown_path, step_progress
from proxmtl.cli.fitted_attributes import attributes_to_fit, check_classes, split_rows
from proxmtl.cli.inputs import read_groups, torch_device
from proxmtl.cli.parts import Parts
from proxmtl.cli.progress import item_progress
from proxmtl.cli.run import RUNNING, named_groups, recorded, scored_on
from proxmtl.cli.run_page import PAGE_FILE, write_page
from proxmtl.cli.trained import trained_metrics, trained_scores, write_trained
from proxmtl.cli.training_folder import check_unfinished, claimed, naming_settings
from proxmtl.cli.training_report import best, epoch_line, kept, risen, summary, undone
from proxmtl.cli.training_start import check_unseen, networks_at_start
from proxmtl.estimators.latent import PAPERS
from proxmtl.estimators.losses import resolve_loss
from proxmtl.experiments import group_means
from proxmtl.groups import Groups
from proxmtl.io import read_labels, write_json, write_text
from proxmtl.io.atomic import files_below
from proxmtl.io.names import CONFIG_FILE, DESCRIPTION_FILE, HISTORY_FILE
from proxmtl.io.outputs import settle_folder
from proxmtl.io.run_folder import replaced_model
from proxmtl.io.seal import seal_folder
from proxmtl.latent import LatentMTL
from proxmtl.latent.strengths import RelativeStrengths
from proxmtl.report.cautions import few_positives, too_good
from proxmtl.report.tables import group_table
from proxmtl.sources import Source, sources_read
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from proxmtl.backbones.training import Epoch, Head
    from proxmtl.cli.options import SplitOptions, StrengthOptions
    from proxmtl.cli.train import HeadOptions, LabelledImages, NetworkOptions, TrainingOptions
    from proxmtl.targets import ClassWeight

__all__ = ["Request", "run_training"]

ALEXNET_SIDE = 224
ROLLBACK = 1.05, 1.5
"""Rise of the objective from which on an epoch is undone; with images that choose the epoch."""
CROP = 7 / 8
"""Part of a stored side that networks see: 224 of 256, as in the paper."""


@dataclass(frozen=True)
class Request:
    """What the command was asked for; see its options."""

    images: LabelledImages
    split: SplitOptions
    networks: NetworkOptions
    strengths: StrengthOptions
    solved: HeadOptions
    training: TrainingOptions
    frozen: bool = False

    @property
    def plain(self) -> dict[str, Any]:
        """Option -> value, as the configuration in the folder records them."""
        groups = (
            self.images,
            self.split,
            self.networks,
            self.strengths,
            self.solved,
            self.training,
        )
        given = {name: value for group in groups for name, value in vars(group).items()}
        given["epochs"] = self.epochs
        return {k: str(v) if isinstance(v, Path) else v for k, v in given.items()}

    @property
    def epochs(self) -> int:
        """Epochs of SGD."""
        return 0 if self.frozen else self.training.epochs

    @property
    def network_side(self) -> int:
        """Side of the images that the networks see."""
        alexnet = self.networks.network.startswith("alexnet")
        return ALEXNET_SIDE if alexnet else self.networks.side

    def config(self) -> TrainingConfig:
        """Return the settings of the training."""
        given = vars(self.training)
        kept = ("batch_size", "learning_rate", "clip_norm", "workers", "autocast", "channels_last")
        return TrainingConfig(
            epochs=self.epochs,
            keep_best=given["validate"] > 0,
            # below a large W the objective may rise while scores of other images do, too: where
            # these choose the epoch, only a collapse is undone
            rollback_threshold=ROLLBACK[given["validate"] > 0],
            seed=self.split.seed,
            # vectorised convolutions on a GPU have no reproducible form everywhere
            deterministic=given["device"] == "cpu",
            **{name: given[name] for name in kept},
        )

    def architecture(self) -> Architecture:
        """Return which networks, for one attribute."""
        return Architecture(
            self.networks.network,
            shared_stages=self.networks.shared_stages,
            frozen_stages=self.networks.frozen_stages,
            input_shape=(3, self.network_side, self.network_side),
            widths=(16, 32, 64),
            n_features=64,
        )

    def head(self, groups: Groups | None, n_tasks: int) -> Head:
        """Return what is solved."""
        given = self.solved
        loss = resolve_loss(given.loss)
        weighting: ClassWeight = "balanced" if given.balanced else None
        if given.single_task is not None:
            if groups is not None:
                raise ValueError(
                    "groups: these are for latent tasks; leave them out with --single-task."
                )
            return SingleTaskHead(
                given.single_task, loss, class_weight=weighting, max_passes=given.max_passes
            )
        asked, papers = self.strengths.parameters(), self.strengths.papers()
        shared, own = asked["shared_strength"], asked["own_strength"]
        model = LatentMTL(
            # attributes in no group are a group each, as for fit
            groups=_covering(groups) or (None if papers else Groups.single(n_tasks)),
            n_latents=given.n_latents,
            **papers,
            loss=loss,
            class_weight=weighting,
            max_passes=given.max_passes,
            random_state=self.split.seed,
        )
        if papers and own in ("auto", math.inf):
            return LatentHead(model)  # the paper's model has no own parts
        papers = papers and {name: getattr(model, name) for name in PAPERS}
        return LatentHead(model, RelativeStrengths(shared, own, papers))

    def augmentation(self) -> Augmentation | None:
        """Return how training images are changed."""
        augment, flips = self.training.augment, self.training.flips
        if augment == "none":
            return None
        if augment == "crops":
            return CropsAndFlips(self.network_side, flips=flips)
        if augment == "krizhevsky":
            return Krizhevsky(self.network_side, flips=flips)
        raise ValueError(f"augment: got {augment!r}; use 'crops', 'krizhevsky' or 'none'.")


def _covering(groups: Groups | None) -> Groups | None:
    return None if groups is None else groups.covering()


def run_training(
    request: Request,
    out: Path,
    *,
    force: bool = False,
    tensorboard: bool = False,
    page: bool = False,
) -> None:
    """Train, or go on with it, and write the run folder."""
    if tensorboard:
        require_tensorboard()
    settle_folder(request.images.cache, "--cache", out)
    with claimed(out), sources_read() as sources:
        if not force:
            check_unfinished(out, request.epochs)
        _train(request, out, sources, force=force, tensorboard=tensorboard, page=page)


def _train(
    request: Request,
    out: Path,
    sources: list[Source],
    *,
    force: bool,
    tensorboard: bool,
    page: bool,
) -> None:
    console = make_console()
    config, augmentation = request.config(), request.augmentation()
    names, groups = _attributes(request)
    architecture = replace(request.architecture(), n_members=len(names))
    # errors of the request are raised now: images may take long to read
    networks, inputs = networks_at_start(request, architecture, names)
    head, device = request.head(groups, len(names)), torch_device(request.training.device)
    table = _images(request, names)
    if table.skipped:
        skipped = f"{counted(len(table.skipped), 'image')} skipped, the first: {table.skipped[0]}"
        console.print(skipped, markup=False)
    networks = networks.to(device)
    train, held, test = _parts(request, table)
    check_unseen(request, table, test, "--holdout")
    check_unseen(request, table, held if held is not test else test[:0], "--validate")
    # errors of the labels are raised before the training, too
    check_classes(request.images.labels, table.labels[train], table.names)
    layer = head.layer(networks.n_features, len(table.names))
    layer.take_labels(attribute_signs(table.labels[train]))
    with naming_settings(out, request.plain):
        trainer = Trainer(
            networks,
            head,
            table,
            config,
            train=train,
            test=held,
            augmentation=augmentation,
            normalisation=inputs,
            folder=out,
            fresh=force,
        )
    # a checkpoint of another request raises in the trainer: what is recorded is what runs
    asked = {"command": "train", "request": request.plain}
    config_file = out / CONFIG_FILE
    finished = (out / DESCRIPTION_FILE).is_file()
    # a run that is replaced stays until there is an epoch, one that is prolonged until the end
    if not (finished or (force and config_file.is_file())):
        write_json(config_file, recorded(asked, RUNNING))
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
            if force and saved == 0:
                write_json(config_file, recorded(asked, RUNNING))
            if log is not None:
                log(epoch)
            if not console.is_terminal:  # there the bar shows it
                console.print(epoch_line(epoch, config.epochs), soft_wrap=True)

        stack.enter_context(keeping(lambda _: kept(saved, forced=force)))
        train_with_bar(trainer, after)
    scored = test if len(test) else train
    scores = trained_scores(trainer, scored)
    metrics = trained_metrics(trainer, scored, scores)
    means = group_means(metrics, named_groups(groups))
    on = scored_on(len(train), len(test), "image")
    read = [source._asdict() for source in sources]
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
            config={**asked, "inputs": read, "skipped": list(table.skipped)},
            groups=groups,
            test=test,
            scores=scores if len(test) else None,
        )
        _save_page(staging, out, parts, trainer, wanted=page)
    # as it changes with each epoch it is in no manifest, but for one that a user has sealed again
    write_text(out / HISTORY_FILE, trainer.figures())
    console.print(group_table(means, title=f"Scores on {on}"))
    joint = request.solved.single_task is None
    console.print(summary(trainer.history, trainer.chosen, joint=joint), soft_wrap=True)
    if not len(test):
        say_warning(too_good(on))
    _say_what_to_doubt(trainer, table.names, table.labels[test])
    console.print(f"\nrun folder -> {shown_path(out)}")
    parts.tell(out, "the same command without --force" if force else "the same command")


def _parts(
    request: Request, table: ImageTable
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Rows to learn from, to score after each epoch, and to score at the end."""
    given, Y, ids = request.split, table.labels, table.ids
    train, test = split_rows(Y, table.names, given.holdout, given.seed, ids)
    share = request.training.validate
    if not share:
        return train, test, test
    known = [ids[row] for row in train]
    fit, held = split_rows(Y[train], table.names, share, given.seed, known, option="--validate")
    return train[fit], train[held], test


def _say_what_to_doubt(
    trainer: Trainer, names: tuple[str, ...], scored: NDArray[np.float64]
) -> None:
    """Warn of attributes with few positive labels among those held out, and of undone epochs."""
    for warning in few_positives(names, np.sum(scored > 0, axis=0)) if len(scored) else ():
        say_warning(warning)
    rejected = undone(trainer.history, trainer.config.learning_rate)
    end = best(trainer.history) if trainer.config.keep_best else risen(trainer.history)
    for sentence in filter(None, (rejected, end)):
        make_console().print(sentence, soft_wrap=True)


def _save_page(staging: Path, out: Path, parts: Parts, trainer: Trainer, *, wanted: bool) -> None:
    """Write the page of a run that is to become ``out``, if it is wanted."""
    if wanted:
        parts.save(PAGE_FILE, lambda: write_page(staging, out, trainer.figures()))
        seal_folder(staging, files_below(staging))


def _attributes(request: Request) -> tuple[tuple[str, ...], Groups | None]:
    """Names of the attributes that can be fitted, and their groups."""
    given = request.images
    read = read_labels(given.labels, id_column=given.id_column)
    fitted = attributes_to_fit(given.labels, read.values, read.names, given.min_positives)
    names = tuple(read.names[m] for m in fitted)
    left_out = [read.names[m] for m in np.setdiff1d(range(len(read.names)), fitted)]
    latent = request.solved.single_task is None
    return names, read_groups(given.groups, names, left_out, latent=latent)


def _images(request: Request, names: tuple[str, ...]) -> ImageTable:
    """Read the images, with the labels of some attributes."""
    given = request.images
    with item_progress("Reading", "images") as progress:
        table = ImageTable.read(
            given.images,
            given.labels,
            round(request.network_side / CROP),
            skip_corrupt=given.skip_corrupt,
            id_column=given.id_column,
            cache=given.cache,
            workers=request.training.workers,
            progress=progress,
        )
    return table.with_attributes(names)


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
