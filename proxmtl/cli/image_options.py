"""Options of images whose features a command makes itself."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["IMAGE_OPTIONS", "ImageOptions", "given_options", "holds_images"]

_image_option = partial(typer.Option, rich_help_panel="Images")


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """How features of images are made."""

    network: Annotated[
        str | None,
        _image_option(
            "--network",
            "-n",
            help="The network that gives the features, as for extract. Default: "
            "'efficientnet_lite0' with ImageNet weights where proxmtl\\[pretrained] is installed, "
            "else 'untrained', a small network with random weights.",
        ),
    ] = None
    weights: Annotated[
        str | None,
        _image_option(help="Of a network by name: a file, 'imagenet' (default) or 'random'."),
    ] = None
    squares: Annotated[
        str | None,
        _image_option(
            "--fit", help="How images become squares: 'crop' (default), 'stretch' or 'pad'."
        ),
    ] = None
    features_file: Annotated[
        Path | None,
        _image_option(
            "--features",
            help="Where the features are kept, .npy, for further runs on the same images. Default: "
            "RUN.features.npy beside the run folder.",
        ),
    ] = None
    device: Annotated[str | None, _image_option(help="'cpu' (default), 'cuda', ...")] = None
    batch_size: Annotated[
        int | None, _image_option(help="Images per forward pass; default 8.", min=1)
    ] = None
    workers: Annotated[
        int | None, _image_option(help="Threads that decode images ahead; default 0.", min=0)
    ] = None
    skip_corrupt: Annotated[
        bool,
        _image_option("--skip-corrupt", help="Leave out images that can't be read."),
    ] = False


IMAGE_OPTIONS = tuple(field.name for field in fields(ImageOptions))


def holds_images(source: Path) -> bool:
    """Whether a path is one of images, and not of features, by what it is called and holds.

    So is a single image, for which `find_images` has the error.
    """
    from proxmtl.io.suffixes import IMAGE_SUFFIXES, holds_shards

    if source.suffix.lower() in {".tar", ".csv", *IMAGE_SUFFIXES}:
        return True
    return source.is_dir() and source.suffix != ".partial" and not holds_shards(source)


def given_options(ctx: Any) -> set[str]:
    """Names of the parameters of a command that were given, on its line or in a file of options.

    ``ctx`` is the context of a call.
    """
    known = {"COMMANDLINE", "DEFAULT_MAP"}
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source is not None and source.name in known}
