"""The command line: ``proxmtl demo``, ``fit``, ``predict``, ``evaluate``, ``inspect``."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

from proxmtl.cli.signals import Stopped, over, stoppable
from proxmtl.cli.streams import take_any_text

__all__ = ["main"]


def main() -> None:
    """Run the command line; see ``docs/reference/cli.md`` for the exit codes."""
    try:
        take_any_text(sys.stdout)
        with stoppable() as request:
            try:
                from proxmtl.cli.app import app  # noqa: PLC0415 (typer and rich only here)

                app(prog_name="proxmtl")
            except (Stopped, SystemExit) as end:
                code = request.exit_code
                if code is None or getattr(end, "code", None) == code:
                    raise
                # it came before there was a command, or while another error was shown
                _end("Stopped.", code)
    except MemoryError:  # before there was a command: there is no room for the libraries
        _end("Error: there is not enough memory; end other programs, or raise ulimit -v.", 2)
    finally:
        _let_go(sys.stdout)
        _let_go(sys.stderr)
        over()


def _end(line: str, code: int) -> NoReturn:
    """Say why the program ends where nothing but Python is loaded."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{line}\n")
    raise SystemExit(code) from None


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
