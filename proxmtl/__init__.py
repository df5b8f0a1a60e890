"""proxmtl: proximal optimisation for structured-sparse, multi-task models on deep features.

A :class:`Problem` is a loss of the scores that a design computes, plus regularizers; a solver
minimises it; a :class:`Result` holds the solution with a certificate of its accuracy.
:class:`LatentMTL` is the factored model ``W = L S``: shared latent tasks L, combined by
group-sparse columns of S.
"""

from __future__ import annotations

import ast
import importlib
import logging
from pathlib import Path
from typing import Any

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is shown is up to programs


def _public_names() -> dict[str, str]:
    """Read public name -> module from the stub ``__init__.pyi``, which type checkers read, too."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


_MODULE_OF = _public_names()
_ROOMS = frozenset(module.removeprefix("proxmtl.") for module in _MODULE_OF.values()) | {"kernels"}

__all__ = sorted([*_MODULE_OF, "__version__"])  # noqa: PLE0605 - read from the stub


def __getattr__(name: str) -> Any:
    """Import a public name, or a subpackage, at first access.

    Importing torch alone takes seconds, and ``proxmtl --help`` does not need it.
    """
    if name in _MODULE_OF:
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"proxmtl.{name}")
    else:
        raise AttributeError(f"module 'proxmtl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
