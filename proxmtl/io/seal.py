"""Seals: checksums that reveal files which have changed since proxmtl wrote them.

A folder is sealed by ``manifest.json``, written last: size and SHA-256 of its files. A document of
JSON, the manifest itself among them, carries the SHA-256 of its other entries; a file that is
replaced while a computation goes on, such as a checkpoint, carries that of its bytes at its end.

A seal finds damage and mixed-up files. It is no signature: who can write the files can seal them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from proxmtl.documents import DocumentError, parse_json
from proxmtl.io.atomic import files_below, write_text
from proxmtl.io.errors import InputError
from proxmtl.io.names import NEXT_FOLDER, is_by_product, is_run_file
from proxmtl.limits import limit

__all__ = [
    "MANIFEST_FILE",
    "Entry",
    "Manifest",
    "append_seal",
    "check_in_place",
    "check_seal",
    "entry_of",
    "manifest_text",
    "read_document",
    "read_entries",
    "read_manifest",
    "read_sealed",
    "seal_folder",
    "sealed_text",
    "write_sealed",
]

MANIFEST_FILE = "manifest.json"
FORMAT, FORMAT_VERSION = "proxmtl manifest", 1
CHUNK = 1 << 20
SEAL = "seal"
"""Entry of a sealed document."""
TRAILER = "\nproxmtl seal 1 {bytes:020d} {sha256}\n"
"""Last line of a sealed file: of the bytes before it. Readers of zip archives pass over it."""
CURE = (
    "copy the folder again from where it was made, or run again the command that wrote it. If the "
    "change is your own, seal the folder again: proxmtl.io.seal_folder(folder)."
)


class Entry(NamedTuple):
    """Size and hash of a file."""

    bytes: int
    """Size of the file."""
    sha256: str
    """SHA-256 of its contents, in hexadecimal."""


def entry_of(path: Path) -> Entry:
    """Size and SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return Entry(stream.tell(), digest.hexdigest())


class Manifest(NamedTuple):
    """The files of a folder, as they were when it was sealed."""

    folder: Path
    entries: Mapping[str, Entry]
    """By path relative to the folder, with slashes."""

    def read(self, name: str) -> bytes:
        """Contents of a file, read once.

        Raises
        ------
        InputError
            If the file is not listed or not there, or not as it was when it was sealed.
        """
        try:
            content = (self.folder / name).read_bytes()
        except OSError as error:
            raise self._error(name, f"cannot be read ({error.strerror})") from error
        self._compare(name, Entry(len(content), hashlib.sha256(content).hexdigest()))
        return content

    def check(self, names: Iterable[str] | None = None) -> None:
        """Compare files, by default all that are listed, with their entries.

        Raises
        ------
        InputError
            As `read`, for the first that differs.
        """
        for name in self.entries if names is None else names:
            try:
                found = entry_of(self.folder / name)
            except OSError as error:
                raise self._error(name, f"cannot be read ({error.strerror})") from error
            self._compare(name, found)

    def changed(self, names: Iterable[str]) -> list[str]:
        """Those of some files that are not as they were when sealed, or not there."""
        found = []
        for name in names:
            try:
                self.check([name])
            except InputError:
                found.append(name)
        return found

    def _compare(self, name: str, found: Entry) -> None:
        listed = self.entries.get(name)
        if listed is None:
            raise self._error(name, f"is not listed in {MANIFEST_FILE}")
        if found.bytes != listed.bytes:
            raise self._error(
                name, f"has {found.bytes:,} bytes where {MANIFEST_FILE} lists {listed.bytes:,}"
            )
        if found != listed:
            raise self._error(
                name, f"is not the file that {MANIFEST_FILE} was written for (SHA-256 differs)"
            )

    def _error(self, name: str, seen: str) -> InputError:
        return InputError(self.folder / name, f"{seen}; {CURE}")


def seal_folder(folder: str | Path, names: Iterable[str] | None = None) -> None:
    """Write the manifest of a folder; do so again after a change by hand that is to count.

    Parameters
    ----------
    folder
        An existing folder.
    names
        Files to list, as paths relative to the folder. By default all files with the name of a
        run's file, and those listed in the old manifest, if it can be read. Figures and tables
        that have been removed are left out, and other files, such as notes, are not listed.

    Raises
    ------
    InputError
        If the folder or one of the files does not exist, or the run in it is being replaced.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder; name the folder to seal.")
    check_in_place(folder)
    if names is None:
        there, before = set(files_below(folder)), set[str]()
        with contextlib.suppress(InputError):  # a damaged manifest, or none
            before = set(read_manifest(folder).entries)
        gone = filter(is_by_product, before - there)
        names = {*filter(is_run_file, there), *before}.difference(gone)
    listed = sorted({*names} - {MANIFEST_FILE})
    try:
        entries = {name: entry_of(folder / name) for name in listed}
    except OSError as error:
        raise InputError(error.filename or folder, f"cannot be read ({error.strerror}).") from error
    write_text(folder / MANIFEST_FILE, manifest_text(entries))


def manifest_text(entries: Mapping[str, Entry]) -> str:
    """Make the text of a manifest."""
    files = {name: entry._asdict() for name, entry in entries.items()}
    return sealed_text({"format": FORMAT, "format_version": FORMAT_VERSION, "files": files})


def check_in_place(folder: Path) -> None:
    """Raise `InputError` where a run that replaces another is not in place with all its files."""
    if (folder / NEXT_FOLDER).is_dir():
        raise InputError(
            folder,
            "a new run is taking the place of the one here, and not all its files are in place: "
            "wait for the command that writes it or, if that was ended, give it again without "
            "--force: it puts them into place, and says that the run is there.",
        )


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a folder.

    Raises
    ------
    InputError
        If there is none, it is damaged or of another format, or the run is being replaced.
    """
    check_in_place(folder)
    return Manifest(folder, read_entries(folder / MANIFEST_FILE, CURE))


