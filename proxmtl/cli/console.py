"""How the commands speak: consoles, warnings, progress bars."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from proxmtl.cli.option_names import in_options
from proxmtl.cli.ranks import first
from proxmtl.cli.streams import take_any_text

__all__ = [
    "fit_progress",
    "keeping",
    "logged_warnings",
    "make_console",
    "say_note",
    "say_warning",
    "shown_path",
    "step_progress",
]


EVERY = 30.0
"""Seconds between two lines about a fit whose progress is not shown on a terminal."""
NARROWEST = 72
"""Columns that the widest table needs; a narrower terminal breaks its lines."""


class _Console(Console):
    """A console that outlives its reader: the work goes on where its words go nowhere."""

    def on_broken_pipe(self) -> None:
        """Drop what is printed from now on."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, (sys.stderr if self.stderr else sys.stdout).fileno())

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, and name the stream in an error."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            if error.filename is None and error.errno is not None:
                error.filename = "standard error" if self.stderr else "standard output"
            raise


def make_console(*, stderr: bool = False, quiet: bool | None = None) -> Console:
    """Make a console for the streams as they are now (pipes and tests replace them).

    Of several processes that run a command together only the first speaks, unless ``quiet`` is
    False.
    """
    take_any_text(sys.stderr if stderr else sys.stdout)
    quiet = not first() if quiet is None else quiet
    console = _Console(stderr=stderr, highlight=False, quiet=quiet)
    console.width = max(console.width, NARROWEST)
    return console


def shown_path(path: object) -> str:
    """A path in a colour of its own, safe from being read as markup."""
    return f"[cyan]{escape(str(path))}[/]"


def say_warning(message: Warning | str, *place: object, **more: object) -> None:
    """Show a warning as a sentence, without the place in the code where it arose."""
    del place, more
    sentence = in_options(str(message))
    make_console(stderr=True).print(f"[bold yellow]Warning:[/] {escape(sentence)}")


class _LoggedWarnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say_warning(record.getMessage())


@contextlib.contextmanager
def logged_warnings() -> Iterator[None]:
    """Show the warnings that the library logs as sentences, too."""
    logger, handler = logging.getLogger("proxmtl"), _LoggedWarnings(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def say_note(sentence: str) -> None:
    """Say on stderr what was decided about the inputs, where the user may want to know."""
    make_console(stderr=True).print(f"[bold]Note:[/] {escape(sentence)}")


@contextlib.contextmanager
def keeping(sentence: Callable[[BaseException], str]) -> Iterator[None]:
    """Add to whatever ends the block early what is kept of its work, and how to go on.

    Parameters
    ----------
    sentence
        Given what ended the block; blank: nothing is added.
    """
    try:
        yield
    except BaseException as end:
        note = sentence(end)
        if note:
            end.add_note(note)
        raise


@contextlib.contextmanager
def fit_progress(title: str, max_passes: float) -> Iterator[Callable[[Any], None]]:
    """Show passes over the data on stderr: a bar on a terminal, elsewhere a line every half minute.

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
    if not make_console(stderr=True).is_terminal:
        with _Lines(title, max_passes) as lines:
            yield lines.progress
        return
    with _bar("{task.completed:.0f}/{task.total:.0f} passes") as progress:
        task = progress.add_task(title, total=max_passes, note="")

        def callback(report: Any) -> None:
            note = f"objective {report.objective:.6g}"
            progress.update(task, completed=min(report.passes, max_passes), note=note)

        yield callback


class _Lines(logging.Handler):
    """Lines on stderr about a long fit, at most one every `EVERY` seconds.

    What is logged while the fit searches is said in the same way.
    """

    def __init__(self, title: str, max_passes: float) -> None:
        super().__init__(logging.INFO)
        self.title, self.max_passes = title, max_passes
        self._begin = self._last = time.monotonic()
        self._first: float | None = None
        self._logger = logging.getLogger("proxmtl")

    def __enter__(self) -> Self:
        self._level = self._logger.level
        self._logger.setLevel(min(self._logger.getEffectiveLevel(), logging.INFO))
        self._logger.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Say a record, if it is time."""
        if record.levelno == logging.INFO:
            self._say(record.getMessage)

    def progress(self, report: Any) -> None:
        """Say how far a solve has come, if it is time."""
        if self._first is None or report.passes < self._first:  # of this process, and this solve
            self._first, self._since = report.passes, time.monotonic()
        self._say(lambda: self._line(report))

    def _line(self, report: Any) -> str:
        line = f"{report.passes:.0f} of at most {self.max_passes:g} passes"
        line += f", objective {report.objective:.6g}"
        known = vars(report).get("certificate")  # to ask for one would take a read
        if known is not None:
            gap = known.relative_gap
            line += (
                f", relative residual {known.relative_kkt:.2g}"
                if gap is None
                else (f", relative gap {gap:.2g}")
            )
        made, seconds = report.passes - (self._first or 0.0), time.monotonic() - self._since
        if made > 0 and seconds > 0:
            left = max(self.max_passes - report.passes, 0) * seconds / made
            line += f"; {made / seconds:.3g} passes a second, at most {left:.0f} s more"
        return line

    def _say(self, line: Callable[[], str]) -> None:
        now = time.monotonic()
        if now < self._last + EVERY:
            return
        self._last = now
        text = f"{self.title}, {now - self._begin:.0f} s: {line()}"
        make_console(stderr=True).print(escape(text), soft_wrap=True)


@contextlib.contextmanager
def step_progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Show a bar of `total` steps; the callable it yields marks one as done, with a note."""
    with _bar("{task.completed:.0f}/{task.total:.0f}") as progress:
        task: TaskID = progress.add_task(title, total=total, note="")

        def advance(note: str) -> None:
            progress.update(task, advance=1, note=note)

        yield advance


def _bar(count: str) -> Progress:
    console = make_console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn(count),
        TextColumn("[dim]{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not (console.is_terminal or console.is_jupyter),
        transient=True,
    )
