"""Run folders, written atomically: readers see a complete run, the old one or the new one.

A run is written and sealed in a staging folder. If there is no earlier run, the staging folder is
renamed to the run's name. Otherwise it is moved into the old run's folder as ``.proxmtl.next``;
from that moment the run is the new one. Its files are then moved out of it, the manifest last.
Until that is finished readers raise, and the next writer completes what a dead process has begun.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from proxmtl.io.atomic import files_below, flush_folder, umask
from proxmtl.io.errors import InputError
from proxmtl.io.held import undisturbed
from proxmtl.io.lock import FileLock
from proxmtl.io.names import DESCRIPTION_FILE, NEXT_FOLDER, is_run_file
from proxmtl.io.seal import MANIFEST_FILE, read_document, read_entries, read_manifest, seal_folder
from proxmtl.io.temporaries import PREFIX, is_ours, remove_leftovers, temporary_folder

__all__ = [
    "check_target",
    "end_replacement",
    "finish_replacement",
    "name_of_target",
    "new_run_folder",
    "remove_run",
    "replaced_model",
    "unfinished_folder",
]


@contextlib.contextmanager
def new_run_folder(path: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill; sealed, it becomes `path` when the block succeeds.

    Parameters
    ----------
    path
        The run folder. Missing parents are created. A folder that is there, also by a link, stays
        the same folder and gets the files; so it may be a mounted disk or the current folder.
    force
        Replace the files of a run that is already there. Files that are not of it are left alone.

    Yields
    ------
    Path
        A staging folder on the same disk. When the block raises, it is removed and `path` is left
        as it was.

    Raises
    ------
    InputError
        If `path` is a file, a folder with other contents, or a run and `force` is false, or another
        process is writing it. It is raised on entry, before any work.
    OSError
        If the folder takes no files. Where the finished folder can't be moved into place at the
        end, a note on the error says where it is kept.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    end_replacement(path)
    _check_target(path, target, force=force)
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        base = target if target.is_dir() else target.parent
        remove_leftovers(base)
        with _claimed(path, target, base), temporary_folder(base) as staging:
            staging.chmod(0o777 & ~umask())
            with _errors_of_the_disk(staging):
                yield staging
            with undisturbed():
                try:
                    with _errors_of_the_disk(staging):
                        for cut_off in [*filter(is_ours, staging.rglob("*"))]:
                            # a signal came between its creation and the block that removes it
                            cut_off.unlink()
                        seal_folder(staging, files_below(staging))
                    _check_target(path, target, force=force)
                    _put_into_place(staging, target)
                except (OSError, InputError) as error:
                    error.add_note(_set_aside(staging, target, path))
                    raise
    except OSError as error:
        name_of_target(error, path)
        raise
    finally:
        with contextlib.suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def replaced_model(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill and seal; its files become those of the run in `folder`.

    Files of `folder` that are listed neither in the old manifest nor in the new one are left alone.

    Parameters
    ----------
    folder
        The run folder, of which the caller holds a lock.

    Yields
    ------
    Path
        A staging folder in it. When the block raises, it is removed and the run left as it was.
    """
    try:
        with temporary_folder(folder) as staging:
            yield staging
            with undisturbed():
                _put_into_place(staging, folder)
    except OSError as error:
        name_of_target(error, folder)
        raise


def end_replacement(path: str | Path) -> None:
    """End the replacement of the run `path` that a dead process began, if one did.

    Raises
    ------
    InputError
        If another process is writing the run, or the new run's manifest is damaged.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if (target / NEXT_FOLDER).is_dir():
        with _claimed(path, target, target):
            finish_replacement(target)


def finish_replacement(folder: Path) -> None:
    """End the replacement of a run that a dead process began; the caller holds the run's lock.

    Raises
    ------
    InputError
        If the new run's manifest is damaged.
    """
    new = folder / NEXT_FOLDER
    if not new.is_dir():
        return
    if (new / MANIFEST_FILE).exists():  # without it all files are in place: it goes last
        cure = f"remove the folder {new}, and run again the command that wrote the run."
        files = read_entries(new / MANIFEST_FILE, cure)
        of_before = _files_of_run(folder)
        for file in files:
            if (new / file).exists():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (new / file).replace(folder / file)
        for file in of_before.difference(files):
            (folder / file).unlink(missing_ok=True)
        flush_folder(folder)
        (new / MANIFEST_FILE).replace(folder / MANIFEST_FILE)
    try:
        shutil.rmtree(new)
    except OSError as error:
        error.filename = str(folder)  # it goes by names in folders that it holds open: "plots"
        raise
    flush_folder(folder)


def remove_run(folder: Path, *, but: str | None = None) -> None:
    """Remove the files of the run in a folder, the manifest last; others, and `but`, stay.

    Whoever is killed in between leaves the manifest, by which the rest can be removed.
    """
    for file in (DESCRIPTION_FILE, *sorted(_files_of_run(folder) - {but}), MANIFEST_FILE):
        (folder / file).unlink(missing_ok=True)


def _files_of_run(folder: Path) -> set[str]:
    with contextlib.suppress(InputError):  # without a manifest nobody knows what is of the run
        # of other names, a file is the user's own, also where it was sealed with the run
        return set(filter(is_run_file, read_entries(folder / MANIFEST_FILE, "")))
    return set()


def check_target(path: str | Path, *, force: bool = False) -> None:
    """Raise early what `new_run_folder` raises for the contents of a folder; change nothing.

    Nothing is said of a folder in which a dead process has left something to be ended.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    if not (target / NEXT_FOLDER).exists() and not unfinished_folder(path).exists():
        _check_target(path, target, force=force)


