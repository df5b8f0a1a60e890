"""Deferred signals, for writing that must not be interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["HeldSignals", "undisturbed"]


class HeldSignals:
    """Defers SIGINT, SIGTERM and SIGHUP between `hold` and `release`.

    Uses handlers, not a signal mask: a mask applies to one thread, and the system would deliver the
    signal to another. Ignored signals stay ignored. Has no effect outside of the main thread, the
    only one that runs handlers.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: list[int] = []
        self._waiting = False

    def hold(self) -> None:
        """Defer signals from now on."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        asked = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
        self._before = {
            number: signal.getsignal(number)
            for number in asked
            if number is not None and signal.getsignal(number) not in (None, signal.SIG_IGN)
        }
        self._waiting = True
        for number in self._before:
            signal.signal(number, self._take)

    def release(self) -> None:
        """Stop deferring; first raise the signals that have arrived."""
        before, self._before = self._before, {}
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
        finally:
            self._waiting = False
        self._raise()

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Stop deferring inside the block; first raise the signals that have arrived."""
        held, self._waiting = self._waiting, False
        try:
            self._raise()
            yield
        finally:
            self._waiting = held

    def _raise(self) -> None:
        came, self._came = self._came, []
        for number in dict.fromkeys(came):
            signal.raise_signal(number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._waiting:
            self._came.append(number)
            return
        handler = self._before.get(number, signal.SIG_DFL)
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Defer signals until the end of the block."""
    held = HeldSignals()
    held.hold()
    try:
        yield
    finally:
        held.release()
