"""How this backend compiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

from numba import njit

from .disk import keep

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Function = TypeVar("Function", bound="Callable[..., Any]")

# Sums may be reordered, which lets them use vector registers; NaN and infinity keep their
# meaning (neither nnan nor ninf is set). Divisions by zero follow IEEE.
_SUMS_MAY_BE_REORDERED = {"reassoc", "contract", "nsz"}


def compiled(function: Function) -> Function:
    """Compile on first call, keep the machine code on disk, release the interpreter lock."""
    compile_ = njit(
        nogil=True, error_model="numpy", fastmath=_SUMS_MAY_BE_REORDERED, boundscheck=False
    )
    return cast("Function", keep(compile_(function)))


def inlined(function: Function) -> Function:
    """`compiled`, into each loop that calls it.

    A call hands over each array as seven words, and counts references: an atomic instruction, which
    waits for all stores on their way to memory.
    """
    compile_ = njit(
        nogil=True,
        error_model="numpy",
        fastmath=_SUMS_MAY_BE_REORDERED,
        boundscheck=False,
        forceinline=True,
    )
    return cast("Function", compile_(function))
