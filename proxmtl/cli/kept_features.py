"""Features of images that lie in a file: what they were made of, and whether they are these."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.cli.console import say_note
from proxmtl.io import InputError
from proxmtl.io.beside import check_features, seal_beside
from proxmtl.io.seal import entry_of, read_sealed
from proxmtl.sources import Source
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_whole", "kept", "known_of", "made_before", "place_beside", "record_of"]

_RECORD = ".source.json"


def made_before(
    path: Path, identity: dict[str, Any], ids: Sequence[str], *, skip: bool
) -> tuple[Path, Source | None]:
    """Where these features lie already, and the hash of their images.

    They may lie at a path, or in its folder, as beside another run: then they are only to be read.

    Parameters
    ----------
    path
        Where they are to be kept; returned, with None, if there are none.
    identity
        The network, the images and the rest that features are made of.
    ids
        Names of the images.
    skip
        Whether some of them may be left out.
    """
    others = (
        record.with_name(record.name.removesuffix(_RECORD) + ".npy")
        for record in sorted(path.parent.glob(f"*{_RECORD}"))
        if record != record_of(path)
    )
    for each in (path, *others):
        with contextlib.suppress(InputError):  # what is damaged or somebody else's is not taken
            source = kept(each, identity, ids, skip=skip)
            if source is not None:
                return each, source
    return path, None


def record_of(path: Path) -> Path:
    """What the features of a file were made of, sealed."""
    return path.with_suffix(_RECORD)


def _matching(
    path: Path, identity: dict[str, Any], ids: Sequence[str], *, skip: bool
) -> Source | None:
    """Hash of the images whose features are there; None if they are others, or not complete."""
    known = known_of(path) or {}
    same = known.keys() >= {"source", "sha256"} and identity.items() <= known.items()
    if not (same and is_whole(path, ids, skip=skip, sha256=known["sha256"])):
        return None
    return Source(*known["source"])


def kept(path: Path, identity: dict[str, Any], ids: Sequence[str], *, skip: bool) -> Source | None:
    """Hash of the images whose features are there, which is said; None where there are none."""
    found = _matching(path, identity, ids, skip=skip)
    if found is not None:
        n_kept = len(np.load(path, mmap_mode="r"))
        say_note(f"features of {counted(n_kept, 'image')} are there already, in {path}")
    return found


def place_beside(out: Path) -> Path:
    """Where features lie by default: beside the run folder."""
    target = Path(os.path.realpath(out))
    place = out.parent if target == out.absolute() else target.parent
    return place / f"{target.name}.features.npy"


def known_of(path: Path) -> dict[str, Any] | None:
    """Record of features that are there; None if there are none.

    Raises
    ------
    InputError
        If the file is there without a record, and so is none that may be replaced.
    """
    record = record_of(path)
    if not record.is_file():
        if path.exists():
            raise InputError(
                path,
                "the file exists, and no fit on images wrote it; give another name as --features, "
                "or give it as FEATURES.",
            )
        return None
    try:
        return read_sealed(record, "it is written again.")
    except InputError:
        return None


def is_whole(path: Path, ids: Sequence[str], *, skip: bool, sha256: str | None) -> bool:
    """Whether features that are there are complete: of all images, unless some may be skipped.

    With a hash they must be those of the record that gives it, and no others that came since.
    """
    if not (path.is_file() and seal_beside(path).is_file()):
        return False
    entry = entry_of(path)
    check_features(path, entry)
    if sha256 not in (None, entry.sha256):
        return False
    return skip or len(np.load(path, mmap_mode="r")) == len(ids)
