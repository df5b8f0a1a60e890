"""``proxmtl demo``: three models on digits with attributes."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Run folder; that of an earlier demo is replaced.")
    ] = Path("proxmtl-demo"),
    *,
    n_train: Annotated[
        int, typer.Option(help="Images to learn from; the others are for the test.", min=60)
    ] = 200,
    n_splits: Annotated[
        int, typer.Option(help="Random splits, over which mean and deviation are taken.", min=1)
    ] = 3,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that is in the folder.")
    ] = False,
) -> None:
    """Compare single-task, latent and grouped latent models on digits with attributes.

    The data are scikit-learn's 1,797 images of handwritten digits. Each has the attributes of its
    digit (closed loop, curve, mirror-symmetric, prime, ...), in four groups. Three models learn the
    attributes from a few images: each attribute alone; with shared latent tasks; with latent tasks
    that are chosen group by group. Their strengths are chosen by cross-validation on the training
    images alone.

    The run folder gets the grouped model of the first split, metrics, plots, and under data/ the
    inputs as files, so that the other commands can be tried on them.

    [bold]Example[/]

      proxmtl demo --n-train 400 --n-splits 5 --out runs/demo
    """
    from proxmtl.cli.digits_demo import run_demo

    run_demo(out, n_train=n_train, n_splits=n_splits, seed=seed, force=force)
