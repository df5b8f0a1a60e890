"""Sidecar files of a features file written by ``proxmtl extract``: seal and row identifiers."""

from __future__ import annotations

import contextlib
from pathlib import Path

from proxmtl.io.errors import InputError
from proxmtl.io.seal import Entry, entry_of, manifest_text, read_entries
from proxmtl.io.tables import read_ids
from proxmtl.wording import counted

__all__ = [
    "check_features",
    "check_ids_sidecar",
    "check_new",
    "features_seal",
    "ids_beside",
    "ids_sidecar",
    "seal_beside",
]

IDS_SUFFIX = ".ids.csv"


def seal_beside(path: Path) -> Path:
    """Path of the seal of a features file: ``features.seal.json`` for ``features.npy``."""
    return path.with_suffix(".seal.json")


def features_seal(path: Path, complete: Path, names: Path | None = None) -> str:
    """Text of the seal of a features file.

    Parameters
    ----------
    path
        Final path of the features file.
    complete
        Current path of the features.
    names
        Current path of the identifiers, if there are any; default: the sidecar of `path`.
    """
    files = {path.suffix: complete, IDS_SUFFIX: names or path.with_suffix(IDS_SUFFIX)}
    # by what follows the common name: the files may be renamed together
    return manifest_text({name: entry_of(file) for name, file in files.items() if file.exists()})


def check_new(path: Path, names: str | None) -> None:
    """Check that writing features and identifiers replaces no file of somebody else.

    Parameters
    ----------
    path
        The features file to write.
    names
        Text of the identifiers to write; None if there are none.

    Raises
    ------
    InputError
        If the features exist already, or if there are identifiers that their seal does not list and
        that differ from `names`, since these may belong to another file.
    """
    again = "give --force to replace it (in Python fresh=True), or another --out."
    if path.exists():
        raise InputError(path, f"the file exists; {again}")
    seal, ids = seal_beside(path), path.with_suffix(IDS_SUFFIX)
    if not ids.exists():
        return
    with contextlib.suppress(InputError):
        if seal.is_file() and read_entries(seal, "").get(IDS_SUFFIX) == entry_of(ids):
            return
    # between a kill and the seal the names are without one
    if names is None or ids.read_bytes() != names.encode():
        raise InputError(
            ids,
            f"the file exists, and no extraction to {path.name} wrote it, so it may name the rows "
            f"of another file; move it away, {again}",
        )


def ids_sidecar(path: Path) -> Path:
    """Path of the row identifiers of a features file: ``features.ids.csv`` for ``features.npy``.

    A CSV file with a column ``id``; ``proxmtl extract`` writes it with the names of the images.
    """
    return path.with_suffix(IDS_SUFFIX)


def ids_beside(path: Path, n_rows: int) -> tuple[str, ...] | None:
    """Read the row identifiers beside a features file; None if there are none.

    Raises
    ------
    InputError
        If they are not as many as the rows, or those of another file.
    """
    beside = ids_sidecar(path)
    if not beside.is_file():
        return None
    check_ids_sidecar(path)
    ids = read_ids(beside)
    if len(ids) != n_rows:
        raise InputError(
            beside,
            f"{counted(len(ids), 'identifier')} for {counted(n_rows, 'row')} of {path.name}, so "
            "it is of others; move it away, or make both again.",
        )
    return ids


def check_ids_sidecar(path: Path) -> None:
    """Check that the identifiers in the sidecar of a features file belong to its rows.

    Raises
    ------
    InputError
        If the seal lists them with another file, with the same name but another suffix.
    """
    seal, ids = seal_beside(path), path.with_suffix(IDS_SUFFIX)
    if not seal.is_file():
        return
    cure = f"make the features again (proxmtl extract), or remove {seal.name}."
    entries = read_entries(seal, cure)
    if path.suffix in entries or IDS_SUFFIX not in entries:
        return
    owner = ", ".join(path.with_suffix(end).name for end in entries if end != IDS_SUFFIX)
    raise InputError(
        ids,
        f"names the rows of {owner}, says {seal.name}, and not those of {path.name}; give "
        f"{path.name} another name before its suffix, and names of its own with it.",
    )


def check_features(path: Path, found: Entry) -> None:
    """Compare a features file and its identifiers with their seal, if there is one.

    Parameters
    ----------
    path
        The features file.
    found
        Size and hash of the file as read; an empty hash, of a file too large to be read for it
        alone, is not compared.

    Raises
    ------
    InputError
        If one of them has changed since it was written, or the seal is damaged.
    """
    seal = seal_beside(path)
    if not seal.is_file():
        return
    cure = (
        f"the rows may be of other images than {path.with_suffix(IDS_SUFFIX).name} says. Make the "
        f"features again (proxmtl extract); if the change is your own, remove {seal.name}."
    )
    entries = read_entries(seal, cure)
    if path.suffix not in entries:  # another file of the same name before its suffix
        return
    sealed = entries[path.suffix]
    if found.bytes != sealed.bytes or (found.sha256 and found.sha256 != sealed.sha256):
        raise InputError(path, f"is not the file that {seal.name} was written for; {cure}")
    ids = path.with_suffix(IDS_SUFFIX)
    listed = entries.get(IDS_SUFFIX)
    if listed is not None and not ids.is_file():
        raise InputError(
            path,
            f"{ids.name}, which {seal.name} lists, is missing beside it; copy that file too, or, "
            f"if these features are to be without names, remove {seal.name}.",
        )
    if listed != (entry_of(ids) if ids.is_file() else None):
        raise InputError(ids, f"is not the file that {seal.name} was written for; {cure}")
