"""Objects as small tables in notebooks, and as one line elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from html import escape

__all__ = ["Shown", "html_table"]

MOST = 12
"""Lines of a table, parts of a list; further ones are counted."""
LONGEST = 160
"""Signs of a value."""


class Shown:
    """An object that is shown by some of its attributes: as a table in notebooks, else as a line.

    A class names them in ``_SHOWN``; those that an object lacks are left out.
    """

    _SHOWN: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = (f"{name}={_line(value)}" for name, value in self._shown_values().items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self._shown_values())

    def _shown_values(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self._SHOWN if hasattr(self, name)}


def html_table(title: str, values: Mapping[str, object]) -> str:
    """Make a table of two columns, names and values; everything in it is text.

    Numbers are rounded to six digits, arrays given by type and shape; what is `Shown` is a table in
    the table.
    """
    shown = list(values.items())[:MOST]
    lines = [f"<tr><th>{_name(name)}</th><td>{_cell(value)}</td></tr>" for name, value in shown]
    if len(values) > MOST:
        lines.append(f"<tr><td></td><td>and {len(values) - MOST} more</td></tr>")
    head = f'<tr><th colspan="2">{escape(title)}</th></tr>'
    style = ' style="text-align: left"'
    body = "".join([head, *lines]).replace("<th", f"<th{style}").replace("<td", f"<td{style}")
    return f"<table>{body}</table>"


def _name(name: str) -> str:
    return escape(name.replace("_", " "))


def _cell(value: object) -> str:
    if isinstance(value, Shown):
        return value._repr_html_()
    text = " ".join(_text(value).split())
    return escape(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def _line(value: object) -> str:
    """A value in ASCII, as far as names in it are: terminals may have nothing else."""
    text = " ".join(_text(value).split()).replace(" × ", " x ")
    return "none" if text == "–" else text


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return "–" if value is None else value
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return _joined([f"{key}: {_text(part)}" for key, part in value.items()])
    if isinstance(value, tuple | list):
        return _joined([_text(part) for part in value]) or "–"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        return f"{value.dtype}, {' × '.join(map(str, shape)) or 'one number'}"
    if type(value).__repr__ is object.__repr__:
        return type(value).__name__
    return repr(value)


def _joined(parts: list[str]) -> str:
    more = f" and {len(parts) - MOST} more" if len(parts) > MOST else ""
    return ", ".join(parts[:MOST]) + more
