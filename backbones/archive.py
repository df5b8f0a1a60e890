"""Images of a tar archive, read one by one and never unpacked; a damaged archive raises.

A tar archive has a checksum in each header and none over its data, and readers take the first
header that is damaged for its end. Here an archive ends where it says so, by a block of zeros with
nothing but zeros behind it: what was listed is what is there.
"""

from __future__ import annotations

import copy
import os
import posixpath
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from proxmtl.io.errors import InputError, first_line
from proxmtl.io.rows import how_to_match
from proxmtl.limits import advice, limit
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["TarImages", "plain_name"]

BLOCK = tarfile.BLOCKSIZE
CHUNK = 1 << 20
AGAIN = "get the archive again."


class _Part(NamedTuple):
    """Where the data of a member lie."""

    start: int
    size: int
    trouble: str | None = None
    """Why they can't be read as they lie, if they can't."""


class TarImages:
    """Images of a plain tar archive, by name; read one by one, never unpacked.

    Links to other members give the data of these. Names are without a leading ``./``, which
    ``tar -c .`` writes.

    Parameters
    ----------
    path
        The archive.
    names
        Members to give, in this order; default: all files, in the archive's order.

    Raises
    ------
    FileNotFoundError
        If the archive isn't there.
    InputError
        If it isn't a plain tar archive, is damaged or cut off, names a member twice, has more of
        them than the limit, or lacks one of ``names``.
    """

    def __init__(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            msg = f"{self.path} isn't there; give the path of a tar archive of images."
            raise FileNotFoundError(msg)
        with self.path.open("rb") as file:
            self._mark = _mark(file)
            self._members = _members(self.path, file)
        self.names: list[str] = list(self._members)
        if names is not None:
            self.names = self.only(names).names

    def only(self, names: Sequence[str]) -> TarImages:
        """Some of the images, in the order of their names.

        Raises
        ------
        InputError
            If one is lacking, or is no file.
        """
        missing = [name for name in names if name not in self._members]
        if missing:
            asked = set(names)
            hint = how_to_match(missing, [name for name in self._members if name not in asked])
            raise InputError(
                self.path,
                f"lacks {counted(len(missing), 'image')} of the {len(names)} asked for, such as "
                f"{missing[0]!r}; {hint or f'correct their names, or {AGAIN}'}",
            )
        for name in names:
            self._check(name)
        chosen = copy.copy(self)
        chosen.names = list(names)
        return chosen

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[bytes]:
        """Encoded bytes of each image."""
        with self.path.open("rb") as file:
            if _mark(file) != self._mark:
                raise InputError(
                    self.path, "has changed since its images were listed; run the command again."
                )
            for name in self.names:
                part = self._check(name)
                file.seek(part.start)
                content = file.read(part.size)
                if len(content) != part.size:
                    raise InputError(self.path, f"is cut short inside {name}; {AGAIN}")
                yield content

    def _check(self, name: str) -> _Part:
        part = self._members[name]
        if part.trouble is not None:
            raise InputError(self.path, f"{name} {part.trouble}; make the archive again without.")
        return part


def _mark(file: BinaryIO) -> tuple[int, ...]:
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _members(path: Path, file: BinaryIO) -> dict[str, _Part]:
    """Find the files of an archive by its headers, all of them."""
    parts: dict[str, _Part] = {}
    links: dict[str, str] = {}
    seen, last = 0, ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would keep every header
                seen, last = seen + 1, plain_name(member.name)
                _check_member(path, member, seen, known=last in parts or last in links)
                if member.isreg():
                    trouble = "is a sparse file" if member.issparse() else None
                    parts[last] = _Part(member.offset_data, member.size, trouble)
                elif member.islnk() or member.issym():
                    links[last] = _target(member)
            end = archive.offset
    except InputError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        what = f"is damaged or cut off in member {seen}, {last!r}, or behind it"
        if not seen:
            what = "can't be read as a plain tar archive (decompress a compressed one first)"
        raise InputError(path, f"{what}: {first_line(error)}; {AGAIN}") from error
    _check_end(path, file, end, f"after member {seen}, {last!r}" if seen else "at its start")
    for name, target in links.items():
        parts[name] = _followed(name, target, parts, links)
    return parts


def _check_member(path: Path, member: tarfile.TarInfo, number: int, *, known: bool) -> None:
    most = limit("archive_members")
    if number > most:
        raise InputError(
            path, f"more than {most:,} members; {advice('archive_members', 2 * most)}."
        )
    if known:
        raise InputError(
            path, f"holds {member.name!r} twice; make the archive again with one of them."
        )


def plain_name(name: str) -> str:
    """One name for ``a.png``, ``./a.png`` and ``.//a.png``."""
    return posixpath.normpath(name) if name else name


def _target(link: tarfile.TarInfo) -> str:
    """Name of the member that a link leads to."""
    if link.islnk():
        return plain_name(link.linkname)
    return plain_name(posixpath.join(posixpath.dirname(link.name), link.linkname))


def _followed(name: str, target: str, parts: dict[str, _Part], links: dict[str, str]) -> _Part:
    passed = {name}
    while target in links and target not in passed:
        passed.add(target)
        target = links[target]
    found = None if target in links else parts.get(target)
    return found or _Part(0, 0, f"is a link to {target!r}, which isn't in it")


def _check_end(path: Path, file: BinaryIO, end: int, place: str) -> None:
    """Raise if an archive does not end where its headers do."""
    file.seek(end)
    block = file.read(BLOCK)
    if len(block) < BLOCK:
        raise InputError(path, f"is cut off {place}: it has no end; {AGAIN}")
    if any(block):
        # of a header of more about the next one, which takes a block, the name is that one's
        about_next = file.read(2 * BLOCK)[BLOCK:] if block[156:157] in b"xgLK" else b""
        named = (about_next or block)[:100].partition(b"\0")[0].decode("ascii", "replace")
        raise InputError(
            path, f"the header {place}, of {named!r} at byte {end:,}, is damaged; {AGAIN}"
        )
    position = end + BLOCK
    while chunk := file.read(CHUNK):
        if any(chunk):
            raise InputError(
                path,
                f"holds more than zeros behind its end {place}, from byte {position:,} on: a "
                f"header is damaged, or archives were joined; {AGAIN}",
            )
        position += len(chunk)
