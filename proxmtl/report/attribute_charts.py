"""Charts with a line for each attribute, or each latent task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np

from proxmtl.report.names import distinct_names
from proxmtl.report.vega import LONGEST_NAME, Rows, Spec, data, percent_axis, spec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.runs import Latents, Model

__all__ = ["attribute_chart", "difference_chart", "importance_chart", "latent_chart"]

MOST_MARKED = 2000
"""Cells of a heat map in which exact zeros have a mark of their own."""


def attribute_chart(
    models: Sequence[tuple[Model, pd.DataFrame]],
    names: Sequence[str],
    groups: Mapping[str, Sequence[str]],
) -> Spec:
    """Average precision by attribute with intervals, coloured by group or by model."""
    lines = Rows(names, groups)
    several = len(models) > 1
    rows = [
        {
            "attribute": lines.shown[name],
            "group": lines.group.get(name, "no group"),
            "model": model.label,
            "ap": row["ap"],
            "low": row["ap_low"],
            "high": row["ap_high"],
            "chance": row["prevalence"],
            "positives": row["positives"],
            "labels": row["labels"],
        }
        for model, table in models
        for name, row in table.to_dict("index").items()
        if name in lines.shown and np.isfinite(row["ap"])
    ]
    tooltip = [
        alt.Tooltip("attribute:N"),
        *([alt.Tooltip("model:N")] if several else []),
        *([alt.Tooltip("group:N")] if lines.group else []),
        alt.Tooltip("ap:Q", title="AP", format=".1%"),
        alt.Tooltip("low:Q", title="from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("chance:Q", format=".1%"),
        alt.Tooltip("positives:Q", title="positive labels"),
        alt.Tooltip("labels:Q"),
    ]
    base = alt.Chart(data(rows)).encode(y=lines.axis(), tooltip=tooltip)
    if several:
        labels = [model.label for model, _ in models]
        base = base.encode(
            yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=labels)),
            color=alt.Color(
                "model:N", title=None, scale=alt.Scale(domain=labels, range="category")
            ),
        )
    elif lines.group:
        kinds = list(dict.fromkeys(row["group"] for row in rows))
        legend = alt.Legend(title=None) if len(kinds) <= 7 else None
        scale = alt.Scale(domain=kinds, range="category")
        base = base.encode(color=alt.Color("group:N", scale=scale, legend=legend))
    whole = alt.Scale(domain=[0, 1])
    chance = base.mark_tick(style="chance", thickness=1.5, size=11).encode(
        x=alt.X("chance:Q", **percent_axis("average precision (grey ticks: chance)", whole, "top")),
        color=alt.value("#8c8c86"),
    )
    rule = base.mark_rule(strokeWidth=1.5, opacity=0.65).encode(x="low:Q", x2="high:Q")
    point = base.mark_circle(size=52, opacity=1).encode(x="ap:Q")
    each = 21 if not several else 8 + 11 * len(models)
    return spec(
        alt.layer(chance, rule, point), lines.height(each), "Average precision by attribute"
    )


def difference_chart(
    comparisons: Sequence[Comparison], names: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Spec:
    """Differences of AP to the first model by attribute, with paired intervals where known."""
    there = {name for comparison in comparisons for name in comparison.table.index}
    lines = Rows([name for name in names if name in there], groups)
    rows = [
        {
            "attribute": lines.shown[name],
            "model": comparison.label,
            **{key: 100 * value for key, value in row.items()},
        }
        for comparison in comparisons
        for name, row in comparison.table.to_dict("index").items()
        if name in lines.shown
    ]
    labels = [comparison.label for comparison in comparisons]
    tooltip = [
        alt.Tooltip("attribute:N"),
        alt.Tooltip("model:N"),
        alt.Tooltip("difference:Q", format="+.1f"),
        alt.Tooltip("low:Q", title="from", format="+.1f"),
        alt.Tooltip("high:Q", title="to", format="+.1f"),
    ]
    scale = alt.Scale(domain=labels, range="category")
    base = alt.Chart(data(rows)).encode(
        y=lines.axis(),
        yOffset=alt.YOffset("model:N", scale=alt.Scale(domain=labels)),
        color=alt.Color("model:N", title=None, scale=scale),
        tooltip=tooltip,
    )
    title = f"points of AP more than {_short(comparisons[0].reference)}"
    axis = alt.Axis(title=title, format="+.3~g", orient="top", tickCount=6)
    zero = alt.Chart(data([{"zero": 0}])).mark_rule(style="strong").encode(x="zero:Q")
    rule = base.mark_rule(strokeWidth=1.5, opacity=0.65).encode(x="low:Q", x2="high:Q")
    point = base.mark_circle(size=52, opacity=1).encode(x=alt.X("difference:Q", axis=axis))
    height = lines.height(10 + 11 * len(labels))
    return spec(alt.layer(zero, rule, point), height, "Differences of average precision")


def _short(name: str) -> str:
    return distinct_names([name], LONGEST_NAME)[0]


def latent_chart(
    latents: Latents, names: Sequence[str], groups: Mapping[str, Sequence[str]], most: int
) -> tuple[Spec, int]:
    """Heat map of S, live latents in their order; the number of those that are shown.

    At most `most` cells, but a latent task in any case.
    """
    lines = Rows(names, groups)
    live = latents.order[: max(most // max(len(names), 1), 1)]
    cells = [
        {
            "attribute": lines.shown[name],
            "latent": str(k),
            "weight": latents.S[k, column],
        }
        for column, name in enumerate(names)
        for k in live
    ]
    marked = len(cells) <= MOST_MARKED
    nonzero = [cell for cell in cells if cell["weight"] != 0]
    zeros = [cell for cell in cells if cell["weight"] == 0] if marked else []
    tooltip = [
        alt.Tooltip("attribute:N"),
        alt.Tooltip("latent:N"),
        alt.Tooltip("weight:Q", format=".3g"),
    ]
    limit = float(np.abs(latents.S).max()) or 1.0
    x = alt.X(
        "latent:N",
        scale=alt.Scale(domain=[str(k) for k in live]),
        axis=alt.Axis(
            title="latent task, the largest first", labelAngle=0, orient="top", ticks=False
        ),
    )
    color = alt.Color(
        "weight:Q",
        scale=alt.Scale(domain=[-limit, 0, limit], range="diverging", interpolate="rgb"),
        legend=alt.Legend(title="weight in S", gradientLength=160, format=".2g"),
    )
    filled = (
        alt.Chart(data(nonzero))
        .mark_rect(style="nonzero", stroke="#8885", strokeWidth=0.8)
        .encode(y=lines.axis(), x=x, color=color, tooltip=tooltip)
    )
    empty = (
        alt.Chart(data(zeros))
        .mark_text(style="zero", text="×", fontSize=10, opacity=0.75)
        .encode(y=lines.axis(), x=x, tooltip=tooltip)
    )
    each = 18 if len(names) <= 120 else 14
    return spec(alt.layer(filled, empty), lines.height(each), "Weights of S"), len(live)


def importance_chart(latents: Latents) -> Spec:
    """Share of each live latent in the sizes of all, and how many attributes use it."""
    sizes = latents.importance
    total = float(sizes.sum()) or 1.0
    shown = latents.order[:40]
    rows = [
        {"latent": str(k), "share": sizes[k] / total, "attributes": np.count_nonzero(latents.S[k])}
        for k in shown
    ]
    x = alt.X("share:Q", **percent_axis("share of the size of all latent tasks"))
    domain = alt.Scale(domain=[row["latent"] for row in rows])
    axis = alt.Axis(title="latent task", ticks=False, domain=False)
    base = alt.Chart(data(rows)).encode(
        y=alt.Y("latent:N", scale=domain, axis=axis),
        x=x,
        tooltip=[
            alt.Tooltip("latent:N"),
            alt.Tooltip("share:Q", format=".1%"),
            alt.Tooltip("attributes:Q"),
        ],
    )
    bar = base.mark_bar(cornerRadiusEnd=2, height={"band": 0.7})
    return spec(bar, max(20 * len(rows), 60), "Importance of latent tasks")
