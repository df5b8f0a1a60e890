"""Parsers of JSON and TOML for untrusted files, with errors that say what is wrong.

Size, nesting depth and magnitude of numbers are bounded: callers can walk a document by recursion
and convert its numbers to floats. Repeated keys raise.
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
"""Integers must be below this in absolute value."""


class DocumentError(ValueError):
    """A text that cannot be parsed, or that exceeds a limit."""


def parse_json(content: bytes | str, *, finite: bool = True) -> Any:
    """Parse JSON, encoded in UTF-8 or in the encoding of its byte order mark.

    Parameters
    ----------
    content
        The text.
    finite
        Whether NaN and infinities raise; Python's ``json`` module writes and reads them.

    Raises
    ------
    DocumentError
        If the text is not JSON, exceeds the limits of size or depth, repeats a key in an object, or
        contains a number that is not finite (with ``finite``) or an integer of 2**63 or more.
    """
    return _parsed(content, "JSON", _load_json if finite else _load_python_json, finite=finite)


def parse_toml(content: bytes | str) -> Any:
    """Parse TOML, with the encodings and errors of `parse_json`."""
    return _parsed(content, "TOML", _load_toml, finite=True)


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table, parse_constant=_no_number)


def _load_python_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_table)


def _load_toml(text: str) -> dict[str, Any]:
    # the parser takes memory of order n^2 for a dotted key of n parts, so count the parts first
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
    """Stands for a document that exceeded the recursion limit of the parser."""


def _check(document: Any, *, finite: bool) -> None:
    """Check depth and numbers of a document, level by level, without recursion."""
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
