"""Lookup of names that people repeat across files: Unicode forms, blanks, and close matches."""

from __future__ import annotations

import difflib
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["NameIndex", "fitting", "name_key", "no_such"]

MOST = 2000
"""Close matches are sought in lists of at most this many names: each comparison is slow."""

LONGEST = 3000
"""Limit of the characters of an error message, which may quote a name as long as a file."""


def fitting(sentence: str) -> str:
    """Cut out the middle of a very long error message."""
    if len(sentence) <= LONGEST:
        return sentence
    cut = f" [... {len(sentence) - LONGEST} characters ...] "
    return f"{sentence[: LONGEST // 2]}{cut}{sentence[-LONGEST // 2 :]}"


def no_such(given: object, known: Iterable[str]) -> str:
    """Return an error's sentence on a word that is none of those known, and the nearest of these.

    >>> no_such("logistc", ["squared", "logistic"])
    "got 'logistc'; use 'squared' or 'logistic'. Did you mean 'logistic'?"
    """
    *others, last = names = list(known)
    words = f"{', '.join(map(repr, others))} or {last!r}" if others else repr(last)
    meant = NameIndex(names).nearest(given) if isinstance(given, str) else None
    return f"got {given!r}; use {words}.{'' if meant is None else f' Did you mean {meant!r}?'}"


def name_key(name: str) -> str:
    """Normal form in which names are compared: Unicode NFC, without surrounding blanks."""
    if name.isascii() and name == name.strip():
        return name
    return unicodedata.normalize("NFC", name).strip()


class NameIndex:
    """Finds the index of a name in a list, and close matches of unknown names.

    Parameters
    ----------
    names
        Distinct names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._place = {name: i for i, name in enumerate(names)}
        self._by_key: dict[str, int] | None = None

    def place(self, name: str) -> int | None:
        """Index of a name, or of the only one with the same :func:`name_key`; else None."""
        if name in self._place:
            return self._place[name]
        if self._by_key is None:
            self._by_key = _unambiguous(self._names)
        return self._by_key.get(name_key(name))

    def advice(self, name: str) -> str:
        """Return the end of an error message, which suggests a name of the list."""
        meant = self.nearest(name)
        return "check the spelling." if meant is None else f"check the spelling: is it {meant!r}?"

    def nearest(self, name: str) -> str | None:
        """The name in the list that is most similar to ``name``; None if none is similar."""
        lower = name_key(name).casefold()
        same = (known for known in self._names if name_key(known).casefold() == lower)
        found = next(same, None)
        if found is None and len(self._names) <= MOST:
            folded = {known.casefold(): known for known in reversed(self._names)}
            near = difflib.get_close_matches(lower, folded, 1)
            found = folded[near[0]] if near else None
        return found


def _unambiguous(names: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    twice = set()
    for place, name in enumerate(names):
        key = name_key(name)
        if key in found:
            twice.add(key)
        found[key] = place
    return {key: place for key, place in found.items() if key not in twice}