def read_entries(path: Path, cure: str) -> dict[str, Entry]:
    """Read what `manifest_text` made; raises as `read_sealed`."""
    document = read_sealed(path, cure)
    if document.get("format") != FORMAT or document.get("format_version") != FORMAT_VERSION:
        raise InputError(path, f"is no manifest of this version of proxmtl; {cure}")
    files = document.get("files")
    if not isinstance(files, dict):
        raise InputError(path, f"lists no files; {cure}")
    return {name: _entry(path, cure, name, value) for name, value in files.items()}


def _entry(path: Path, cure: str, name: str, value: Any) -> Entry:
    place, known = PurePosixPath(name), value if isinstance(value, dict) else {}
    size, sha256 = known.get("bytes"), known.get("sha256")
    inside = not place.is_absolute() and ".." not in place.parts
    if not (inside and isinstance(size, int) and isinstance(sha256, str)):
        raise InputError(path, f"the entry {name!r} is no file of this folder; {cure}")
    return Entry(size, sha256)


def append_seal(path: Path) -> None:
    """Add the seal of a file to its end; the file is still to be moved into place."""
    line = TRAILER.format(**entry_of(path)._asdict())
    with path.open("ab") as stream:
        stream.write(line.encode())


def check_seal(path: Path, cure: str) -> None:
    """Compare a file with the seal at its end.

    Parameters
    ----------
    path
        An existing file.
    cure
        What to do about a damaged one, to end the error message.

    Raises
    ------
    InputError
        If it has no seal, or is not as it was when it was sealed.
    """
    digest, length = hashlib.sha256(), len(TRAILER.format(bytes=0, sha256="0" * 64))
    try:
        with path.open("rb") as stream:
            size = max(stream.seek(0, os.SEEK_END) - length, 0)
            stream.seek(0)
            for start in range(0, size, CHUNK):
                digest.update(stream.read(min(CHUNK, size - start)))
            found = stream.read()
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror}); {cure}") from error
    if found != TRAILER.format(bytes=size, sha256=digest.hexdigest()).encode():
        raise InputError(path, f"is damaged, cut off or of another version; {cure}")


def write_sealed(path: str | Path, document: Mapping[str, Any]) -> None:
    """Write `sealed_text` of a table, atomically."""
    write_text(path, sealed_text(document))


def sealed_text(document: Mapping[str, Any]) -> str:
    """Make JSON of a table, with the SHA-256 of its entries as a last one, ``seal``.

    Raises
    ------
    TypeError, ValueError
        If it holds something that JSON cannot express.
    """
    # as it will be read: keys are text, tuples lists
    plain = json.loads(json.dumps(document, allow_nan=False))
    # in ASCII: names of files need not be text
    return json.dumps({**plain, SEAL: _digest(plain)}, indent=1) + "\n"


def read_sealed(path: Path, cure: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the seal.

    Parameters
    ----------
    path
        The file.
    cure
        What to do about a damaged one, to end the error message.

    Raises
    ------
    InputError
        If the file cannot be read, is no table in JSON, or not as it was when it was sealed.
    """
    document = read_document(path, cure)
    if document.pop(SEAL, None) != _digest(document):
        raise InputError(path, f"is not as it was written (SHA-256 differs); {cure}")
    return document


def read_document(path: Path, cure: str) -> dict[str, Any]:
    """Read a table from JSON within the limits of `proxmtl.limits`; raises as `read_sealed`."""
    try:
        most = limit("document_bytes")
        with path.open("rb") as stream:
            # no more than shows that it is too long: a read takes the memory that it may fill
            size = os.fstat(stream.fileno()).st_size
            document = parse_json(stream.read(min(most, size) + 1))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror}); {cure}") from error
    except DocumentError as error:
        raise InputError(path, f"{str(error).rstrip('.')}; {cure}") from error
    if not isinstance(document, dict):
        raise InputError(path, f"is no table of JSON; {cure}")
    return document


def _digest(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
