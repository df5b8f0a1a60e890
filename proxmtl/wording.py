"""What is said: counts in sentences, and warnings that point at the line of the caller."""

from __future__ import annotations

import sys
import warnings

__all__ = ["agree", "counted", "warn"]

INSIDE = ("proxmtl", "torch")
"""Packages whose lines say nothing to the caller; torch's decorators are on the way."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Put a number before its noun, in the right form: ``1 image``, ``0 images``.

    Parameters
    ----------
    number
        How many.
    one
        The noun for one, perhaps with an adjective: ``"held-out row"``.
    many
        For any other number; default: an ``s`` more.
    """
    return f"{number} {agree(number, one, f'{one}s' if many is None else many)}"


def agree(number: int, one: str, many: str) -> str:
    """Choose the form of a word that agrees with a number: ``is`` or ``are``."""
    return one if number == 1 else many


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn about the line outside this package that led here, however deep in it this is."""
    level, frame = 2, sys._getframe(1)  # noqa: SLF001 - warnings looks there too
    while _is_inside(frame.f_globals) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in INSIDE
