"""``proxmtl reproduce``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxmtl.backbones.experiments.catalogue import (
    EXPERIMENTS,
    TRAINED,
    check_systems,
    experiment,
    folder_of,
)

if TYPE_CHECKING:
    from proxmtl.backbones.experiments.running import Progress

__all__ = ["reproduce"]


def reproduce(
    table: Annotated[
        str, typer.Argument(help=f"Data set: {', '.join(EXPERIMENTS)}.", metavar="TABLE")
    ],
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Folder of the data set, or of several under their usual names; default: "
            "$PROXMTL_DATA.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the tables, the log and features.")
    ] = Path("runs/reproduce"),
    systems: Annotated[
        str | None,
        typer.Option(
            help="Rows to compute, separated by commas; default: all but ablations. 'list' lists "
            "them."
        ),
    ] = None,
    labels_per_attribute: Annotated[
        str | None,
        typer.Option(
            help="Also with so many labels of each attribute, such as 25,50,100: average precision "
            "against labels."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where networks are trained: 'cpu', 'cuda', ...")
    ] = "cpu",
) -> None:
    """Compute a table of the paper, or of its kind, again: ours beside the published figures.

    Splits, budgets and grids are declared; strengths are chosen on validation parts. Each cell, a
    system on a split, is a line of TABLE.jsonl with its configuration, versions, the candidates and
    their validation scores, and metrics of each attribute; an interrupted command goes on where it
    was. TABLE.md has the tables, with standard deviations and paired tests.

    [bold]Examples[/]

      proxmtl reproduce awa --data data

      proxmtl reproduce clothing --data data --systems single,mg,mg-shuffled

      proxmtl reproduce clothing --data data --systems s-cnn,m-cnn,mg-cnn,own-cnn

      proxmtl reproduce wbcatt --data data --labels-per-attribute 25,50,100,200
    """
    listed = experiment(table).tables
    asked = None if systems is None else [name.strip() for name in systems.split(",")]
    if asked == ["list"]:
        from proxmtl.cli.console import make_console

        for name, rows in listed.items():
            for row in rows:
                named = " (only where it is named)" if row.asked else ""
                line = f"{name}: {row.name:<12} {row.title}{named}"
                make_console().print(line, markup=False)
        return
    check_systems(table, asked or ())
    trained = {row.name for row in TRAINED}.intersection(asked or ())
    if device != "cpu" and not trained:
        raise ValueError(
            f"--device {device}: none of these rows trains networks; leave it out, or give "
            "--systems some that do, such as s-cnn,mg-cnn."
        )
    numbers = _numbers(labels_per_attribute)
    folder = folder_of(table, data)

    from contextlib import ExitStack

    from proxmtl.backbones.experiments.cells import CellLog
    from proxmtl.backbones.experiments.images import kept_features
    from proxmtl.backbones.experiments.markdown import page
    from proxmtl.backbones.experiments.running import compute, finished
    from proxmtl.backbones.experiments.tables import chosen_tables, whole_table
    from proxmtl.cli.console import keeping, make_console, shown_path
    from proxmtl.cli.inputs import torch_device
    from proxmtl.cli.progress import item_progress
    from proxmtl.io import write_text

    torch_device(device)
    console = make_console()
    tables = chosen_tables(table, asked)
    command = f"proxmtl reproduce {table}"
    pages = []
    with ExitStack() as stack:
        stack.enter_context(
            keeping(
                lambda _: (
                    f"What is done is in {out}: the same command goes on." if out.exists() else ""
                )
            )
        )
        bar = stack.enter_context(item_progress("Features", "images"))
        features = kept_features(out / "features", bar)
        for each in tables:
            read = each.load(folder, features)
            with CellLog(out / f"{each.name}.jsonl") as log:
                compute(each, read, log, numbers, _say, device)
                whole = whole_table(each)
                pages.append(page(whole, read, finished(whole, read, log), command))
    target = out / f"{table}.md"
    write_text(target, "\n".join(pages))
    console.print(f"tables -> {shown_path(target)}")


def _numbers(given: str | None) -> list[int | None]:
    """Numbers of labels, after all of them."""
    if given is None:
        return [None]
    try:
        numbers = sorted({int(text) for text in given.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 8:
        raise ValueError(
            f"labels_per_attribute: got {given!r}; give numbers of 8 or more, such as 25,50,100."
        )
    return [None, *numbers]


def _say(progress: "Progress") -> None:
    """A line about a cell, on stderr."""
    import numpy as np

    from proxmtl.cli.console import make_console
    from proxmtl.cli.progress import clock_time

    cell = progress.cell
    few = "" if cell["labels"] is None else f", {cell['labels']} labels of each attribute"
    ap, accuracy = (
        100 * np.nanmean(np.array(cell["metrics"][name], dtype=np.float64))
        for name in ("ap", "accuracy")
    )
    candidates = len(cell["validation"])
    left = "" if progress.left is None else f"; {clock_time(progress.left)} left"
    make_console(stderr=True).print(
        f"{cell['table']} {progress.done} of {progress.total}: {cell['system']} on {cell['split']}"
        f"{few}: AP {ap:.2f} %, accuracy {accuracy:.2f} %, best of {candidates} on the validation "
        f"part, {cell['seconds']:.0f} s{left}",
        markup=False,
        soft_wrap=True,
    )
