"""How this backend compiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from numba import njit
from numba.extending import register_jitable

from .disk import keep

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., Any]")

# Sums may be reordered, which lets them use vector registers; NaN and infinity keep their
# meaning (neither nnan nor ninf is set). Divisions by zero follow IEEE.
_SUMS_MAY_BE_REORDERED = {"reassoc", "contract", "nsz"}
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": _SUMS_MAY_BE_REORDERED,
    "boundscheck": False,
}


def compiled(function: Function) -> Function:
    """Compile on first call, keep the machine code on disk, release the interpreter lock."""
    return cast("Function", keep(njit(**_OPTIONS)(function)))


def compiled_exactly(function: Function) -> Function:
    """`compiled`, with every operation where it stands.

    Reordered, ``(x * unit) * (x * unit)`` becomes ``x * x * (unit * unit)``, which overflows.
    """
    # said, not left out: what is left out is taken over from the caller that is being compiled
    return cast("Function", keep(njit(**{**_OPTIONS, "fastmath": False})(function)))


def inlined(function: Function) -> Function:
    """`compiled`, into each loop that calls it.

    A call hands over each array as seven words, and counts references: an atomic instruction, which
    waits for all stores on their way to memory.
    """
    return cast("Function", njit(**_OPTIONS, forceinline=True)(function))


def compiled_with_callers(function: Callable[..., Any]) -> None:
    """Let a plain function, which stays one, be called by compiled ones.

    A compiled function that is handed to another as an argument has a type of its own in every
    process, and what was compiled for it is of no use to the next.
    """
    register_jitable(**_OPTIONS)(function)
