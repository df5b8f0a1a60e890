"""``proxmtl demo``: three models on digits with attributes."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from proxmtl.cli import options
from proxmtl.cli.option_groups import grouped_options
from proxmtl.cli.option_rules import refuse_ignored

__all__ = ["DemoOptions", "demo"]


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """What both demos take."""

    out: Annotated[
        Path, typer.Option("--out", "-o", help="Run folder; that of an earlier demo is replaced.")
    ] = Path("proxmtl-demo")
    n_train: Annotated[
        int, typer.Option(help="Images to learn from; the others are for the test.", min=60)
    ] = 500
    observed: Annotated[
        float,
        typer.Option(
            help="Share of their labels that is kept; the others are missing.", min=0.05, max=1.0
        ),
    ] = 0.2
    max_passes: Annotated[
        int, typer.Option(help="Budget of each latent fit, in passes over the data.", min=1)
    ] = 100
    seed: options.Seed = 0
    force: options.Force = False

    def asked(self, **more: Any) -> dict[str, Any]:
        """What the run records of the request."""
        kept = ("n_train", "observed", "max_passes", "seed")
        return {"command": "demo", **{name: getattr(self, name) for name in kept}, **more}


@grouped_options
def demo(
    ctx: typer.Context,
    common: DemoOptions,
    *,
    n_splits: Annotated[
        int, typer.Option(help="Random splits, over which mean and deviation are taken.", min=1)
    ] = 3,
    cnn: Annotated[
        bool,
        typer.Option("--cnn", help="Train small networks, one an attribute, instead; minutes."),
    ] = False,
    epochs: Annotated[int, typer.Option(help="Of the networks of --cnn.", min=1)] = 6,
) -> None:
    """Compare single-task, latent and grouped latent models on digits with attributes.

    The data are scikit-learn's 1,797 images of handwritten digits. Each has the attributes of its
    digit (closed loop, curve, mirror-symmetric, prime, ...), in four groups. Three models learn the
    attributes from images of which only a share of the labels is known, as where annotators are
    asked about a few attributes each: every attribute alone; with shared latent tasks; with latent
    tasks that are chosen group by group. Their strengths are chosen on the training images alone.

    The run folder gets the grouped model of the first split, metrics, plots, and under data/ the
    inputs of that split as files, so that the other commands can be tried on them.

    With --cnn each attribute has a small network of its own, and all are trained jointly under
    W = L S; the table compares them with the frozen random networks they start from, and with
    networks trained on their attribute alone. Two digits, which the seed chooses, are in no
    training image: they are told apart by their attributes (zero-shot). There is one split.

    [bold]Examples[/]

      proxmtl demo --cnn --epochs 5

      proxmtl demo --n-train 200 --observed 1 --n-splits 5 --out runs/all-labels
    """
    refuse_ignored(ctx)
    if cnn:
        from proxmtl.cli.cnn_demo import run_cnn_demo

        run_cnn_demo(common, epochs)
    else:
        from proxmtl.cli.digits_demo import run_demo

        run_demo(common, n_splits)
