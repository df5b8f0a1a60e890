"""Feature matrices in shards: files whose rows lie end to end, and are read when asked for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from proxmtl.io.beside import check_features, ids_beside, ids_sidecar
from proxmtl.io.errors import InputError
from proxmtl.io.parquet_rows import ParquetRows
from proxmtl.io.row_files import Mark, mark_of, npy_rows, opened, safetensors_rows
from proxmtl.io.seal import Entry
from proxmtl.io.suffixes import SHARD_SUFFIXES
from proxmtl.io.tables import read_ids
from proxmtl.machine import available_memory
from proxmtl.row_sources import MEMORY, FeatureRows, JoinedRows
from proxmtl.sources import Source
from proxmtl.wording import counted

__all__ = ["Shards", "open_shards"]

SAMPLED, EVERY = 1 << 16, 1 << 26
"""A checksum of a shard is of 64 KiB in every 64 MiB, and of its end."""


class _Shard(NamedTuple):
    """A file, opened."""

    path: Path
    rows: FeatureRows
    stored: str
    """Type of the numbers in the file."""
    mark: Mark
    ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None


class Shards(JoinedRows):
    """Rows of the files of :func:`open_shards`, end to end.

    Attributes
    ----------
    parts : list of FeatureRows
        Rows of each file.
    paths : list of Path
        The files.
    ids : tuple of str or None
        Identifiers of the rows, where the files have some.
    names : tuple of str or None
        Names of the features (parquet only).
    """

    def __init__(self, source: Path, shards: Sequence[_Shard], memory: int) -> None:
        super().__init__([shard.rows for shard in shards], memory=memory)
        self.source = source
        self.paths = [shard.path for shard in shards]
        self.names = shards[0].names
        self._marks = [shard.mark for shard in shards]
        self.ids = _ids_of(source, shards, len(self))

    def fingerprint(self) -> Source:
        """Size and checksum of the files.

        The checksum is the SHA-256 of a line for each file: its name, its size and the SHA-256 of
        64 KiB in every 64 MiB and of its last 64 KiB, since a hash of everything would be one read
        more. It is written as ``sampled-<sha256>``. Files that change after they were opened raise
        when they are read.
        """
        digest, total = hashlib.sha256(), 0
        for path, mark in zip(self.paths, self._marks, strict=True):
            own = hashlib.sha256()
            with opened(path) as stream:
                for start in [*range(0, mark.bytes, EVERY), max(0, mark.bytes - SAMPLED)]:
                    stream.seek(start)
                    own.update(stream.read(SAMPLED))
            line = f"{own.hexdigest()} {mark.bytes} {path.name}\n"
            digest.update(line.encode(errors="surrogateescape"))
            total += mark.bytes
        return Source(str(self.source), total, f"sampled-{digest.hexdigest()}")


def open_shards(
    source: str | Path | Iterable[str | Path],
    *,
    key: str | None = None,
    id_column: str | None = None,
    id_column_required: bool = True,
    memory: int = MEMORY,
) -> Shards:
    """Open the parts of a feature matrix, rows end to end, without reading them.

    Estimators, :meth:`proxmtl.Problem.of` and :class:`proxmtl.StreamedDesign` take what is
    returned in place of an array.

    Parameters
    ----------
    source : path, or iterable of paths
        A file, files in their order, or a folder of which all npy, safetensors or parquet files are
        taken in the order of their names, numbers in these by size: ``part-2.npy`` before
        ``part-10.npy``.
    key : str, optional
        Name of the tensor in safetensors files. int8 is multiplied by the tensor of that name
        followed by ``_scale``: one number, one a feature, or shape (N, 1).
    id_column : str, optional
        Column of row identifiers of parquet files. Identifiers of other files lie beside them, in
        ``part-0.ids.csv`` for ``part-0.npy``, as ``proxmtl extract`` writes them.
    id_column_required : bool
        Whether to raise if parquet files have no such column, or the files are of another format.
    memory : int
        Bytes that a pass may take for features; the default is 256 MiB. Results, labels and scores
        come on top. Estimators read features that fit into it four times once, and hold them.

    Returns
    -------
    Shards

    Raises
    ------
    InputError
        If a file cannot be used, a folder has none or several formats or names of rows without
        their shard, the parts differ in their
        number or names of features or in their type, some have identifiers and others have not, or
        a row or a row group of parquet takes more than ``memory``.
    """
    if not isinstance(memory, int):
        raise ValueError(f"memory: got {memory!r}; give a number of bytes, such as 1 << 30.")
    if isinstance(source, (str, Path)):
        whole = Path(source)
        if not whole.exists():
            raise InputError(whole, "no such file or folder; check the path to the shards.")
        paths = _in_folder(whole) if whole.is_dir() else [whole]
    else:
        paths = [Path(path) for path in source]
        if not paths:
            raise ValueError("source: no file; give a folder, or the files in their order.")
        whole = paths[0].parent
    formats = sorted({path.suffix.lower() for path in paths})
    if len(formats) > 1:
        raise InputError(
            whole, f"holds {' and '.join(formats)} files; give a folder with shards of one format."
        )
    if formats[0] not in SHARD_SUFFIXES:
        raise InputError(
            paths[0],
            f"features are read row by row from {', '.join(SHARD_SUFFIXES)} files; save it as npy.",
        )
    if key is not None and formats[0] != ".safetensors":
        raise InputError(
            whole, f"{formats[0]} files hold one table each; leave out the key {key!r}."
        )
    if id_column is not None and id_column_required and formats[0] != ".parquet":
        raise InputError(
            whole,
            f"{formats[0]} files have no columns of names; leave out --id-column (in Python "
            "id_column=). Identifiers may lie beside, such as in "
            f"{ids_sidecar(paths[0]).name}.",
        )
    free, size = available_memory(), sum(path.stat().st_size for path in paths if path.exists())
    passing = free is not None and size > free
    shards = [
        _opened(path, key, id_column, required=id_column_required, passing=passing)
        for path in paths
    ]
    _check_alike(shards)
    _check_memory(shards, memory)
    return Shards(whole, shards, memory)


def _in_folder(folder: Path) -> list[Path]:
    if folder.suffix == ".partial":
        raise InputError(
            folder,
            "holds parts of features that are not complete; run the same proxmtl extract again, "
            f"which goes on, and give {folder.stem}.",
        )
    found = [path for path in folder.iterdir() if path.suffix.lower() in SHARD_SUFFIXES]
    if not found:
        raise InputError(
            folder,
            "holds no npy, safetensors or parquet file; give the folder of the shards.",
        )
    _check_none_missing(folder, found)
    return sorted(found, key=_place)


def _check_none_missing(folder: Path, found: Sequence[Path]) -> None:
    """Raise where identifiers name the rows of a shard that is not there."""
    there = {ids_sidecar(path).name for path in found}
    for beside in sorted(folder.glob("*.ids.csv"), key=_place):
        if beside.name not in there:
            ids = read_ids(beside)
            few = f" (the first is {ids[0]!r})" if ids else ""
            raise InputError(
                beside,
                f"names {counted(len(ids), 'row')}{few} of a shard that is missing; copy the "
                f"{found[0].suffix} file of that name, too, or move this one away.",
            )


def _place(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Key of a name by which numbers in it are ordered as numbers."""
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], path.name


