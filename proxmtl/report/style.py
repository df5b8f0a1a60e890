"""One look for all figures, without touching matplotlib's global state."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from proxmtl.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

__all__ = ["COLORS", "INK", "MUTED", "figure_of", "new_figure", "on_axes", "save_figure"]

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's palette, distinguishable with the common forms of colour blindness."""

INK = "#222222"
MUTED = "#8a8a8a"

_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "figure.facecolor": "white",
}


def new_figure(width: float, height: float, draw: Callable[[Figure], None]) -> Figure:
    """Make a figure in the house style; `draw` fills it.

    Parameters
    ----------
    width, height
        Size in inches.
    draw
        Called with the empty figure. The style is in force only while it runs.
    """
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # keys are literals only in later stubs
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
    return figure


def on_axes(axes: Axes | None, width: float, height: float, draw: Callable[[Axes], None]) -> Figure:
    """Draw on given axes in the style that is in force, or on those of a new figure in ours.

    Parameters
    ----------
    axes
        None for a new figure.
    width, height
        Size of a new figure, in inches.
    draw
        Called with the axes.
    """
    if axes is None:
        return new_figure(width, height, lambda figure: draw(figure.subplots()))
    draw(axes)
    return figure_of(axes)


def figure_of(axes: Axes) -> Figure:
    """Return the figure that axes belong to, also where they are in a part of it (a subfigure)."""
    figure = axes.get_figure()
    while not isinstance(figure, Figure):
        if figure is None:
            raise ValueError("ax: belongs to no figure.")
        figure = figure.figure
    return figure


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 160) -> None:
    """Write a figure as PNG, atomically; letters that the font lacks are drawn as boxes."""
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from")
        figure.savefig(temporary, dpi=dpi, format="png")
