"""How the commands speak: errors as sentences, progress bars, tables."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

__all__ = [
    "ReportingGroup",
    "fit_progress",
    "make_console",
    "say_warning",
    "shown_path",
    "step_progress",
    "thousandths",
]


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for the streams as they are now (pipes and tests replace them)."""
    return Console(stderr=stderr, highlight=False)


def shown_path(path: object) -> str:
    """A path in a colour of its own, safe from being read as markup."""
    return f"[cyan]{escape(str(path))}[/]"


def say_warning(message: Warning | str, *place: object, **more: object) -> None:
    """Show a warning as a sentence, without the place in the code where it arose."""
    del place, more
    make_console(stderr=True).print(f"[bold yellow]Warning:[/] {escape(str(message))}")


def _expected() -> tuple[type[Exception], ...]:
    """Errors of the input, of the machine and of the backends: those that carry a sentence.

    Python asks for them when an error has arisen: what was not imported by then did not raise it,
    and is not imported for errors of usage.
    """
    errors = (ValueError, TypeError, OSError, ImportError, MemoryError)
    kernels = sys.modules.get("proxmtl.kernels")
    return errors if kernels is None else (*errors, kernels.BackendError)


class ReportingGroup(TyperGroup):
    """Commands whose errors and warnings are sentences; after an error the exit code is 2.

    The readers and the engine raise ``ValueError`` with a sentence that says what to do. With
    ``proxmtl --debug`` the traceback is shown instead.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = say_warning
                return super().invoke(ctx)
        except _expected() as error:
            if ctx.params.get("debug"):
                raise
            message = escape(str(error) or type(error).__name__)
            make_console(stderr=True).print(f"[bold red]Error:[/] {message}")
            raise typer.Exit(2) from error


@contextlib.contextmanager
def fit_progress(title: str, max_passes: float) -> Iterator[Callable[[Any], None]]:
    """Show a bar of passes over the data on stderr, where that is a terminal.

    Parameters
    ----------
    title
        In front of the bar.
    max_passes
        The solver's budget.

    Yields
    ------
    callable
        A solver's callback that moves the bar and shows the objective.
    """
    with _bar("{task.completed:.0f}/{task.total:.0f} passes") as progress:
        task = progress.add_task(title, total=max_passes, note="")

        def callback(report: Any) -> None:
            note = f"objective {report.objective:.6g}"
            progress.update(task, completed=min(report.passes, max_passes), note=note)

        yield callback


@contextlib.contextmanager
def step_progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar of `total` steps; the callable it yields marks one as done, with a note."""
    with _bar("{task.completed:.0f}/{task.total:.0f}") as progress:
        task: TaskID = progress.add_task(title, total=total, note="")

        def advance(note: str) -> None:
            progress.update(task, advance=1, note=note)

        yield advance


def thousandths(advance: Callable[[str], None]) -> Callable[[int, int], None]:
    """Make a callback of (done, total) that moves a bar of a thousand steps."""
    shown = [0]

    def progress(done: int, total: int) -> None:
        while shown[0] * total < 1000 * done:
            shown[0] += 1
            advance(f"{done} of {total}")

    return progress


def _bar(count: str) -> Progress:
    console = make_console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn(count),
        TextColumn("[dim]{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
