"""Features of images that lie in a file: what they were made of, and whether they are these."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from proxmtl.backbones.embedding import KnownRows
from proxmtl.cli.console import say_note
from proxmtl.cli.progress import item_progress
from proxmtl.io import InputError, ids_sidecar
from proxmtl.io.beside import check_features, seal_beside
from proxmtl.io.identity import fingerprint
from proxmtl.io.seal import entry_of, read_sealed, write_sealed
from proxmtl.io.tables import read_ids
from proxmtl.sources import Source, sources_read
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxmtl.backbones.data import ImageFiles

__all__ = [
    "IMAGES",
    "ORDER",
    "beside",
    "check_replaced",
    "image_differences",
    "is_done",
    "kept",
    "known_rows",
    "made_before",
    "place_beside",
    "record_of",
    "replacing",
    "signatures",
]

IMAGES, ORDER, BEFORE = "images", "order", "before"
"""Entries of a record: signatures of the images by name; their order; the record until then."""

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
    for each in beside(path):
        with contextlib.suppress(InputError):  # what is damaged or somebody else's is not taken
            source = kept(each, identity, ids, skip=skip)
            if source is not None:
                return each, source
    return path, None


def beside(path: Path) -> list[Path]:
    """A file of features, and those of other runs beside it."""
    others = (
        record.with_name(record.name.removesuffix(_RECORD) + ".npy")
        for record in sorted(path.parent.glob(f"*{_RECORD}"))
        if record != record_of(path)
    )
    return [path, *others]


def signatures(found: ImageFiles) -> dict[str, str]:
    """What tells whether an image of a name is the same: size and time of a file, or content."""
    each, total = {}, len(found.ids)
    with item_progress("Looking at", "images") as progress:
        for place, (name, image) in enumerate(zip(found.ids, found.images, strict=True), 1):
            if isinstance(image, Path):
                stat = image.stat() if image.is_file() else None
                of = str(stat and (stat.st_size, stat.st_mtime_ns)).encode()
            else:
                of = cast("bytes", image)  # of an archive
            each[name] = hashlib.sha256(of).hexdigest()[:16]
            progress(place, total)
    return each


def known_rows(
    paths: Iterable[Path], made: Mapping[str, Any], images: Mapping[str, str]
) -> KnownRows | None:
    """Rows of the file that has most of some images; None where no file has any.

    Parameters
    ----------
    paths
        Files of features; what is damaged, somebody else's or gone is passed over.
    made
        What features are made of, besides the images.
    images
        Signatures by name, in the order of the images.
    """
    best, most, place_of = None, 0, {name: number for number, name in enumerate(images)}
    for path in paths:
        # the file that is made of these rows is an input of the command, and they are not
        with contextlib.suppress(InputError, OSError, ValueError), sources_read():
            found = _rows_of(path, made, images, place_of)
            count = 0 if found is None else int(np.count_nonzero(found.place >= 0))
            if count > most:
                best, most, source = found, count, path
    if best is not None:
        of = "" if most == len(images) else f" of {len(images):,}"
        say_note(f"features of {most:,}{of} images are taken from {source}")
    return best


def _rows_of(
    path: Path, made: Mapping[str, Any], images: Mapping[str, str], place_of: Mapping[str, int]
) -> KnownRows | None:
    known = _complete(path)
    if not made.items() <= known.items():
        return None
    features = np.load(path, mmap_mode="r")
    if not _is_whole(path, (), skip=True, sha256=known["sha256"]):
        return None
    place = np.full(len(images), -1)
    for row, name in enumerate(read_ids(ids_sidecar(path))):
        if name in images and images[name] == known[IMAGES].get(name):
            place[place_of[name]] = row
    return KnownRows(features, place)


def record_of(path: Path) -> Path:
    """What the features of a file were made of, sealed."""
    return path.with_suffix(_RECORD)


def _matching(
    path: Path, identity: dict[str, Any], ids: Sequence[str], *, skip: bool
) -> Source | None:
    """Hash of the images whose features are there; None if they are others, or not complete."""
    known = _known_of(path) or {}
    same = known.keys() >= {"source", "sha256"} and identity.items() <= known.items()
    if not (same and _is_whole(path, ids, skip=skip, sha256=known["sha256"])):
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


def _known_of(path: Path) -> dict[str, Any] | None:
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


def _is_whole(path: Path, ids: Sequence[str], *, skip: bool, sha256: str | None) -> bool:
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


def is_done(path: Path, identity: dict[str, Any], ids: Sequence[str], *, skip: bool) -> bool:
    """Whether features are there, and a process that was killed had yet to complete the record."""
    known = _known_of(path) or {}
    before = (known.get(BEFORE) or {}).get("sha256")
    return (
        identity.items() <= known.items()
        and _is_whole(path, ids, skip=skip, sha256=known.get("sha256"))
        and entry_of(path).sha256 != before
    )


def check_replaced(path: Path, made: Mapping[str, Any], images: Mapping[str, str]) -> None:
    """Check that a file that the user gave holds no features of other images or networks.

    Parameters
    ----------
    path
        The file.
    made
        What features are to be made of, besides the images.
    images
        Signatures by name.

    Raises
    ------
    InputError
        If it does; the error says how they differ.
    """
    known = _known_of(path) or {}
    if not (path.exists() and known.get("sha256")):
        return
    anew = "give another file as --features, or --force, which computes all of them anew."
    differ = {key for key, value in made.items() if known.get(key) != value}
    if "format" in differ:
        raise InputError(path, f"holds features of another version of proxmtl; {anew}")
    if differ:
        raise InputError(
            path, f"holds features that another network made, or in another way (--fit); {anew}"
        )
    if not _is_whole(path, (), skip=True, sha256=known["sha256"]):
        raise InputError(
            path, f"is not as it was written, or has lost {seal_beside(path).name}; {anew}"
        )
    lacking = len(images) - len(np.load(path, mmap_mode="r"))
    what = "; ".join(image_differences(known[IMAGES], images))
    if what:
        what = f"of other images: {what}"
    elif known[ORDER] != fingerprint(list(images)):
        what = "of these images in another order"
    else:
        what = f"without those of {counted(lacking, 'image')} that --skip-corrupt left out"
    raise InputError(
        path,
        f"holds features {what}. With --force it is brought up to date (features of images that "
        "are the same are kept), or give another file as --features.",
    )


def image_differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say which images are new, which may have changed and which are gone, by signatures."""
    parts = (
        (("is new", "are new"), [name for name in now if name not in before]),
        (
            ("has another size or time", "have another size or time"),
            [name for name in now if before.get(name, now[name]) != now[name]],
        ),
        (
            ("is no longer among them", "are no longer among them"),
            [name for name in before if name not in now],
        ),
    )
    found = []
    for words, names in parts:
        if names:
            first = f"{names[0]!r}" if len(names) == 1 else f"the first is {names[0]!r}"
            found.append(f"{counted(len(names), 'image')} {agree(len(names), *words)} ({first})")
    return found


@contextlib.contextmanager
def replacing(path: Path, identity: dict[str, Any]) -> Iterator[None]:
    """Record that features are being made, in place of those that are there until they are."""
    record, before = record_of(path), _complete(path)
    # first: features without a record would be somebody else's to the next command
    write_sealed(record, {**identity, BEFORE: before})
    try:
        yield
    finally:
        if not (path.exists() or Path(f"{path}.partial").exists()):
            record.unlink(missing_ok=True)


def _complete(path: Path) -> dict[str, Any]:
    """Record of the features that are there, even if they are about to be replaced."""
    known = _known_of(path) or {}
    complete: dict[str, Any] = known if known.get("sha256") else known.get(BEFORE) or {}
    return complete
