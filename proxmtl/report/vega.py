"""Vega-Lite by Altair: data, colours and axes that the charts of a report have in common.

Names come in as data and scale domains, never as parts of expressions. A page has one set of
colours for each theme, which the charts only name: ``category`` and ``diverging``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from proxmtl.report.names import distinct_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["LONGEST_NAME", "Rows", "Spec", "data", "percent_axis", "spec", "theme"]

Spec = dict[str, Any]

LONGEST_NAME = 26
HEADER = "▾ "
"""Before the name of a group, on an axis of attributes."""


def theme(*, dark: bool) -> Spec:
    """Colours and fonts of the charts of a page."""
    ink, muted, line = (
        ("#e8e8e3", "#a3a39c", "#3a3a38") if dark else ("#1f1f1d", "#62625c", "#e3e3dd")
    )
    category = (
        ["#56b4e9", "#f0803c", "#2fc79a", "#e39bc6", "#f2c14e", "#9db7ff", "#b8b8b0"]
        if dark
        else ["#0072b2", "#c8500a", "#00875f", "#b8578f", "#a87400", "#3d55c4", "#6b6b66"]
    )
    diverging = (
        ["#6cb6ff", "#3f78b5", "#2d4257", "#3f3f3d", "#573c2d", "#b5673f", "#ff9a5c"]
        if dark
        else ["#0b4f94", "#5d9fd0", "#c9dfee", "#f3f1ea", "#f6d3ba", "#e08a4f", "#a33f00"]
    )
    return {
        "background": "transparent",
        "font": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif",
        "view": {"stroke": None},
        "mark": {"color": category[0]},
        "rule": {"color": category[0]},  # whose default is black, before that of marks
        "range": {"category": category, "diverging": diverging},
        "style": {
            "zero": {"fill": muted},
            "strong": {"stroke": ink, "fill": ink},
            "chance": {"stroke": muted, "fill": muted},
            "cell": {"stroke": None},
        },
        "axis": {
            "labelColor": ink,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "gridColor": line,
            "domainColor": line,
            "tickColor": line,
            "labelFontSize": 12,
            "titleFontSize": 12,
        },
        "legend": {
            "labelColor": ink,
            "titleColor": muted,
            "titleFontWeight": "normal",
            "orient": "top",
            "labelFontSize": 12,
            "labelLimit": 130,
            "columns": 3,
        },
        "text": {"color": ink, "fill": ink},
    }


def data(rows: Iterable[Mapping[str, Any]]) -> Any:
    """Rows as the data of a chart."""
    return alt.InlineData(values=[{key: _plain(value) for key, value in r.items()} for r in rows])


def _plain(value: Any) -> Any:
    """A value as JSON has it: NaN and infinities are null, numbers have six digits."""
    if value is None or isinstance(value, str | bool):
        return value
    number = float(value)
    return float(f"{number:.6g}") if np.isfinite(number) else None


def spec(chart: Any, height: int, description: str) -> Spec:
    """Specification of a chart as wide as its place; a screen reader says the description."""
    spec: Spec = chart.properties(
        width="container", height=height, description=description, padding=2
    ).to_dict()
    return {key: value for key, value in spec.items() if key not in {"$schema", "config"}}


class Rows:
    """Attributes as rows of a chart, under the names of their groups."""

    def __init__(self, names: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
        self.shown = dict(zip(names, distinct_names(names, LONGEST_NAME), strict=True))
        self.group: dict[str, str] = {}
        domain: list[str] = []
        titles = distinct_names(list(groups), LONGEST_NAME)
        for title, members in zip(titles, groups.values(), strict=True):
            fresh = [name for name in members if name in self.shown and name not in self.group]
            if fresh:
                domain += [HEADER + title, *(self.shown[name] for name in fresh)]
                self.group.update(dict.fromkeys(fresh, title))
        rest = [self.shown[name] for name in names if name not in self.group]
        if rest and domain:
            domain.append(f"{HEADER}no group")
        self.domain = domain + rest

    def axis(self) -> Any:
        """A vertical axis with a line for each of them."""
        bold = alt.condition(
            f"slice(datum.label, 0, 2) === '{HEADER}'", alt.value(700), alt.value(400)
        )
        axis = alt.Axis(labelLimit=170, title=None, ticks=False, domain=False, labelFontWeight=bold)
        return alt.Y("attribute:N", scale=alt.Scale(domain=self.domain), axis=axis)

    def height(self, each: int) -> int:
        """Room for all lines."""
        return max(each * len(self.domain), 60)


def percent_axis(title: str, scale: Any = alt.Undefined, orient: Any = alt.Undefined) -> Spec:
    """Axis and scale of shares, for an encoding."""
    axis = alt.Axis(format="%", title=title, tickCount=5, orient=orient)
    return {"axis": axis, "scale": scale}
