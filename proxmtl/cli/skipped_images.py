"""Images that a command leaves out, where it was asked to."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.data import ImageFiles
from proxmtl.cli.console import say_warning
from proxmtl.io import InputError
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["present_images", "say_skipped"]

NAMED = 10
"""Images of which a warning gives the names."""


def present_images(source: Path, found: ImageFiles) -> tuple[ImageFiles, list[str]]:
    """Images that are there, and the names of those that are missing.

    Raises
    ------
    InputError
        If all are missing.
    """
    if isinstance(found.images, TarImages):
        return found, []
    pairs = list(zip(found.ids, found.images, strict=True))
    there = [(name, image) for name, image in pairs if cast("Path", image).is_file()]
    missing = [name for name, image in pairs if not cast("Path", image).is_file()]
    if not there:
        raise InputError(
            source,
            f"none of the {counted(len(missing), 'image')} named is there, the first is "
            f"{missing[0]!r}; is it the right folder?",
        )
    return ImageFiles(tuple(name for name, _ in there), [image for _, image in there]), missing


def say_skipped(missing: Sequence[str], bad: Sequence[str]) -> None:
    """Warn of images that were left out, by name."""
    parts = [
        f"{len(names)} {agree(len(names), *why)} ({_listed(names)})"
        for names, why in (
            (missing, ("is missing", "are missing")),
            (bad, ("can't be decoded",) * 2),
        )
        if names
    ]
    if parts:
        say_warning(f"{counted(len(missing) + len(bad), 'image')} skipped: {', '.join(parts)}.")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
