"""Roofline of a result file: what each kernel reaches under the machine's two ceilings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def plot(result: dict[str, Any], target: Path) -> None:
    """Draw GFLOP/s against flops per byte.

    Each result is drawn at its fraction of the ceiling measured in the same minute, under the
    median ceilings of the file. A copy's ceiling is drawn as the read's, a bfloat16 product's as
    the float32 one's.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    rows = result["rows"]
    read = float(np.median([row["ceilings"]["read"] for row in rows]))
    peak = float(np.median([row["ceilings"]["flops"] for row in rows]))
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    low = min([row["intensity"] for row in rows], default=0.1) / 3
    high = max([row["intensity"] for row in rows] + [peak / read]) * 3
    intensity = np.geomspace(low, high, 200)
    axes.loglog(intensity, np.minimum(peak, read * intensity), color="black", label="ceiling")
    names = sorted({row["case"] for row in rows})
    colours = dict(
        zip(names, plt.get_cmap("tab20")(np.linspace(0, 1, max(1, len(names)))), strict=True)
    )
    for row in rows:
        ours = row["contender"].startswith("ours/")
        axes.plot(
            row["intensity"],
            row["fraction_of_limit"]
            * (peak if row["limit"].startswith("flops") else read * row["intensity"]),
            "o" if ours else "_",
            color=colours[row["case"]],
            label=row["case"] if ours else None,
        )
    axes.set_xlabel("flops per byte of the floor")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"{result['device']}: ours (dots) and competing forms (dashes)")
    axes.legend(fontsize=7, loc="lower right")
    figure.savefig(target)
    plt.close(figure)
