"""The three figures of a run: the latent tasks, the convergence, the scores by attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import TwoSlopeNorm

from proxmtl.report.names import distinct_names
from proxmtl.report.style import COLORS, INK, MUTED, figure_of, new_figure, on_axes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

__all__ = ["plot_attribute_scores", "plot_convergence", "plot_latents"]

LONGEST_NAME = 28
ZERO = "#d9d9d4"
"""The colour of an exact zero, darker than a weight near zero, which is white."""
CROSSED = 2000
"""Cells up to which exact zeros are crossed out, too; more crosses are a texture."""


def plot_latents(
    S: NDArray[Any],
    groups: Mapping[str, Sequence[int]],
    names: Sequence[str],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Figure:
    """Heat map of S with its group blocks: which latent task serves which attributes.

    Only live latents (rows with a nonzero) are shown, the largest first. Exact zeros are grey, with
    a cross; weights near zero are white.

    Parameters
    ----------
    S
        Shape (K, M).
    groups
        Group name -> columns. A column in several groups is drawn in the first of them.
    names
        M attribute names.
    title
        Above the figure.
    ax
        Axes to draw on, in the style that is in force; by default those of a new figure.

    Returns
    -------
    Figure
        The figure of the axes.
    """
    order, spans = _block_order(groups, S.shape[1])
    strength = np.linalg.norm(S, axis=1)
    live = [int(k) for k in np.argsort(-strength, kind="stable") if strength[k] > 0]
    shown = S[np.ix_(live, order)]

    def draw(axes: Axes) -> None:
        axes.set_facecolor(ZERO)
        if live:
            _draw_heat_map(axes, shown, spans)
        else:
            axes.text(0.5, 0.5, "no live latent task", ha="center", va="center", color=MUTED)
            axes.set(xlim=(0, S.shape[1]), ylim=(1, 0))
        axes.set_xticks(np.arange(len(order)) + 0.5, _shown(names, order), parse_math=False)
        axes.tick_params(axis="x", rotation=90 if len(order) > 6 else 0, length=0)
        axes.set_yticks(np.arange(len(live)) + 0.5, [str(k) for k in live])
        axes.tick_params(axis="y", length=0, labelsize=8 if len(live) <= 40 else 4)
        axes.set_ylabel("latent task")
        for spine in axes.spines.values():
            spine.set_visible(False)
        zeros = float(np.mean(S == 0)) if S.size else 1.0
        text = f"{len(live)} of {len(S)} latents live · {zeros:.0%} of S exactly zero (grey ×)"
        text = f"{title}\n{text}" if title else text
        if ax is None:
            figure_of(axes).suptitle(text, x=0.01, ha="left", fontsize=10)
        else:  # the rest of the figure belongs to the caller; names of groups are above the axes
            axes.set_title(text, loc="left", fontsize=10, pad=20)

    width = 2.4 + 0.3 * max(len(order), 6)
    return on_axes(ax, min(width, 24), min(2.6 + 0.22 * max(len(live), 4), 16), draw)


def _block_order(
    groups: Mapping[str, Sequence[int]], n_attributes: int
) -> tuple[list[int], list[tuple[str, int, int]]]:
    """Columns so that groups are contiguous, and (name, start, stop) of each group's block."""
    order: dict[int, None] = {}  # a set with an order
    spans = []
    for name, members in groups.items():
        fresh = [column for column in members if column not in order]
        if fresh:
            spans.append((name, len(order), len(order) + len(fresh)))
            order.update(dict.fromkeys(fresh))
    order.update(dict.fromkeys(range(n_attributes)))
    return list(order), spans


def _shown(names: Sequence[str], order: Sequence[int]) -> list[str]:
    """Names in an order, short enough to leave room for what they name."""
    return distinct_names([names[i] for i in order], LONGEST_NAME)


def _titles(spans: Sequence[tuple[str, int, int]]) -> dict[str, str]:
    """Names of groups, short enough as well."""
    names = [name for name, _, _ in spans]
    return dict(zip(names, distinct_names(names, LONGEST_NAME), strict=True))


def _annotate_block(axes: Any, title: str, middle: float, *, horizontal: bool) -> None:
    """Write the name of a group above its columns, or to the right of its rows."""
    place, of, shift = (middle, 1.0), ("data", "axes fraction"), (0, 4)
    if not horizontal:
        place, of, shift = place[::-1], of[::-1], (6, 0)
    axes.annotate(
        title,
        place,
        parse_math=False,
        xycoords=of,
        xytext=shift,
        textcoords="offset points",
        ha="center" if horizontal else "left",
        va="bottom" if horizontal else "center",
        fontweight="bold",
        fontsize=8.5,
    )


