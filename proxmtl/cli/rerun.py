"""``proxmtl rerun``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

from proxmtl.cli import options

__all__ = ["rerun"]


def rerun(
    ctx: typer.Context,
    run: options.RunFolder,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    force: options.Force = False,
) -> None:
    """Make a run again, by the options in its record, and say whether the model is the same.

    The inputs must be where they were, as seen from the current folder, and have the contents that
    the run was made of; they are compared by their SHA-256 before the work. The same versions on
    the same processor with the same number of threads give the same bits.

    [bold]Example[/]

      proxmtl rerun runs/first --out runs/again
    """
    from proxmtl.cli.console import make_console, say_note
    from proxmtl.cli.replay import check_inputs, differing_environment, read_record, same_model
    from proxmtl.cli.request import replayed

    record = read_record(run)
    command = getattr(ctx.find_root().command, "commands", {}).get(record["command"])
    check_inputs(run, record)
    other = differing_environment(record)
    if other:
        say_note(f"the last digits may differ: {other}")
    arguments = ["--out", str(out), *(["--force"] if force else [])]
    replayed(command, record["options"], arguments, ctx.parent)
    make_console().print(same_model(run, out), soft_wrap=True)