def _opened(
    path: Path, key: str | None, id_column: str | None, *, required: bool, passing: bool
) -> _Shard:
    with opened(path) as stream:
        mark = mark_of(stream)
    check_features(path, Entry(mark.bytes, ""))
    if path.suffix.lower() == ".parquet":
        table = ParquetRows(path, id_column, required=required)
        shard = _Shard(path, table, str(table.dtype), mark, table.ids, table.names)
    elif path.suffix.lower() == ".npy":
        shard = _Shard(path, *npy_rows(path, passing=passing), mark)
    else:
        shard = _Shard(path, *safetensors_rows(path, key, passing=passing), mark)
    return shard if shard.ids is not None else shard._replace(ids=ids_beside(path, len(shard.rows)))


def _ids_of(source: Path, shards: Sequence[_Shard], n_rows: int) -> tuple[str, ...] | None:
    if any(shard.ids is None for shard in shards):  # pandas keeps the numbers of a larger table
        shards = [
            shard._replace(ids=None if _numbered(start, shard) else shard.ids)
            for start, shard in zip(_starts(shards), shards, strict=True)
        ]
    without = [shard.path for shard in shards if shard.ids is None]
    if not without:
        return tuple(name for shard in shards for name in shard.ids or ())
    if len(without) < len(shards):
        raise InputError(
            without[0],
            f"has no identifiers of its rows, and {len(shards) - len(without)} of the "
            f"{len(shards)} shards have some; give all of them identifiers, or none.",
        )
    return ids_beside(source, n_rows) if source.is_dir() else None


def _starts(shards: Sequence[_Shard]) -> list[int]:
    return list(accumulate((len(shard.rows) for shard in shards[:-1]), initial=0))


def _numbered(start: int, shard: _Shard) -> bool:
    """Whether identifiers are mere numbers of rows."""
    numbers = range(start, start + len(shard.rows))
    return shard.ids is not None and shard.ids == tuple(map(str, numbers))


def _check_alike(shards: Sequence[_Shard]) -> None:
    first = shards[0]
    for shard in shards[1:]:
        if shard.rows.shape[1] != first.rows.shape[1] or shard.stored != first.stored:
            raise InputError(
                shard.path,
                f"has {counted(shard.rows.shape[1], 'feature')} in {shard.stored}, and "
                f"{first.path.name} has {first.rows.shape[1]} in {first.stored}; "
                "shards have one width and one type.",
            )
        if shard.names != first.names:
            pairs = zip(shard.names or (), first.names or (), strict=True)
            own, other = next((a, b) for a, b in pairs if a != b)
            raise InputError(
                shard.path,
                f"has a column {own!r} where {first.path.name} has {other!r}; shards have the same "
                "columns in the same order.",
            )


def _check_memory(shards: Sequence[_Shard], memory: int) -> None:
    for shard in shards:
        held = getattr(shard.rows, "held", 0)
        if held > memory:
            raise InputError(
                shard.path,
                f"its largest row group takes {held:,} bytes to read, and memory is {memory:,}; "
                "write it in smaller row groups (row_group_size= of pyarrow and pandas), or allow "
                "more memory.",
            )
