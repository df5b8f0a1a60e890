"""``proxmtl report``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]


def report(
    ctx: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders of fit, tune, train or demo; others are compared with the first.",
            metavar="RUN...",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write.")] = Path("report.html"),
    images: Annotated[
        bool,
        typer.Option(
            "--images/--no-images",
            help="Whether the page has small pictures of images held out, of runs on images.",
        ),
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the page if it is there.")
    ] = False,
) -> None:
    """Make one HTML page of a run, or of several side by side.

    It says in words what was found, and shows scores by attribute and group with intervals, what
    attributes share, how probable and how converged it all is, the search of strengths, and how to
    make the run again. The page needs no network and no other file: it can be mailed. Of runs on
    images it has small pictures of some that were held out: the surest and the least certain, and
    of several runs those that one gets right and another wrong. The images must be where they were.

    [bold]Examples[/]

      proxmtl report runs/first

      proxmtl report runs/alone runs/auto -o comparison.html
    """
    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.report_runs import read_runs
    from proxmtl.io import read_model_kind
    from proxmtl.io.atomic import write_text
    from proxmtl.io.outputs import settle_file
    from proxmtl.report.page import report_page
    from proxmtl.wording import counted

    if len({run.resolve() for run in runs}) < len(runs):
        raise ValueError("RUN: a folder is given twice; give each once.")
    for run in runs:  # a run that is missing is named before a page that is there
        read_model_kind(run)
    settle_file(out, force=force, inputs=runs)
    commands = getattr(ctx.find_root().command, "commands", {})
    read = read_runs(runs, commands, pictures=images)
    page = report_page(read)
    write_text(out, page)
    size = f"{len(page.encode()) / 1e6:.1f} MB"
    make_console().print(f"{counted(len(runs), 'run')}, {size} -> {shown_path(out)}")
