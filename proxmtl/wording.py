"""Counts in sentences: one image, two images."""

from __future__ import annotations

__all__ = ["agree", "counted"]


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
