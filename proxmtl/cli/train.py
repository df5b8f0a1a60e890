"""``proxmtl train``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

from proxmtl.cli import options

__all__ = ["train"]

_NETWORK = "Networks"
_MODEL = "Head"
_DATA = "Images"
_TRAINING = "Training"


def train(
    ctx: typer.Context,
    images: Annotated[Path, typer.Argument(help="Folder of images.", metavar="IMAGES")],
    labels: Annotated[
        Path,
        typer.Option(
            "--labels", "-l", help="CSV: file names, then attributes; 1 yes, 0 or -1 no, blank."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Run folder; an interrupted run in it is continued."),
    ],
    *,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", "-g", help="TOML, JSON or CSV; without it there are no groups."),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="'small', 'alexnet', 'alexnet_lrn', 'efficientnet_lite0', 'torchvision:NAME' or "
            "'timm:NAME'.",
            rich_help_panel=_NETWORK,
        ),
    ] = "small",
    weights: Annotated[
        str | None,
        typer.Option(
            help="To start from: a file, 'imagenet' or 'random'. Default: 'imagenet' for "
            "efficientnet_lite0, else 'random'.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    shared_stages: Annotated[
        int,
        typer.Option(
            help="First stages that all networks share; 0: one network an attribute (the paper).",
            min=0,
            rich_help_panel=_NETWORK,
        ),
    ] = 0,
    frozen_stages: Annotated[
        int,
        typer.Option(
            help="First stages that keep their weights, of those shared.",
            min=0,
            rich_help_panel=_NETWORK,
        ),
    ] = 0,
    side: Annotated[
        int,
        typer.Option(
            help="Side of the images that networks see; AlexNet has 224.",
            min=8,
            rich_help_panel=_NETWORK,
        ),
    ] = 64,
    single_task: Annotated[
        float | None,
        typer.Option(
            help="Instead of latent tasks, each attribute alone with this ridge (S-CNN).",
            metavar="L2_STRENGTH",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="'squared_hinge', 'logistic', ...", rich_help_panel=_MODEL)
    ] = "squared_hinge",
    shared_strength: options.SharedStrength = "auto",
    own_strength: options.OwnStrength = "auto",
    group_strength: options.GroupStrength = None,
    l1_strength: options.L1Strength = None,
    frobenius_strength: options.FrobeniusStrength = None,
    n_latents: options.NumberOfLatents = None,
    balanced: Annotated[
        bool,
        typer.Option("--balanced", help="Weigh both classes equally.", rich_help_panel=_MODEL),
    ] = False,
    max_passes: Annotated[
        int,
        typer.Option(help="Budget of each solve, in passes.", min=1, rich_help_panel=_MODEL),
    ] = 200,
    frozen: Annotated[
        bool,
        typer.Option(
            "--frozen",
            help="Features once, one solve: no training of the networks.",
            rich_help_panel=_TRAINING,
        ),
    ] = False,
    epochs: Annotated[
        int, typer.Option(help="Of SGD, a solve after each.", min=1, rich_help_panel=_TRAINING)
    ] = 50,
    batch_size: Annotated[
        int, typer.Option(help="Images a step.", min=1, rich_help_panel=_TRAINING)
    ] = 128,
    learning_rate: Annotated[
        float,
        typer.Option(
            help="At the start; falls when the objective does not.", rich_help_panel=_TRAINING
        ),
    ] = 0.01,
    augment: Annotated[
        str,
        typer.Option(
            help="'crops' (with flips), 'krizhevsky' (with colours), 'none'.",
            rich_help_panel=_TRAINING,
        ),
    ] = "crops",
    flips: Annotated[
        bool, typer.Option(help="Whether left and right may be swapped.", rich_help_panel=_TRAINING)
    ] = True,
    device: Annotated[
        str, typer.Option(help="'cpu', 'cuda', ...", rich_help_panel=_TRAINING)
    ] = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            help="Threads that prepare images ahead; the result is the same.",
            min=0,
            rich_help_panel=_TRAINING,
        ),
    ] = 0,
    autocast: Annotated[
        bool, typer.Option("--autocast", help="Networks in bfloat16.", rich_help_panel=_TRAINING)
    ] = False,
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="Layout of images.", rich_help_panel=_TRAINING),
    ] = False,
    skip_corrupt: Annotated[
        bool,
        typer.Option(
            "--skip-corrupt", help="Leave out images that can't be read.", rich_help_panel=_DATA
        ),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder for decoded pixels, mapped instead of held in memory.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of file names.", rich_help_panel=_DATA)
    ] = None,
    min_positives: options.MinPositives = 0,
    holdout: Annotated[
        float,
        typer.Option(help="Share of the images kept and scored after each epoch.", min=0, max=0.9),
    ] = 0.2,
    seed: Annotated[int, typer.Option(help="Of everything random.", min=0, max=options.SEEDS)] = 0,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Also write event files (needs 'proxmtl\\[logs]')."),
    ] = False,
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
    scalars.csv.

    [bold]Examples[/]

      proxmtl train photos -l labels.csv -g groups.toml -o runs/cnn --epochs 20

      proxmtl train photos -l labels.csv -o runs/alone --single-task 0.1 --loss logistic

      proxmtl train photos -l labels.csv -g groups.toml -o runs/alexnet --network alexnet
      --weights alexnet.pth --device cuda --autocast --augment krizhevsky

      proxmtl train photos -l labels.csv -g groups.toml -o runs/lite0 --network efficientnet_lite0
      --side 128 --shared-stages 9 --frozen-stages 4 --channels-last --learning-rate 0.001
    """
    options.refuse_ignored(ctx)
    for path, right, what in (
        (images, images.is_dir(), "no such folder; give the folder of the images"),
        (labels, labels.is_file(), "no such file; check the path to the labels"),
        (groups, groups is None or groups.is_file(), "no such file; check the path to the groups"),
    ):
        if not right:
            raise ValueError(f"{path}: {what}.")

    from proxmtl.cli.training import Request, run_training

    run_training(
        Request(
            images=images,
            labels=labels,
            groups=groups,
            id_column=id_column,
            min_positives=min_positives,
            skip_corrupt=skip_corrupt,
            cache=cache,
            holdout=holdout,
            network=network,
            weights=weights,
            shared_stages=shared_stages,
            frozen_stages=frozen_stages,
            side=side,
            single_task=single_task,
            loss=loss,
            shared_strength=shared_strength,
            own_strength=own_strength,
            group_strength=group_strength,
            l1_strength=l1_strength,
            frobenius_strength=frobenius_strength,
            n_latents=n_latents,
            balanced=balanced,
            max_passes=max_passes,
            epochs=0 if frozen else epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            augment=augment,
            flips=flips,
            device=device,
            workers=workers,
            autocast=autocast,
            channels_last=channels_last,
            seed=seed,
        ),
        out,
        force=force,
        tensorboard=tensorboard,
    )
