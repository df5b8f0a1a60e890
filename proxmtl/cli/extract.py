"""``proxmtl extract``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from proxmtl.backbones.images import Fit

__all__ = ["extract"]


def extract(
    images: Annotated[
        Path,
        typer.Argument(
            help="Folder of images, .tar archive of them, or .csv file of their names.",
            metavar="IMAGES",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Features to write, .npy.")],
    *,
    network: Annotated[
        str,
        typer.Option(
            "--network",
            "-n",
            help="A name as for train ('efficientnet_lite0', 'torchvision:NAME', ...), an .npz "
            "file of a quantized network, or a run folder of train.",
        ),
    ] = "efficientnet_lite0",
    weights: Annotated[
        str | None,
        typer.Option(
            help="Of a network by name: a file, 'imagenet' (default) or 'random'.",
        ),
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(
            help="CSV whose first column names the images to take, such as the labels; default: "
            "all images of the folder."
        ),
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of file names in the CSV, if it isn't the first.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            help="How images become squares: 'crop' (default), 'stretch' or 'pad'; networks of a "
            "run take them as in training."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="'cpu', 'cuda', ...")] = "cpu",
    batch_size: Annotated[int, typer.Option(help="Images per forward pass.", min=1)] = 8,
    workers: Annotated[
        int, typer.Option(help="Threads that decode images ahead; the result is the same.", min=0)
    ] = 0,
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace the features and the names; drop a part that is of other features.",
        ),
    ] = False,
) -> None:
    """Write the features that a frozen network gives of images.

    One row per image, float32: a matrix (N, D), or (M, N, D) for the M networks of a training run.
    The names of the images lie beside it (features.ids.csv), so that fit, tune, predict and
    evaluate match rows by them; these take matrices (N, D). The file may be larger than memory.
    Until it is complete its rows lie in features.npy.partial: the same command goes on after an
    interruption.

    [bold]Examples[/]

      proxmtl extract photos --out features.npy

      proxmtl extract photos -o features.npy --names labels.csv --network timm:resnet50

      proxmtl extract photos -o features.npy --network alexnet --weights alexnet.pth

      proxmtl extract photos -o features.npy --network runs/cnn --device cuda --batch-size 256
    """
    from rich.markup import escape

    from proxmtl.backbones import load_network
    from proxmtl.backbones.data import find_images
    from proxmtl.backbones.feature_file import clear_up
    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.image_features import extract_images
    from proxmtl.cli.image_options import ImageOptions
    from proxmtl.cli.inputs import torch_device
    from proxmtl.io import ids_sidecar, read_ids
    from proxmtl.io.outputs import settle_file
    from proxmtl.wording import counted

    clear_up(out)
    for path, replaced in ((out, force), (ids_sidecar(out), True)):
        settle_file(path, force=replaced, inputs=(images, names, Path(network)))
    if id_column is not None and names is None and images.suffix.lower() != ".csv":
        raise ValueError(
            "id_column: no CSV file names these images; leave it out, or give --names."
        )
    chosen = None if names is None else read_ids(names, id_column=id_column)
    listing_column = id_column if names is None else None
    found = find_images(images, chosen, id_column=listing_column, missing_ok=skip_corrupt)
    source = load_network(network, torch_device(device), weights)
    how = ImageOptions(batch_size=batch_size, workers=workers, skip_corrupt=skip_corrupt)
    # other ways of fitting raise, by name
    extracted = extract_images(found, source, out, how, cast("Fit | None", fit), fresh=force)
    console = make_console()
    if extracted.skipped:
        skipped = counted(len(extracted.skipped), "image")
        console.print(f"{skipped} skipped, the first: {extracted.skipped[0]}", markup=False)
    shape = " x ".join(map(str, extracted.features.shape))
    console.print(f"{escape(source.name)}: {shape} features -> {shown_path(out)}")
    console.print(f"names of the rows -> {shown_path(ids_sidecar(out))}")
