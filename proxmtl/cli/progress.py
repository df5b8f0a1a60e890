"""Progress of work on many items: a bar on a terminal and in notebooks, lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from proxmtl.cli.console import make_console

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["clock_time", "item_progress"]

BETWEEN_LINES = 30.0
"""Seconds between two lines where there is no terminal; brief work prints none."""


class _RateColumn(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.3g}/s")


@contextlib.contextmanager
def item_progress(
    title: str, noun: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Show on stderr how many items are done, how fast, and how long the rest will take.

    On a terminal and in a notebook it is a bar; elsewhere a line every `BETWEEN_LINES` seconds.

    Parameters
    ----------
    title
        What is being done.
    noun
        What an item is, in the plural.
    clock
        Seconds from any moment on.

    Yields
    ------
    callable
        Called with (done, total). Items done before its first call do not count for the rate.
    """
    console = make_console(stderr=True)
    if console.is_terminal or console.is_jupyter:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn(noun),
            _RateColumn(),
            TimeRemainingColumn(compact=True),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _Lines(console, title, noun, clock)


class _Lines:
    """Lines for a log file."""

    def __init__(self, console: Console, title: str, noun: str, clock: Callable[[], float]) -> None:
        self.console, self.title, self.noun, self.clock = console, title, noun, clock
        self.begun = self.said = clock()
        self.spoke = False
        self.before: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Say how far the work has come, if it is time to."""
        now = self.clock()
        if self.before is None:
            # what was done before; where that comes with the first batch, its time says little
            self.before, self.begun = done, now
            return
        if now - self.said < BETWEEN_LINES and not (self.spoke and done == total):
            return
        self.said, self.spoke = now, True
        rate = (done - self.before) / max(now - self.begun, 1e-9)
        left = "" if done == total or not rate else f", {clock_time((total - done) / rate)} left"
        self.console.print(
            f"{self.title}: {done} of {total} {self.noun}, {rate:.3g}/s{left}", markup=False
        )


def clock_time(seconds: float) -> str:
    """Seconds as minutes and seconds, or with hours."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
