"""The command line: ``proxmtl demo``, ``fit``, ``predict``, ``evaluate``, ``inspect``."""

from __future__ import annotations

import contextlib
import os
import sys

from proxmtl.cli.signals import SIGNAL_EXIT, Stopped, stoppable
from proxmtl.cli.streams import take_any_text

__all__ = ["main"]


def main() -> None:
    """Run the command line; see ``docs/cli.md`` for the exit codes."""
    try:
        take_any_text(sys.stdout)
        with stoppable():
            from proxmtl.cli.app import app  # noqa: PLC0415 (typer and rich only here)

            app(prog_name="proxmtl")
    except Stopped as stop:  # before there was a command
        raise SystemExit(SIGNAL_EXIT + stop.number) from None
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)


def _let_go(stream: object) -> None:
    """Flush a stream; what it can't take is dropped, as Python would complain of it at exit."""
    try:
        stream.flush()  # type: ignore[attr-defined]
    except AttributeError:  # closed by the caller: there is no stream
        pass
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
