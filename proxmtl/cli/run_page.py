"""The page of a run, ``report.html`` in its folder: made while the folder is."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from proxmtl.cli.console import say_note
from proxmtl.cli.request import request
from proxmtl.io.atomic import files_below, write_text
from proxmtl.io.seal import seal_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PAGE_FILE", "wants_page", "write_page"]

PAGE_FILE = "report.html"


def wants_page(asked: bool | None, *, default: bool) -> bool:
    """Whether to write a page, said before the work: what it takes may not be installed.

    Raises
    ------
    ValueError
        If it was asked for, and can't be made.
    """
    wanted = default if asked is None else asked
    if not wanted or all(map(find_spec, ("altair", "vl_convert", "jinja2"))):
        return wanted
    install = "pip install 'proxmtl[report]'"
    if asked:
        raise ValueError(f"--report: the page needs packages that are not installed; {install}.")
    say_note(f"there will be no {PAGE_FILE}: its packages are not installed; {install}.")
    return False


def write_page(staging: Path, out: Path, epochs: str | None = None) -> None:
    """Write the page of a run that lies in a staging folder and is to become ``out``.

    Parameters
    ----------
    staging, out
        The folders.
    epochs
        Of a training: the figures of its epochs, as its ``history.csv`` has them.
    """
    from proxmtl.cli.report_runs import epochs_of, read_run  # noqa: PLC0415 - heavy
    from proxmtl.report.page import report_page  # noqa: PLC0415 - heavy

    seal_folder(staging, files_below(staging))  # what is read back is sealed
    asked = request()
    commands = {} if asked is None else {asked.command.name: asked.command}
    run = replace(read_run(staging, out.name, commands, pictures=True), folder=str(out))
    if epochs is not None:  # they are written to the folder itself
        run = replace(run, epochs=epochs_of(io.StringIO(epochs)))
    write_text(staging / PAGE_FILE, report_page([run]))
