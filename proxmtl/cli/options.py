"""Options that several commands have."""

from typing import Annotated

import typer

__all__ = ["BatchSize", "Device", "Key", "SkipCorrupt"]

_IMAGES = "Runs of train"

Key = Annotated[str | None, typer.Option(help="Which array of an npz or safetensors file.")]
Device = Annotated[
    str | None,
    typer.Option(help="'cpu' (default), 'cuda', ...", rich_help_panel=_IMAGES),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Images a forward pass; default 64.", min=1, rich_help_panel=_IMAGES),
]
SkipCorrupt = Annotated[
    bool,
    typer.Option(
        "--skip-corrupt", help="Leave out images that can't be read.", rich_help_panel=_IMAGES
    ),
]
