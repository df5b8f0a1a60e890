"""``proxmtl doctor``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from typing import Annotated

import typer

__all__ = ["doctor"]


def doctor(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Examine the installation: versions, extras, devices, kernels, memory, folders.

    It says of each what there is, why something is off, and what would turn it on. The exit code is
    0, or 1 if something that is needed is missing or broken.

    [bold]Example[/]

      proxmtl doctor
    """
    from rich.markup import escape

    from proxmtl.cli.console import make_console
    from proxmtl.cli.health import findings

    found = findings()
    faults = [finding for finding in found if finding.state == "fault"]
    if json:
        import json as format_json

        document = {"ok": not faults, "findings": [finding._asdict() for finding in found]}
        typer.echo(format_json.dumps(document, indent=1))
    else:
        console = make_console()
        area = None
        colours = {"ok": "green", "off": "dim", "fault": "bold red"}
        for finding in found:
            if finding.area != area:
                area = finding.area
                console.print(f"\n[bold]{escape(area)}[/]")
            mark = f"[{colours[finding.state]}]{finding.state:>5}[/]"
            console.print(f"{mark}  {finding.name:<24} {escape(finding.text)}", soft_wrap=True)
        verdict = f"{len(faults)} to be mended" if faults else "all that is needed is there"
        console.print(f"\n{verdict}")
    if faults:
        raise typer.Exit(1)
