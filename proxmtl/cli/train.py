"""``proxmtl train``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from proxmtl.cli import options
from proxmtl.cli.option_groups import grouped_options
from proxmtl.cli.option_rules import refuse_ignored
from proxmtl.cli.option_values import LOSSES, NETWORKS, check_word

__all__ = ["HeadOptions", "LabelledImages", "NetworkOptions", "TrainingOptions", "train"]

_network_option = partial(typer.Option, rich_help_panel="Networks")
_image_option = partial(typer.Option, rich_help_panel="Images")
_training_option = partial(typer.Option, rich_help_panel="Training")


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images, the labels and groups of their attributes, and how they are read."""

    images: Annotated[Path, typer.Argument(help="Folder of images.", metavar="IMAGES")]
    labels: Annotated[
        Path,
        typer.Option(
            "--labels", "-l", help="CSV: file names, then attributes; 1 yes, 0 or -1 no, blank."
        ),
    ]
    groups: options.GroupsFile = None
    id_column: Annotated[str | None, _image_option(help="Column of file names.")] = None
    min_positives: options.MinPositives = 0
    skip_corrupt: Annotated[
        bool, _image_option("--skip-corrupt", help="Leave out images that can't be read.")
    ] = False
    cache: Annotated[
        Path | None,
        _image_option(help="Folder for decoded pixels, mapped instead of held in memory."),
    ] = None

    def check(self) -> None:
        """Raise if the files can't be used, before what is heavy is imported."""
        from proxmtl.cli.tables import check_tables

        check_tables(
            self.images,
            self.labels,
            groups=self.groups,
            min_positives=self.min_positives,
            id_column=self.id_column,
            skip_corrupt=self.skip_corrupt,
        )


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """The networks, and what they start from."""

    network: Annotated[
        str,
        _network_option(
            help="'small', 'alexnet', 'alexnet_lrn', 'efficientnet_lite0', 'torchvision:NAME' or "
            "'timm:NAME'."
        ),
    ] = "small"
    weights: Annotated[
        str | None,
        _network_option(
            help="Initial weights: a file, the run folder of a training, 'imagenet' or 'random'. "
            "Default: 'imagenet' for efficientnet_lite0, else 'random'."
        ),
    ] = None
    shared_stages: Annotated[
        int,
        _network_option(
            help="First stages that all networks share; 0: one network an attribute (the paper).",
            min=0,
        ),
    ] = 0
    frozen_stages: Annotated[
        int,
        _network_option(help="First stages that keep their weights, of those shared.", min=0),
    ] = 0
    side: Annotated[
        int,
        _network_option(help="Side of the images that networks see; AlexNet has 224.", min=8),
    ] = 64


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """The linear model on the networks' features."""

    single_task: options.SingleTask = None
    loss: Annotated[str, options.model_option(help="'squared_hinge', 'logistic', ...")] = (
        "squared_hinge"
    )
    n_latents: options.NumberOfLatents = None
    balanced: options.Balanced = False
    max_passes: Annotated[
        int, options.model_option(help="Budget of each solve, in passes.", min=1)
    ] = 200


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The training of the networks."""

    epochs: Annotated[
        int,
        _training_option(
            help="Number of training epochs; the head is solved again after each.", min=1
        ),
    ] = 50
    batch_size: Annotated[int, _training_option(help="Images per step of SGD.", min=1)] = 128
    learning_rate: Annotated[
        float, _training_option(help="Initial learning rate; it falls when the objective does not.")
    ] = 0.01
    clip_norm: Annotated[
        float,
        _training_option(help="Norm above which gradients are scaled down to it; inf: never."),
    ] = 10.0
    validate: Annotated[
        float,
        _training_option(
            help="Share of the images not held out that choose the best epoch; 0: the last one is "
            "kept.",
            min=0.0,
            max=0.9,
        ),
    ] = 0.0
    augment: Annotated[
        str,
        _training_option(help="'crops' (with flips), 'krizhevsky' (with colours), 'none'."),
    ] = "crops"
    flips: Annotated[bool, _training_option(help="Whether left and right may be swapped.")] = True
    device: Annotated[str, _training_option(help="'cpu', 'cuda', ...")] = "cpu"
    workers: Annotated[
        int,
        _training_option(help="Threads that prepare images ahead; the result is the same.", min=0),
    ] = 0
    autocast: Annotated[bool, _training_option("--autocast", help="Networks in bfloat16.")] = False
    channels_last: Annotated[
        bool,
        _training_option(
            "--channels-last", help="Use the memory format channels last, which is often faster."
        ),
    ] = False


@grouped_options
def train(
    ctx: typer.Context,
    images: LabelledImages,
    *,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Run folder; an interrupted run in it is continued."),
    ],
    network: NetworkOptions,
    strengths: options.StrengthOptions,
    head: HeadOptions,
    frozen: Annotated[
        bool,
        _training_option("--frozen", help="Features once, one solve: no training of the networks."),
    ] = False,
    training: TrainingOptions,
    split: options.SplitOptions,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write event files (needs 'proxmtl\\[logs]')."),
    ] = False,
    report: options.Report = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start over, replacing the run in the folder.")
    ] = False,
) -> None:
    """Train networks for attributes jointly: one network an attribute, W = L S on top.

    Each epoch computes the features of all networks on the training images, solves for L and S on
    them, and moves the networks by SGD under the solved W. With --frozen the networks stay as they
    are. Without groups this is the paper's M-CNN, with them its MG-CNN, and with --single-task its
    S-CNN.

    The labels' first column (image, file, id, ...) holds file names relative to the folder. Every
    epoch ends with a checkpoint: the same command goes on where an interrupted run was, to the same
    result, and with more --epochs it prolongs a finished one. The figures of all epochs are in
    history.csv.

    [bold]Examples[/]

      proxmtl train photos -l labels.csv -g groups.toml -o runs/cnn --epochs 20

      proxmtl train photos -l labels.csv -o runs/alone --single-task 0.1 --loss logistic

      proxmtl train photos -l labels.csv -g groups.toml -o runs/alexnet --network alexnet
      --weights alexnet.pth --device cuda --autocast --augment krizhevsky

      proxmtl train photos -l labels.csv -g groups.toml -o runs/joint --weights runs/alone
      --validate 0.25

      proxmtl train photos -l labels.csv -g groups.toml -o runs/lite0 --network efficientnet_lite0
      --side 128 --shared-stages 9 --frozen-stages 4 --channels-last --learning-rate 0.001
    """
    refuse_ignored(ctx)
    if ":" not in network.network:  # of a library, which may not be installed
        check_word("network", network.network, (*NETWORKS, "torchvision:NAME", "timm:NAME"))
    check_word("loss", head.loss, LOSSES)
    check_word("augment", training.augment, ("crops", "krizhevsky", "none"))
    strengths.parameters()
    images.check()

    from proxmtl.cli.run_page import wants_page

    page = wants_page(report, default=False)
    from proxmtl.cli.training import Request, run_training

    run_training(
        Request(images, split, network, strengths, head, training, frozen=frozen),
        out,
        force=force,
        tensorboard=tensorboard,
        page=page,
    )
