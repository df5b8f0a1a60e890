"""Packages whose public names are imported when they are first used."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

__all__ = ["names_of_stub"]


def names_of_stub(
    package: str, file: str, rooms: Collection[str] = (), own: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package, from the stub beside it.

    Importing torch alone takes seconds, and neither ``proxmtl --help`` nor the check of a path
    needs it. Type checkers read the stub, too.

    Parameters
    ----------
    package
        Name of the package.
    file
        Its ``__init__.py``; the stub ``__init__.pyi`` says from which module each name is imported.
    rooms
        Subpackages that are imported in the same way, besides those that the stub names.
    own
        Public names that the package defines itself.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    module_of = {alias.name: str(node.module) for node in imports for alias in node.names}
    inside = {module.removeprefix(f"{package}.") for module in module_of.values()} | {*rooms}
    public = sorted({*module_of, *own})

    def get(name: str) -> Any:
        if name in module_of:
            value = getattr(importlib.import_module(module_of[name]), name)
        elif name in inside:
            value = importlib.import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *public})

    return get, names, public
