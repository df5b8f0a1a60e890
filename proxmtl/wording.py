"""Helpers for messages: counts with their nouns, and warnings that point at the caller's line."""

from __future__ import annotations

import sys
import warnings

__all__ = ["agree", "counted", "warn"]

INSIDE = ("proxmtl", "torch")
"""Packages whose frames a warning skips; torch's decorators put frames between ours."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun, singular or plural: ``1 image``, ``0 images``.

    Parameters
    ----------
    number
        The number.
    one
        The singular, possibly with an adjective: ``"held-out row"``.
    many
        The plural; default: the singular plus ``s``.
    """
    return f"{number} {agree(number, one, f'{one}s' if many is None else many)}"


def agree(number: int, one: str, many: str) -> str:
    """Choose the form of a word that agrees with a number, such as ``is`` or ``are``."""
    return one if number == 1 else many


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the innermost line of the stack outside this package."""
    level, frame = 2, sys._getframe(1)  # noqa: SLF001 - warnings looks there too
    while _is_inside(frame.f_globals) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _is_inside(names: dict[str, object]) -> bool:
    return str(names.get("__name__")).partition(".")[0] in INSIDE
