"""The seal beside a features file that ``proxmtl extract`` wrote, with the names of its rows."""

from __future__ import annotations

from pathlib import Path

from proxmtl.io.errors import InputError
from proxmtl.io.seal import Entry, entry_of, manifest_text, read_entries

__all__ = ["check_features", "features_seal", "seal_beside"]

IDS_SUFFIX = ".ids.csv"


def seal_beside(path: Path) -> Path:
    """Where the seal of a features file lies: ``features.seal.json`` for ``features.npy``."""
    return path.with_suffix(".seal.json")


def features_seal(path: Path, complete: Path) -> str:
    """Text of the seal.

    Parameters
    ----------
    path
        The features file; the identifiers lie beside it, if there are any.
    complete
        Where the features lie now.
    """
    files = {path.suffix: complete, IDS_SUFFIX: path.with_suffix(IDS_SUFFIX)}
    # by what follows the common name: the files may be renamed together
    return manifest_text({name: entry_of(file) for name, file in files.items() if file.exists()})


def check_features(path: Path, found: Entry) -> None:
    """Compare a features file, and the identifiers beside it, with their seal, if there is one.

    Parameters
    ----------
    path
        The features file.
    found
        What was read of it.

    Raises
    ------
    InputError
        If one of them is not as it was written, or the seal is damaged.
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
    if found != entries[path.suffix]:
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
