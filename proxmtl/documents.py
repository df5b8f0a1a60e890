"""JSON and TOML from files that nothing is known about: parsed, or an error that says what is odd.

Size, depth and numbers are bounded, so that whoever reads a document meets trees that can be walked
by recursion and numbers that become floats. Names that occur twice in a table raise.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable
from typing import Any

from proxmtl.encodings import EncodingError, decode_text
from proxmtl.limits import advice, limit

__all__ = ["DocumentError", "parse_json", "parse_toml"]

_DOTTED = r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+)"""
WIDEST = 2**63
"""Whole numbers are below this in absolute value."""


class DocumentError(ValueError):
    """A text that is no document, or one beyond the limits."""


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Parse JSON in UTF-8, or in the encoding that a byte order mark says.

    Parameters
    ----------
    content
        The text.
    finite
        Whether NaN and infinities raise; Python's own JSON may hold them.

    Raises
    ------
    DocumentError
        If the text is no JSON, is larger or deeper than the limits, names an entry of a table
        twice, or holds a number that is not finite or not below 2**63.
    """
    return _parsed(content, "JSON", _load_json if finite else _load_python_json, finite=finite)


def parse_toml(content: bytes | str) -> Any:
    """Parse TOML; encodings and errors are those of `parse_json`."""
    return _parsed(content, "TOML", _load_toml, finite=True)


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table, parse_constant=_no_number)


def _load_python_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table)


def _load_toml(text: str) -> dict[str, Any]:
    # a dotted key of n parts costs the parser n^2 of memory, so its parts are counted before
    if re.search(f"{_DOTTED}{{{limit('document_depth')}}}", text):
        raise RecursionError
    return tomllib.loads(text)


def _parsed(
    content: bytes | str, language: str, parse: Callable[[str], Any], *, finite: bool
) -> Any:
    most = limit("document_bytes")
    if len(content) > most:
        raise DocumentError(f"{len(content):,} bytes; {advice('document_bytes', len(content))}.")
    try:
        text = content if isinstance(content, str) else decode_text(content, "save it in UTF-8")
    except EncodingError as error:
        place = "" if error.line is None else f"in line {error.line}, "
        raise DocumentError(f"{place}{error}") from error
    try:
        document = parse(text)
    except RecursionError:
        document = _TooDeep
    except ValueError as error:
        raise DocumentError(f"not readable as {language} ({error}).") from error
    _check(document, finite=finite)
    return document


class _TooDeep:
    """In the place of a document that the parser itself found too deep."""


def _check(document: Any, *, finite: bool) -> None:
    """Walk a document level by level: no recursion, whatever it is."""
    most, level = limit("document_depth"), [document]
    for _ in range(most + 1):
        if document is _TooDeep:
            break
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
            elif isinstance(value, int) and abs(value) >= WIDEST:
                digits = value.bit_length() * 0.30103
                raise DocumentError(
                    f"a whole number of some {digits:.0f} digits; use one below 2**63."
                )
            elif finite and isinstance(value, float) and not math.isfinite(value):
                raise DocumentError(f"the number {value}; numbers are finite.")
        if not below:
            return
        level = below
    raise DocumentError(
        f"lists and tables are nested more than {most} deep; {advice('document_depth', 2 * most)}."
    )


def _table(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for name, value in pairs:
        if name in table:
            raise ValueError(f"{name[:80]!r} is there twice in one table")
        table[name] = value
    return table


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
