"""Images on disk: a folder, a tar archive, or the files that a table names."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from proxmtl.backbones.images import TarImages
from proxmtl.io.errors import InputError
from proxmtl.io.tables import read_ids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxmtl.backbones.images import SizedImages

__all__ = ["IMAGE_SUFFIXES", "ImageFiles", "find_images"]

JPEG = (".jfif", ".jpe", ".jpeg", ".jpg")
NETPBM = (".pbm", ".pgm", ".pnm", ".ppm")
IMAGE_SUFFIXES = frozenset([*JPEG, *NETPBM, ".bmp", ".gif", ".png", ".tif", ".tiff", ".webp"])


class ImageFiles(NamedTuple):
    """Images that are opened one at a time."""

    ids: tuple[str, ...]
    """Their names: paths relative to the folder, or inside the archive."""
    images: SizedImages
    """Paths, or an archive's encoded images, in the same order."""


def find_images(
    source: str | Path,
    names: Sequence[str] | None = None,
    *,
    id_column: str | None = None,
    missing_ok: bool = False,
) -> ImageFiles:
    """List the images of a folder or an archive, or those that a table names.

    Parameters
    ----------
    source
        A folder, searched with all its subfolders, links to folders among them, each folder once; a
        plain ``.tar`` archive; or a ``.csv`` file whose first column (``image``, ``file``, ...), or
        column ``id``, has file names relative to its own folder.
    names
        Which images to take, in which order; default: all with a suffix of `IMAGE_SUFFIXES`,
        sorted by name; hidden files and folders apart.
    id_column
        Of a ``.csv`` source: header of the column of file names, where it isn't the first.
    missing_ok
        Whether named files may be missing in a folder: for callers that skip bad images.

    Raises
    ------
    InputError
        If there is no image, or a named one is missing: they are counted, and the first is named.
    """
    source = Path(source)
    if source.suffix.lower() == ".csv":
        named = read_ids(source, id_column=id_column)
        unlisted = sorted(set(names or ()).difference(named))
        if unlisted:
            raise InputError(
                source,
                f"{len(unlisted)} of the images asked for aren't in this table, the first is "
                f"{unlisted[0]!r}; add them, or give the folder of the images.",
            )
        listed = named if names is None else names
        return _of_folder(source.parent, listed, source, missing_ok=missing_ok)
    if source.suffix.lower() == ".tar":
        return _of_archive(source, names)
    if not source.is_dir():
        raise InputError(
            source,
            "no such folder; give the folder of the images, a .tar archive of them, or a .csv "
            "file of their names.",
        )
    listed = _listed(source) if names is None else names
    return _of_folder(source, listed, source, missing_ok=missing_ok)


def _listed(folder: Path) -> list[str]:
    found: list[str] = []
    for root, files in _folders(folder):
        paths = [root / name for name in files]
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    names = sorted(filter(_is_taken, found))
    if not names:
        raise InputError(
            folder,
            f"no images in it or in its subfolders; files are taken by their suffix "
            f"({', '.join(sorted(IMAGE_SUFFIXES))}), others by a table of their names.",
        )
    return names


def _folders(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below that isn't hidden, once, with its files; real ones before links to them.

    Links may lead round in circles, or above all of it; and what is there twice has its own name.
    """
    seen: set[Path] = set()
    starts = [top]
    for start in starts:  # the links that are found come behind
        for root, folders, files in os.walk(start):
            here = Path(root)
            real = here.resolve()
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            links = (here / name for name in folders if (here / name).is_symlink())
            starts += [link for link in links if link.resolve() not in real.parents]
            yield here, files


def _is_taken(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not any(map(_is_hidden, path.parts))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _of_folder(folder: Path, names: Sequence[str], source: Path, *, missing_ok: bool) -> ImageFiles:
    paths = [folder / name for name in names]
    lost = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if lost and not missing_ok:
        raise InputError(
            source,
            f"{len(lost)} of the {len(names)} images named aren't in {folder}, the first is "
            f"{lost[0]!r}; put them there, or take them out of the table.",
        )
    return ImageFiles(tuple(names), paths)


def _of_archive(archive: Path, names: Sequence[str] | None) -> ImageFiles:
    images = TarImages(archive, names)
    if names is None:
        inside = sorted(filter(_is_taken, images.names))
        if not inside:
            raise InputError(archive, "no images in it.")
        images = TarImages(archive, inside)
    return ImageFiles(tuple(images.names), images)
