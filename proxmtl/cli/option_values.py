"""Options that take a number or a word."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["latents_of", "strength_of", "threshold_of"]


def latents_of(given: str | None) -> int | Literal["auto"] | None:
    """Give the number of latent tasks of an option.

    Raises
    ------
    ValueError
        If it is neither a number from 1 on nor "auto".
    """
    if given is None:
        return None
    if given == "auto":
        return "auto"
    if not (given.isascii() and given.isdigit() and int(given) >= 1):
        raise ValueError(f"--n-latents: got {given!r}; give a whole number from 1 on, or auto.")
    return int(given)


def strength_of(option: str, given: str) -> float | Literal["auto"]:
    """Give the strength of an option.

    Raises
    ------
    ValueError
        If it is neither a positive number nor "auto".
    """
    if given == "auto":
        return "auto"
    try:
        found = float(given)
    except ValueError:
        found = math.nan
    if not found > 0:
        raise ValueError(f"--{option}: got {given}; give a positive number, or auto.")
    return found


def threshold_of(given: str) -> str | float:
    """Give the threshold of an option: a number where it is one, else the name of a criterion."""
    try:
        return float(given)
    except ValueError:
        return given
