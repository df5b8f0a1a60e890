"""Options that take a number or a word."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

import typer

from proxmtl.naming import no_such

__all__ = [
    "ALGORITHMS",
    "CONVEX",
    "LOSSES",
    "NETWORKS",
    "check_word",
    "latents_of",
    "memory_of",
    "strength_of",
    "threshold_of",
]

# Words that options take. What they name imports torch, and a wrong one is said before that; a test
# holds these lists to the tables of what there is.
ALGORITHMS = ("auto", "gram", "panoc", "palm", "paper")
CONVEX = ("s-extract", "ridge", "logistic-ridge", "lasso", "l21", "decorrelated")
NETWORKS = ("small", "alexnet", "alexnet_lrn", "efficientnet_lite0")
LOSSES = ("squared_hinge", "logistic", "squared", "smoothed_hinge", "huber")
THRESHOLDS = ("probability", "f1", "balanced_accuracy")


def check_word(option: str, given: str, known: Sequence[str]) -> None:
    """Raise ``ValueError`` unless an option is one of some words."""
    if given not in known:
        raise ValueError(f"--{option}: {no_such(given, known)}")


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


def ridge_of(given: float | None) -> float | None:
    """Give the ridge of --single-task, if it is given.

    Raises
    ------
    typer.BadParameter
        If it isn't a positive, finite number.
    """
    if given is not None and not 0 < given < math.inf:
        raise typer.BadParameter("Give a positive, finite ridge")
    return given


def threshold_of(given: str) -> str | float:
    """Give the threshold of an option: a number where it is one, else the name of a criterion.

    Raises
    ------
    ValueError
        If it is neither a probability nor one of the criteria.
    """
    try:
        found = float(given)
    except ValueError:
        if given not in THRESHOLDS:
            words = no_such(given, THRESHOLDS)
            raise ValueError(f"--threshold: {words} A probability will do, too.") from None
        return given
    if not 0 < found < 1:
        raise ValueError(f"--threshold: got {given}; give a probability between 0 and 1.")
    return found


def memory_of(given: str | None) -> int | None:
    """Give the bytes of an option; None where it was not given.

    Raises
    ------
    ValueError
        If it is no size of a byte or more.
    """
    if given is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(?:([KMGT])(i?)B?|B)?\s*", given, re.IGNORECASE)
    unit, binary = (found.group(2) or "", found.group(3)) if found else ("", "")
    power = " KMGT".index(unit.upper()) if unit else 0
    size = int(float(found.group(1)) * (1024 if binary else 1000) ** power) if found else 0
    if size < 1:
        raise ValueError(f"--memory: got {given}; give bytes, or a size such as 4GiB or 500MB.")
    return size