def name_of_target(error: OSError, path: Path) -> None:
    """Put the name of an output, or of a file in it, for that of a temporary one into an error."""
    if not isinstance(error.filename, str | bytes):
        return
    parts = Path(os.fsdecode(error.filename)).parts
    for place, part in enumerate(parts):
        if part.startswith(PREFIX) or part == NEXT_FOLDER:
            error.filename, error.filename2 = str(path.joinpath(*parts[place + 1 :])), None
            return


def _check_target(path: Path, target: Path, *, force: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(path, "this is a file, and a run is a folder; give another name to --out.")
    if all(is_ours(entry) for entry in target.iterdir()):
        return
    if not _is_run(target):
        raise InputError(
            path,
            f"the folder is not empty and holds no {DESCRIPTION_FILE} of proxmtl, so it is not a "
            "run that may be replaced; give another name to --out.",
        )
    if not force:
        raise InputError(
            path,
            "the folder already holds a run; give --force to replace it or another name to --out.",
        )


def _is_run(folder: Path) -> bool:
    """Whether a folder holds a model of ours: other programs, too, write files of that name.

    Either file shows it, so that a run of which one is damaged may be replaced.
    """
    if not (folder / DESCRIPTION_FILE).is_file():
        return False
    with contextlib.suppress(InputError):
        if DESCRIPTION_FILE in read_manifest(folder).entries:
            return True
    with contextlib.suppress(InputError):
        return read_document(folder / DESCRIPTION_FILE, "").get("format") == "proxmtl model"
    return False


@contextlib.contextmanager
def _claimed(path: Path, target: Path, base: Path) -> Iterator[None]:
    """Keep other processes from making the same run: only one of them could put it into place."""
    lock = FileLock(
        base / _named_after(target, "lock"),
        "another process is writing this run; wait for it, or give another name to --out.",
        shown=path,
    )
    try:
        yield
    finally:
        lock.release()


def _named_after(target: Path, suffix: str) -> str:
    """Name of what belongs to a run folder while it is being made."""
    return f"{PREFIX}{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}.{suffix}"


def unfinished_folder(path: str | Path) -> Path:
    """Path of the folder that keeps what is done of a run, where new_run_folder works.

    It lies in the run folder where that was there before, and beside it otherwise; it is no
    leftover.
    """
    target = Path(os.path.realpath(path))
    name = _named_after(target, "fit")
    beside = target.parent / name
    return target / name if target.is_dir() and not beside.exists() else beside


@contextlib.contextmanager
def _errors_of_the_disk(staging: Path) -> Iterator[None]:
    """Raise the system's error, for `name_of_target`, where files of a new run are gone or unread.

    What reads them back knows them as input, and none is wrong.
    """
    try:
        yield
    except InputError as error:
        if not error.source.is_relative_to(staging):
            raise
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        if error.source.exists():
            raise
        missing = errno.ENOENT
        raise FileNotFoundError(missing, os.strerror(missing), str(error.source)) from error


def _put_into_place(staging: Path, target: Path) -> None:
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.replace(target)
    else:
        staging.replace(target / NEXT_FOLDER)  # from here on the run is the new one
        flush_folder(target)
        finish_replacement(target)
    flush_folder(target.parent)


def _set_aside(staging: Path, target: Path, path: Path) -> str:
    """Say where a finished run is that could not be put into place; give it a name that stays."""
    if (target / NEXT_FOLDER).is_dir():
        return (
            f"The finished run is in {path}; the same command without --force puts all its files "
            "into place, and says that the run is there."
        )
    for number in range(1, 1000):
        spare = staging.parent / f"{target.name}.kept-{number}"
        if not spare.exists():
            with contextlib.suppress(OSError):
                staging.rename(spare)
                # as the caller names its place; a link may lead there
                near = (path if spare.parent == target else path.parent) / spare.name
                return f"The finished run is kept in {near if near.exists() else spare}."
            break
    return "The finished run could not be kept either."
