"""Signals that ask a command to end become exceptions, so that what is kept is kept.

Nothing of the package is imported here: the handlers are in place before the libraries are loaded,
which takes longer than anything else in a short command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["SIGNAL_EXIT", "Request", "Stopped", "over", "received", "stoppable"]

SIGNAL_EXIT = 128
"""Added to a signal's number, it is the exit code by which shells know what a signal ended."""
PATIENCE = 1.0
"""Seconds in which another signal is the same request: ``timeout`` and shells send two at once."""
AGAIN = 0.05
"""Seconds after which a signal is raised again where Python dropped its exception."""


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end; clean-up runs as for Ctrl-C.

    Parameters
    ----------
    number
        The signal's.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


class Request:
    """The signals of one process, and the first that came."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.number: int | None = None
        self.moment = 0.0

    @property
    def exit_code(self) -> int | None:
        """The process's; None if no signal has come."""
        return None if self.number is None else SIGNAL_EXIT + self.number

    def take(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        if os.getpid() != self.process:  # a worker: its parent decides, and may end it
            signal.signal(number, signal.SIG_DFL)
            if number != signal.SIGINT:
                signal.raise_signal(number)
            return
        if self.number is None:
            self.number, self.moment = number, time.monotonic()
            self._stop(number)
            return
        if time.monotonic() - self.moment > PATIENCE:
            # the disk is at every moment as after a crash, which the next command clears up
            with contextlib.suppress(OSError):
                os.write(2, b"stopped at once\n")
            os._exit(SIGNAL_EXIT + number)

    def again(self, number: int, frame: FrameType | None) -> None:
        """Raise the exception once more."""
        del number, frame
        if self.number is not None and os.getpid() == self.process:
            self._stop(self.number)

    @staticmethod
    def _stop(number: int) -> None:
        """Raise the exception, or somewhat later where it would abort the process."""
        spec = getattr(sys.modules.get("torch"), "__spec__", None)
        # while it is imported, torch's C++ calls Python, and can't pass exceptions on
        if getattr(spec, "_initializing", False) and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
            return
        raise Stopped(number)


_current: list[Request] = []


def received() -> int | None:
    """Return the number of the signal that ends this command; None if none has come."""
    return _current[-1].number if _current else None


def over() -> None:
    """Ignore signals from now on: the command has ended and said so, and its exit code stands.

    Python takes a while to end itself, and a signal would then make another end of a whole result.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def stoppable() -> Iterator[Request]:
    """Raise :class:`Stopped` at SIGINT, SIGTERM and SIGHUP in the block.

    A signal that is ignored when the block begins (``nohup``, background jobs of scripts) stays so.
    A second one a second later ends the process at once. After the block signals have their usual
    effect, which is to end the process.
    """
    request = Request()
    asked = [
        number
        for name in ("SIGINT", "SIGTERM", "SIGHUP")
        if (number := getattr(signal, name, None)) is not None
        and signal.getsignal(number) is not signal.SIG_IGN
    ]
    dropped = sys.unraisablehook

    def unraisable(report: Any) -> None:
        # in a finaliser: Python would print this exception, and the command would go on
        if isinstance(report.exc_value, Stopped) and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, AGAIN)
        else:
            dropped(report)

    _current.append(request)
    for number in asked:
        signal.signal(number, request.take)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, request.again)
    sys.unraisablehook = unraisable
    try:
        yield request
    finally:
        for number in asked:
            signal.signal(number, signal.SIG_DFL)
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.unraisablehook = dropped
        _current.remove(request)
