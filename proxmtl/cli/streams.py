"""Output that any terminal can take."""

from __future__ import annotations

import contextlib
import io
from typing import TextIO

__all__ = ["take_any_text"]


def take_any_text(stream: TextIO) -> None:
    """Let a stream escape signs that its encoding lacks, instead of raising."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        with contextlib.suppress(OSError, ValueError):  # what is broken says so when it is written
            stream.reconfigure(errors="backslashreplace")
