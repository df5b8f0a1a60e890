"""Schemas of documents: composable checks that raise ``ValueError`` for invalid values.

A check takes a value and its place in the document::

    check = table({"names": sequence(text), "share": number(0, 1)}, optional={"note": text})
    check(document, "description")  # ValueError: description.share: 'x', and a number from 0 ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from reprlib import repr as shortened
from typing import Any, TypeAlias

__all__ = ["Check", "anything", "either", "flag", "null", "number", "sequence", "table", "tables"]
__all__ += ["text", "whole"]

Check: TypeAlias = Callable[[Any, str], None]


def _wrong(value: Any, place: str, needed: str) -> ValueError:
    return ValueError(f"{place}: {shortened(value)}, and {needed} is needed")


def anything(value: Any, place: str) -> None:
    """Any value."""


def null(value: Any, place: str) -> None:
    """``null``, Python's None."""
    if value is not None:
        raise _wrong(value, place, "null")


def text(value: Any, place: str) -> None:
    """A string."""
    if not isinstance(value, str):
        raise _wrong(value, place, "text")


def flag(value: Any, place: str) -> None:
    """``true`` or ``false``."""
    if not isinstance(value, bool):
        raise _wrong(value, place, "true or false")


def number(low: float = float("-inf"), high: float = float("inf")) -> Check:
    """A number within bounds."""

    def check(value: Any, place: str) -> None:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise _wrong(value, place, f"a number from {low} to {high}")

    return check


def whole(low: int, high: int) -> Check:
    """A whole number within bounds."""

    def check(value: Any, place: str) -> None:
        right = isinstance(value, int) and not isinstance(value, bool)
        if not right or not low <= value <= high:
            raise _wrong(value, place, f"a whole number from {low} to {high}")

    return check


def sequence(of: Check, length: int | None = None) -> Check:
    """A list, of a length where one is given."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or length not in (None, len(value)):
            raise _wrong(value, place, f"a list{'' if length is None else f' of {length}'}")
        for i, item in enumerate(value):
            of(item, f"{place}[{i}]")

    return check


def tables(of: Check) -> Check:
    """A table with entries of any names, all alike."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, place, "a table")
        for name, item in value.items():
            of(item, f"{place}.{name[:40]}")

    return check


def table(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """A table with known entries; others are left alone."""
    known = {**required, **(optional or {})}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, place, "a table")
        for name in required:
            if name not in value:
                raise ValueError(f"{place}: has no {name!r}")
        for name, item in value.items():
            known.get(name, anything)(item, f"{place}.{name[:40]}")

    return check


def either(*checks: Check) -> Check:
    """What satisfies one of several checks; the error is that of the last."""

    def check(value: Any, place: str) -> None:
        for one in checks[:-1]:
            try:
                one(value, place)
            except ValueError:
                continue
            return
        checks[-1](value, place)

    return check
