"""Defaults of the public interface, so that none changes unnoticed.

A default is part of what a caller gets without asking: to change one is a decision, with a line in
the changelog. To renew the record after such a decision:

    python tests/defaults.py
"""

import enum
import inspect
import json
from pathlib import Path

import typer

import proxmtl
import proxmtl.estimators
import proxmtl.io
import proxmtl.nn
import proxmtl.selection
from proxmtl.cli.app import app

RECORD = Path(__file__).with_suffix(".json")
MODULES = (proxmtl, proxmtl.estimators, proxmtl.io, proxmtl.nn, proxmtl.selection)


def shown(value):
    """A default as text, the same in every process."""
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, Path):
        return value.as_posix()
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    return repr(value)


def of_python():
    """Defaults of the parameters of each public class and function that has any."""
    found = {}
    for module in MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if not callable(thing):
                continue
            try:
                parameters = inspect.signature(thing).parameters.values()
            except ValueError:  # built in
                continue
            defaults = {
                p.name: shown(p.default)
                for p in parameters
                if p.default is not inspect.Parameter.empty
            }
            if defaults:
                found[name] = defaults
    return found


def of_commands():
    """Defaults of the options of each command."""
    group = typer.main.get_command(app)
    return {
        f"proxmtl {name}": {
            p.name: shown(p.default) for p in command.params if p.default is not None
        }
        for name, command in group.commands.items()
    }


def main():
    content = {**of_python(), **of_commands()}
    RECORD.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
