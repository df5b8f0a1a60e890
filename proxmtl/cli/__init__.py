"""The command line: ``proxmtl demo``, ``fit``, ``predict``, ``evaluate``, ``inspect``."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line; errors of the input end it with a sentence and exit code 2."""
    from proxmtl.cli.app import app  # noqa: PLC0415 (typer and rich only where they are used)

    app(prog_name="proxmtl")