def _draw_heat_map(axes: Any, shown: NDArray[Any], spans: Sequence[tuple[str, int, int]]) -> None:
    limit = float(np.abs(shown).max())
    mesh = axes.pcolormesh(
        np.ma.masked_equal(shown, 0.0),
        cmap="RdBu_r",
        norm=TwoSlopeNorm(0.0, -limit, limit),
        edgecolors="white",
        linewidth=0.4,
    )
    if shown.size <= CROSSED:
        rows, columns = np.nonzero(shown == 0)
        axes.plot(columns + 0.5, rows + 0.5, "x", color=MUTED, markersize=4, markeredgewidth=0.8)
    axes.set(xlim=(0, shown.shape[1]), ylim=(len(shown), 0))
    named = [span for span in spans if span[2] - span[1] > 1]
    titles = _titles(spans)
    for name, start, stop in named:
        for edge in (start, stop):
            if 0 < edge < shown.shape[1]:
                axes.axvline(edge, color=INK, linewidth=1.2)
        _annotate_block(axes, titles[name], (start + stop) / 2, horizontal=True)
    bar = figure_of(axes).colorbar(mesh, ax=axes, shrink=0.8, aspect=25, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label("weight in S")


def plot_convergence(
    histories: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    returned: Mapping[str, tuple[float, float]] | None = None,
    title: str = "Convergence",
    ax: Axes | None = None,
) -> Figure:
    """Objective against passes over the data, a panel per model: their objectives differ.

    Parameters
    ----------
    histories
        Model name -> records with ``passes`` and ``objective``.
    returned
        Model name -> passes and objective of the point that was returned, marked by a ring.
    title
        Above the figure.
    ax
        Axes to draw on, of a single model, in the style that is in force; by default those of a
        new figure.

    Returns
    -------
    Figure
        The figure of the axes.

    Raises
    ------
    ValueError
        If ``ax`` is given and there are several models.
    """
    known = {name: list(history) for name, history in histories.items() if history}
    if ax is not None and len(known) > 1:
        raise ValueError(
            f"ax: there are histories of {len(known)} models, and each needs axes of its own; "
            "give one history, or no axes."
        )

    def draw(panels: Any) -> None:
        colors = _cycle(len(known))
        for axes, color, (name, history) in zip(panels, colors, known.items(), strict=False):
            passes = [record["passes"] for record in history]
            axes.plot(passes, [record["objective"] for record in history], color=color, lw=1.6)
            if returned is not None and name in returned:
                ring = {"markerfacecolor": "none", "markersize": 9, "markeredgewidth": 1.6}
                axes.plot(
                    *returned[name], "o", color=color, label="returned", clip_on=False, **ring
                )
                axes.legend()
            axes.set(xlabel="passes over the data", xlim=(0, None))
            axes.grid(visible=True)
            _scale_objective(axes, [record["objective"] for record in history])
            if len(known) > 1:
                axes.set_title(name, color=color, fontsize=9.5)
        panels[0].set_ylabel("objective")

    def draw_all(figure: Figure) -> None:
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        draw(figure.subplots(1, max(len(known), 1), squeeze=False)[0])

    if ax is None:
        return new_figure(1.2 + 3.2 * max(len(known), 1), 3.2, draw_all)
    draw([ax])
    ax.set_title(title)
    return figure_of(ax)


def _scale_objective(axes: Any, values: Sequence[float]) -> None:
    """Logarithmic over more than a decade; within one, plain numbers say more."""
    if min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", useOffset=False)


def _cycle(n: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(n)]


def plot_attribute_scores(
    scores: Mapping[str, Sequence[float]],
    groups: Mapping[str, Sequence[int]],
    names: Sequence[str],
    *,
    prevalence: Sequence[float] | None = None,
    intervals: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    metric: str = "average precision",
    title: str = "Scores by attribute",
    ax: Axes | None = None,
) -> Figure:
    """Dot plot of a score for each attribute and model, attributes in the order of their groups.

    Parameters
    ----------
    scores
        Model name -> M scores; NaN is left out.
    groups
        Group name -> columns.
    names
        M attribute names.
    prevalence
        What chance reaches, M values, drawn as small vertical bars.
    intervals
        Model name -> M lower and M upper ends, drawn as lines in place of those between models.
    metric
        Name of the score, for the axis.
    title
        Above the figure.
    ax
        Axes to draw on, in the style that is in force; by default those of a new figure.

    Returns
    -------
    Figure
        The figure of the axes.
    """
    order, spans = _block_order(groups, len(names))

    def draw(axes: Axes) -> None:
        rows = np.arange(len(order))
        if prevalence is not None:
            chance = np.asarray(prevalence, dtype=float)[order]
            axes.plot(chance, rows, "|", color=MUTED, markersize=7, label="chance")
        values = {name: np.asarray(row, dtype=float)[order] for name, row in scores.items()}
        if intervals is None and len(values) > 1:
            stacked = np.stack(list(values.values()))
            axes.hlines(rows, stacked.min(axis=0), stacked.max(axis=0), color="#c8c8c8", lw=1.5)
        for color, (name, row) in zip(_cycle(len(values)), values.items(), strict=True):
            axes.plot(row, rows, "o", color=color, markersize=5.5, alpha=0.9, label=name)
            if intervals is not None:
                low, high = (np.asarray(end, dtype=float)[order] for end in intervals[name])
                axes.hlines(rows, low, high, color=color, lw=1.2, alpha=0.5)
        for number, (_, start, stop) in enumerate(spans):
            if number % 2 == 0 and stop - start > 1:
                axes.axhspan(start - 0.5, stop - 0.5, color="#f6f6f4", zorder=0)
        titles = _titles(spans)
        for name, start, stop in spans:
            if stop - start > 1:
                _annotate_block(axes, titles[name], (start + stop - 1) / 2, horizontal=False)
        axes.set_yticks(rows, _shown(names, order), parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.set(ylim=(len(order) - 0.5, -0.5), xlabel=metric, title=title)
        axes.grid(visible=True, axis="x")
        axes.spines["left"].set_visible(False)
        if ax is None:
            figure_of(axes).legend(loc="outside lower center", ncols=min(len(scores) + 1, 4))
        else:
            axes.legend()

    return on_axes(ax, 7.2, min(1.8 + 0.21 * max(len(order), 5), 20), draw)
