"""Whether an exception says that a backend's compiler failed, rather than the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["compiler_failed", "in_one_line"]

_COMPILERS = frozenset({"numba", "llvmlite", "triton"})


def compiler_failed(error: Exception) -> bool:
    """Whether an exception comes out of a compiler: is one of its own, or was raised inside it.

    Compiled code raises plain exceptions without frames of the compiler, and counts as the call's.
    So does running out of memory, which another backend would do as well.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return False
    return any(module.partition(".")[0] in _COMPILERS for module in _modules(error))


def in_one_line(error: Exception) -> str:
    """Class of an exception and the first line of what it says: compilers say pages."""
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said.strip()}".rstrip(" :.")


def _modules(error: Exception) -> Iterator[str]:
    """Names of the modules of an exception's classes and of the frames that it passed."""
    yield from (kind.__module__ for kind in type(error).__mro__)
    trace = error.__traceback__
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next
