"""Signals that wait while what must not be cut short is written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

__all__ = ["HeldSignals", "undisturbed"]


class HeldSignals:
    """SIGINT, SIGTERM and SIGHUP wait from `hold` to `release`, and then take effect.

    Not by a mask, which holds for one thread: the system hands a signal to any other. Signals that
    are ignored stay so. In another thread than the main one, which alone runs handlers, nothing is
    held.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: list[int] = []
        self._waiting = False

    def hold(self) -> None:
        """Let signals wait from here on."""
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
        """Let signals take effect, those first that have come."""
        before, self._before = self._before, {}
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
        finally:
            self._waiting = False
        self._raise()

    @contextlib.contextmanager
    def let_through(self) -> Iterator[None]:
        """Let signals take effect in the block, those first that have come."""
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
    """Let signals wait until the block has ended."""
    held = HeldSignals()
    held.hold()
    try:
        yield
    finally:
        held.release()
