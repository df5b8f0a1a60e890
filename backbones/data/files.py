"""Images on disk: a folder, a tar archive, or the files that a table names."""

from __future__ import annotations

import os
import unicodedata
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from proxmtl.backbones.archive import TarImages, plain_name
from proxmtl.io.errors import InputError
from proxmtl.io.rows import how_to_match
from proxmtl.io.suffixes import IMAGE_SUFFIXES
from proxmtl.io.tables import read_ids
from proxmtl.naming import name_key
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxmtl.backbones.images import SizedImages

__all__ = ["ImageFiles", "find_images"]

_COMPRESSED = (".bz2", ".gz", ".xz", ".zst")
"""Of one file: an archive only after ``.tar``."""
_PACKED = (
    *(f".tar{suffix}" for suffix in _COMPRESSED),
    *(".7z", ".rar", ".tbz2", ".tgz", ".txz", ".tzst", ".zip"),
)
_ARCHIVES = (".tar", *_PACKED)
SKIPPING = "leave them out (--skip-corrupt, in Python skip_corrupt=True)"


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
        plain ``.tar`` archive, not a compressed one; or a ``.csv`` file whose first column
        (``image``, ``file``, ...), or column ``id``, has file names relative to its own folder.
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
        If there is no image, a named one is missing (they are counted, and the first is named), a
        folder can't be looked into, a link leads nowhere, or an archive is damaged.
    """
    source = Path(source)
    if source.suffix.lower() == ".csv":
        named = read_ids(source, id_column=id_column)
        unlisted = sorted(set(names or ()).difference(named))
        if unlisted:
            raise InputError(
                source,
                f"{len(unlisted)} of the images asked for {agree(len(unlisted), 'is', 'are')} not "
                "in this table, the first is "
                f"{unlisted[0]!r}; add them, or give the folder of the images.",
            )
        listed = named if names is None else names
        return _of_folder(source.parent, listed, source, missing_ok=missing_ok)
    if source.suffix.lower() == ".tar":
        return _of_archive(source, names)
    if not source.is_dir():
        if source.is_file() and source.name.lower().endswith(_PACKED):
            raise InputError(
                source,
                "a compressed archive, in which images can't be found one by one; unpack it and "
                "give the folder, or decompress it to a .tar archive.",
            )
        if source.is_file() and _is_taken(source.name):
            raise InputError(
                source,
                "a single image; give the folder that it is in, or a .csv file with its name.",
            )
        raise InputError(
            source,
            "no such folder; give the folder of the images, a .tar archive of them, or a .csv "
            "file of their names.",
        )
    listed = _listed(source) if names is None else names
    return _of_folder(source, listed, source, missing_ok=missing_ok)


def named_paths(folder: Path, names: Sequence[str]) -> list[Path]:
    """Where files of these names are, relative to a folder; missing ones by the name given.

    A name and a file may differ in the form of Unicode: macOS writes names of files decomposed.
    """
    return [_existing(folder, name) for name in names]


def _existing(folder: Path, name: str) -> Path:
    given = folder / name
    if given.is_file() or name.isascii():
        return given
    forms = (folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return next((path for path in forms if path.is_file()), given)


def check_there(source: Path, folder: Path, paths: Sequence[Path], names: Sequence[str]) -> None:
    """Raise `InputError` of a source if files that it names are missing in a folder.

    If all are, the folder may be another.
    """
    missing = [name for name, path in zip(names, paths, strict=True) if not path.is_file()]
    if not missing:
        return
    files = counted(len(paths), "named file")
    hint = how_to_name(folder, missing)
    if len(missing) == len(paths):
        sentence = (
            f"none of the {files} is in it, the first is {missing[0]}; is it the right folder?"
        )
    else:
        sentence = (
            f"{len(missing)} of the {files} {agree(len(missing), 'is', 'are')} not there: "
            f"{listed(missing)}. Put them there, correct their names in the labels, or {SKIPPING}."
        )
    raise InputError(source, f"{sentence} {hint}".strip())


def listed(items: Sequence[object]) -> str:
    """Name some of many."""
    shown = ", ".join(map(str, items[:3]))
    return f"{shown} and {len(items) - 3} more" if len(items) > 3 else shown


def how_to_name(folder: Path, missing: Sequence[str]) -> str:
    """Say in which form names of missing files would be those of files in a folder."""
    named = set(missing)
    return how_to_match(missing, [name for name in _images_in(folder) if name not in named])


def _images_in(folder: Path) -> list[str]:
    return list(filter(_is_taken, _files_in(folder)))


def _files_in(folder: Path) -> list[str]:
    found: list[str] = []
    for root, files in _folders(folder):
        found += [(root / name).relative_to(folder).as_posix() for name in files]
    return sorted(found)


def _listed(folder: Path) -> list[str]:
    files = _files_in(folder)
    names = list(filter(_is_taken, files))
    odd = [name for name in names if not (folder / name).is_file()]
    if odd:
        raise InputError(
            folder,
            f"{len(odd)} of its images are links that lead nowhere, or no files; the first is "
            f"{odd[0]!r}. Put the images there, or remove these.",
        )
    _check_taken(folder, files, names)
    return names


def _check_taken(source: Path, files: Sequence[str], names: Sequence[str]) -> None:
    """Raise where there is no image, and say that archives inside are not looked into."""
    inside = [name for name in files if name.lower().endswith(_ARCHIVES) and not _hidden(name)]
    archives = ""
    if inside:
        found = f"{inside[0]!r} in it is an archive and is"
        if inside[1:]:
            found = f"{len(inside)} archives in it, such as {inside[0]!r}, are"
        them = agree(len(inside), "it", "them")
        archives = f"{found} not looked into; unpack {them} into a folder, and give that."
    if not names:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        what = (
            f"no images among its {counted(len(files), 'file')}; files are taken by their suffix "
            f"({suffixes}), others of a folder by a table of their names."
        )
        raise InputError(source, f"{what} {archives}".rstrip())
    if inside:
        warnings.warn(f"{source}: {archives}", stacklevel=2)


def _folders(top: Path) -> Iterator[tuple[Path, list[str]]]:
    """Each folder below that isn't hidden, once, with its files; real ones before links to them.

    Links may lead round in circles, or above all of it; and what is there twice has its own name.
    """

    def refuse(error: OSError) -> None:
        raise InputError(
            error.filename or top, f"can't be looked into ({error.strerror}); images may be in it."
        )

    seen: set[Path] = set()
    starts = [top]
    for start in starts:  # the links that are found come behind
        for root, folders, files in os.walk(start, onerror=refuse):
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
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES and not _hidden(name)


def _hidden(name: str) -> bool:
    return any(map(_is_hidden, PurePosixPath(name).parts))


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _of_folder(folder: Path, names: Sequence[str], source: Path, *, missing_ok: bool) -> ImageFiles:
    paths = named_paths(folder, names)
    if not missing_ok:
        check_there(source, folder, paths, names)
    return ImageFiles(tuple(names), paths)


def _of_archive(archive: Path, names: Sequence[str] | None) -> ImageFiles:
    images = TarImages(archive)
    if names is not None:
        members = {name_key(name): name for name in images.names}
        chosen = images.only([members.get(name_key(plain_name(name)), name) for name in names])
        return ImageFiles(tuple(names), chosen)
    inside = sorted(filter(_is_taken, images.names))
    _check_taken(archive, images.names, inside)
    return ImageFiles(tuple(inside), images.only(inside))
