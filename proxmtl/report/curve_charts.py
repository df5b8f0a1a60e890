"""Charts of curves: convergence, strengths of a search, reliability of probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt
import numpy as np

from proxmtl.experiments.intervals import accuracy_interval
from proxmtl.report.vega import Spec, data, percent_axis, spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxmtl.report.runs import HeldOut

__all__ = ["curve_chart", "reliability_chart", "search_chart"]

MOST_RECORDS = 300
"""Of a curve: more are thinned out."""


def reliability_chart(held_out: Mapping[str, HeldOut], bins: int = 10) -> Spec:
    """Observed shares of yes against predicted probabilities, over all attributes."""
    rows = []
    for label, seen in held_out.items():
        if seen.probabilities is None:
            continue
        known = ~np.isnan(seen.labels)
        p, y = seen.probabilities[known], seen.labels[known]
        place = np.minimum((p * bins).astype(int), bins - 1)
        counts = np.bincount(place, minlength=bins)
        for b in np.flatnonzero(counts):
            inside = place == b
            share = float(y[inside].sum()) / counts[b]
            low, high = accuracy_interval(share, counts[b])
            predicted = float(p[inside].sum()) / counts[b]
            rows.append(
                {
                    "model": label,
                    "predicted": predicted,
                    "observed": share,
                    "low": low,
                    "high": high,
                    "labels": int(counts[b]),
                }
            )
    labels = list(dict.fromkeys(row["model"] for row in rows))
    whole = alt.Scale(domain=[0, 1])
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("predicted:Q", format=".1%"),
        alt.Tooltip("observed:Q", format=".1%"),
        alt.Tooltip("low:Q", title="from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("labels:Q"),
    ]
    legend = alt.Legend(title=None) if len(labels) > 1 else None
    scale = alt.Scale(domain=labels, range="category")
    base = alt.Chart(data(rows)).encode(
        x=alt.X("predicted:Q", **percent_axis("predicted probability of yes", whole)),
        color=alt.Color("model:N", scale=scale, legend=legend),
        tooltip=tooltip,
    )
    ideal = alt.Chart(data([{"a": 0, "b": 0}, {"a": 1, "b": 1}]))
    diagonal = ideal.mark_line(color="#8c8c86", strokeDash=[4, 4], strokeWidth=1).encode(
        x="a:Q", y="b:Q"
    )
    rule = base.mark_rule(strokeWidth=1.5, opacity=0.65).encode(
        y=alt.Y("low:Q", **percent_axis("share that is yes", whole)), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=1.5).encode(y="observed:Q")
    point = base.mark_circle(size=50, opacity=1).encode(y="observed:Q")
    return spec(alt.layer(diagonal, rule, line, point), 320, "Reliability of probabilities")


def curve_chart(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_title: str,
    y_title: str,
    returned: Mapping[str, tuple[float, float]] | None = None,
    percent: bool = False,
) -> Spec:
    """Curves of some models; the points that were returned have a ring.

    Parameters
    ----------
    curves
        Label -> points.
    x_title, y_title
        Of the axes.
    returned
        Label -> the point of the model in the folder.
    percent
        Whether the values are shares.
    """
    ends = returned or {}
    rows: list[dict[str, Any]] = [
        {"model": label, "x": a, "y": b, "order": order}
        for label, curve in curves.items()
        for order, (a, b) in enumerate(
            [*_thinned(list(curve)), *([ends[label]] if label in ends else [])]
        )
        if np.isfinite(a) and np.isfinite(b)
    ]
    values = [row["y"] for row in rows]
    logarithmic = (
        not percent and bool(values) and min(values) > 0 and max(values) > 10 * min(values)
    )
    scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(zero=False)
    form = ".3~%" if percent else f".{_digits(values)}~g"
    horizontal = alt.Axis(title=x_title, tickCount=6, tickMinStep=1)  # whole numbers
    vertical = alt.Axis(title=y_title, format=form, tickCount=5)
    if logarithmic:
        vertical = alt.Axis(title=y_title, format=".0e", values=_decades(min(values), max(values)))
    legend = alt.Legend(title=None) if len(curves) > 1 else None
    colors = alt.Scale(domain=list(curves), range="category")
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("x:Q", title=x_title, format=".4g"),
        alt.Tooltip("y:Q", title=y_title, format=".1%" if percent else ".4g"),
    ]
    encoding = {
        "x": alt.X("x:Q", axis=horizontal),
        "y": alt.Y("y:Q", scale=scale, axis=vertical),
        "color": alt.Color("model:N", scale=colors, legend=legend),
        "tooltip": tooltip,
    }
    base = alt.Chart(data(rows)).encode(**encoding)
    line = base.mark_line(strokeWidth=1.8, point=alt.OverlayMarkDef(size=16)).encode(
        order="order:Q"
    )
    layers = [line]
    if ends:
        points = [{"model": label, "x": a, "y": b} for label, (a, b) in ends.items()]
        ring = alt.Chart(data(points)).mark_point(size=150, strokeWidth=2.5)
        layers.append(ring.encode(**encoding))
    return spec(alt.layer(*layers), 230, f"{y_title} against {x_title}")


def _digits(values: Sequence[float]) -> int:
    """Significant digits by which five ticks over the range of some values differ."""
    if len(set(values)) < 2:
        return 3
    ticks = 5 * np.abs(values).max() / np.ptp(values)
    return int(np.clip(np.ceil(np.log10(ticks)) + 1, 3, 9))


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between two numbers, seven at most."""
    first, last = int(np.ceil(np.log10(low))), int(np.floor(np.log10(high)))
    step = max(1, -(-(last - first + 1) // 7))
    return [10.0**power for power in range(first, last + 1, step)]


def _thinned(curve: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(curve) <= MOST_RECORDS:
        return curve
    kept = np.unique(np.linspace(0, len(curve) - 1, MOST_RECORDS).astype(int))
    return [curve[i] for i in kept]


def search_chart(
    rows: Sequence[Mapping[str, Any]], *, x: str, y: str, other: str | None, percent: bool
) -> Spec:
    """Scores of a search against a strength, a line for each value of another one."""
    shown = list(rows)
    tooltip = [
        alt.Tooltip("x:Q", title=x, format=".3g"),
        *([alt.Tooltip("other:N", title=other)] if other else []),
        alt.Tooltip("y:Q", title=y, format=".2%" if percent else ".5g"),
    ]
    axis = alt.Axis(title=y, format=".3~%" if percent else ".3~g", tickCount=6)
    tried = sorted({float(row["x"]) for row in shown})
    ticks = alt.Axis(title=x, values=tried, format=".2~g", labelOverlap="greedy")
    base = alt.Chart(data(shown)).encode(
        x=alt.X("x:Q", scale=alt.Scale(type="log", nice=False, padding=12), axis=ticks),
        y=alt.Y("y:Q", scale=alt.Scale(zero=False), axis=axis),
        tooltip=tooltip,
    )
    if other:
        domain = list(dict.fromkeys(str(row["other"]) for row in shown))
        legend = alt.Legend(title=other) if len(domain) <= 9 else None
        scale = alt.Scale(domain=domain, range="category")
        base = base.encode(color=alt.Color("other:N", scale=scale, legend=legend))
    rule = base.mark_rule(strokeWidth=1.2, opacity=0.6).encode(y="low:Q", y2="high:Q")
    line = base.mark_line(strokeWidth=1.5)
    point = base.mark_circle(size=45, opacity=1)
    layers = [rule, line, point]
    best = [row for row in shown if row["best"]]
    if best:
        ring = base.mark_point(size=190, strokeWidth=2.5)
        ring.data = data(best)
        layers.append(ring)
    return spec(alt.layer(*layers), 260, f"{y} against {x}")
