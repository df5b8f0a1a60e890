"""The run folder of ``proxmtl train``: who writes it, and how far the run in it has come."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from proxmtl.backbones.training import read_checkpoint
from proxmtl.io import InputError
from proxmtl.io.lock import FileLock
from proxmtl.io.model import read_model_description
from proxmtl.io.names import CONFIG_FILE, DESCRIPTION_FILE, TRAINING_FOLDER, name_of_earlier_version
from proxmtl.io.run_folder import finish_replacement
from proxmtl.io.seal import read_document, read_manifest
from proxmtl.io.temporaries import is_ours, remove_leftovers
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["check_unfinished", "claimed", "naming_settings"]

logger = logging.getLogger(__name__)

LOCK = "lock"
NEVER_ANOTHER = ("cache", "epochs", "workers")
"""Parts of a request that may differ where a run is continued."""


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keep other processes from training in a folder.

    It is made where there is none, and removed again if nothing was put into it.

    Raises
    ------
    InputError
        If it is a file, holds something else than a run of training, or another process has it.
    """
    if out.exists() and not out.is_dir():
        raise InputError(out, "this is a file, and a run is a folder; give another name to --out.")
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    # a process that is killed while it reads images leaves its lock alone
    work = out / TRAINING_FOLDER
    if not missing and not _is_training(out):
        _check_empty(out, work)
    work.mkdir(parents=True, exist_ok=True)
    lock = FileLock(
        work / LOCK,
        "another process is training in this folder; wait for it, or give another name to --out.",
        shown=out,
    )
    try:
        remove_leftovers(out)
        remove_leftovers(work)
        finish_replacement(out)
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):  # not empty
            for folder in (work, *missing):
                folder.rmdir()


def _is_training(out: Path) -> bool:
    """Whether the configuration is of this command: others, too, write files of that name."""
    try:
        config = read_document(out / CONFIG_FILE, "give another name to --out.")
    except InputError:
        return False
    return config.get("command") == "train" and isinstance(config.get("request"), dict)


def _check_empty(out: Path, work: Path) -> None:
    """Raise `InputError` where a folder holds more than a lock and temporary files."""
    found = [*out.iterdir(), *(work.iterdir() if work.is_dir() else ())]
    others = [path for path in found if path not in (work, work / LOCK) and not is_ours(path)]
    if not others:
        return
    earlier = name_of_earlier_version(path.name for path in others)
    if earlier is not None:
        raise InputError(
            out,
            f"an earlier version of proxmtl wrote what is in this folder ({earlier}), and this "
            "version can't go on with it; give another name to --out.",
        )
    raise InputError(
        out, "the folder is not empty and no run of training; give another name to --out."
    )


def check_unfinished(out: Path, epochs: int) -> None:
    """Refuse a run that has nothing left to do, or has gone further than is asked for.

    A run is finished when its model is of as many epochs as its checkpoint: a process may have been
    killed between the two. A model that can't be read, or beside which a figure is missing that
    could not be saved, is written again from the checkpoint.

    Raises
    ------
    InputError
        If so, or its checkpoint is damaged.
    """
    # whole, though the trainer reads it again: what is damaged is said before images are read
    checkpoint = read_checkpoint(out)
    done = -1 if checkpoint is None else len(checkpoint.history) - 1
    written = None
    if (out / DESCRIPTION_FILE).is_file():
        if checkpoint is None:
            raise InputError(
                out,
                "holds a model without the checkpoint of its run, so it can't be prolonged; give "
                "--force to start over, or another name to --out.",
            )
        try:
            written = read_model_description(out).get("epochs")
            read_manifest(out).check([CONFIG_FILE])
            if read_document(out / CONFIG_FILE, "").get("missing"):
                written = None
        except InputError as error:
            logger.warning("the model is written again from the checkpoint: %s", error)
    if done > epochs or done == written == epochs:
        held, more = "an interrupted", "at least as many"
        if done == written:
            held, more = "a finished", "more"
        raise InputError(
            out,
            f"holds {held} run of {counted(done, 'epoch')}; ask for {more} --epochs to prolong it, "
            "give --force to start over, or another name to --out.",
        )


@contextlib.contextmanager
def naming_settings(out: Path, request: Mapping[str, Any]) -> Iterator[None]:
    """Name the settings in which a request differs, where the run in a folder is another one's.

    Parameters
    ----------
    out
        The folder.
    request
        Parameter -> value, as the configuration in the folder records them.

    Raises
    ------
    InputError
        In place of one that the block raises of the folder itself; as it is where no setting
        differs, but what the files hold.
    """
    try:
        yield
    except InputError as error:
        if error.source != out:
            raise
        recorded = read_document(out / CONFIG_FILE, "give --force to start over.")["request"]
        settings = [
            f"{_option(name)} was {_given(recorded[name])} and is {_given(value)} now"
            for name, value in request.items()
            if name not in NEVER_ANOTHER and name in recorded and recorded[name] != value
        ]
        if not settings:
            raise
        raise InputError(
            out,
            f"holds another run: {', '.join(settings)}. Ask for the same to continue it, give "
            "--force to start over, or another name to --out.",
        ) from error


def _option(name: str) -> str:
    return "the folder of images" if name == "images" else f"--{name.replace('_', '-')}"


def _given(value: Any) -> str:
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value}"
