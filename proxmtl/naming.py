"""Names that people write in several files: found in either form of Unicode, or the nearest."""

from __future__ import annotations

import difflib
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NameIndex", "fitting", "name_key"]

MOST = 2000
"""Names up to which the nearest is looked for: each is compared letter by letter."""

LONGEST = 3000
"""Characters of a sentence: it may quote a name, and a name may be as long as the file."""


def fitting(sentence: str) -> str:
    """Leave out the middle of a very long sentence, which quotes what it saw."""
    if len(sentence) <= LONGEST:
        return sentence
    cut = f" [... {len(sentence) - LONGEST} characters ...] "
    return f"{sentence[: LONGEST // 2]}{cut}{sentence[-LONGEST // 2 :]}"


def name_key(name: str) -> str:
    """Form in which a name is compared with others: composed (NFC), without blanks around it."""
    if name.isascii() and name == name.strip():
        return name
    return unicodedata.normalize("NFC", name).strip()


class NameIndex:
    """Places of names in a list.

    Parameters
    ----------
    names
        Distinct.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._place = {name: i for i, name in enumerate(names)}
        self._by_key: dict[str, int] | None = None

    def place(self, name: str) -> int | None:
        """Where a name is, or one that differs in the form of Unicode or in blanks around it."""
        if name in self._place:
            return self._place[name]
        if self._by_key is None:
            self._by_key = _unambiguous(self._names)
        return self._by_key.get(name_key(name))

    def advice(self, name: str) -> str:
        """Say which name in the list may have been meant, as the end of a sentence."""
        meant = self.nearest(name)
        return "check the spelling." if meant is None else f"check the spelling: is it {meant!r}?"

    def nearest(self, name: str) -> str | None:
        """The name in the list that is most like another one, if there is one like it."""
        lower = name_key(name).casefold()
        same = (known for known in self._names if name_key(known).casefold() == lower)
        found = next(same, None)
        if found is None and len(self._names) <= MOST:
            found = next(iter(difflib.get_close_matches(name, self._names, 1)), None)
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
