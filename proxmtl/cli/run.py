"""The contents of a run folder, written by ``fit`` and ``demo`` alike."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from proxmtl import __version__
from proxmtl.io import save_model, write_json, write_text
from proxmtl.report import plot_attribute_scores, plot_convergence, plot_latents, save_figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxmtl.estimators.base import LinearAttributeClassifier
    from proxmtl.groups import Groups

__all__ = [
    "environment",
    "group_columns",
    "named_groups",
    "summary_lines",
    "write_figures",
    "write_run",
]


def named_groups(groups: Groups | None) -> Groups | None:
    """The groups where they say something: not when every attribute is alone."""
    return None if groups is None or int(groups.sizes.max()) == 1 else groups


def group_columns(groups: Groups | None) -> dict[str, list[int]]:
    """Group name -> columns."""
    if groups is None:
        return {}
    return {name: groups.members(g) for g, name in enumerate(groups.names)}


def environment() -> dict[str, Any]:
    """What the figures of a run may depend on besides its inputs."""
    return {
        "proxmtl": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "command": " ".join(["proxmtl", *sys.argv[1:]]),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def summary_lines(report: dict[str, Any]) -> dict[str, Any]:
    """The solver's report as lines for people."""
    sparsity = report["sparsity"]
    certificate = report["certificate"]
    lines: dict[str, Any] = {"status": report["advice"], "passes": f"{report['passes']:g}"}
    lines["objective"] = _figure(certificate["objective"], ".6g")
    if certificate.get("relative_gap") is not None:
        lines["relative gap"] = f"{certificate['relative_gap']:.2g} (certified)"
    lines["relative residual"] = _figure(certificate["relative_kkt"], ".2g")
    if "S" in sparsity:
        lines["zeros"] = f"{sparsity['S']:.0%} of S, {sparsity['L']:.0%} of L"
        lines["live latents"] = report["live_latents"]
    return lines


def _figure(value: float | None, form: str) -> str:
    """A number; what was not finite is null in JSON."""
    return "-" if value is None else format(value, form)


def write_run(
    folder: Path,
    *,
    model: LinearAttributeClassifier,
    metrics: Mapping[str, pd.DataFrame],
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> None:
    """Fill a run folder: metrics, history, configuration, figures and, last, the model.

    Parameters
    ----------
    folder
        An existing folder, as `proxmtl.io.new_run_folder` gives it.
    model
        The model to save.
    metrics
        Model name -> metrics by attribute, as `proxmtl.experiments.attribute_metrics` gives them.
    summary
        JSON-able: the contents of ``metrics.json``.
    config
        JSON-able: what was asked for.
    histories
        Model name -> records of the solver.
    """
    by_attribute = pd.concat(metrics, names=["model"])
    write_text(folder / "metrics.csv", by_attribute.to_csv(float_format="%.6g"))
    write_json(folder / "metrics.json", summary)
    history = pd.concat(
        {name: pd.DataFrame.from_records(list(records)) for name, records in histories.items()},
        names=["model", "record"],
    )
    write_text(folder / "history.csv", history.to_csv(float_format="%.8g"))
    write_json(folder / "config.json", {**config, "environment": environment()})
    (folder / "plots").mkdir(exist_ok=True)
    write_figures(folder / "plots", model=model, metrics=metrics, histories=histories)
    save_model(folder, model)


def write_figures(
    folder: Path,
    *,
    model: LinearAttributeClassifier,
    metrics: Mapping[str, pd.DataFrame],
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> None:
    """Draw the figures of a run: ``latents.png``, ``convergence.png``, ``attributes.png``."""
    tables = list(metrics.values())
    names = [str(name) for name in tables[0].index]
    columns = group_columns(named_groups(getattr(model, "groups_", None)))
    if hasattr(model, "S_"):
        save_figure(
            plot_latents(model.S_, columns, names, title="Latent tasks of the attributes (S)"),
            folder / "latents.png",
        )
    save_figure(plot_convergence(histories), folder / "convergence.png")
    save_figure(
        plot_attribute_scores(
            {name: table["ap"].tolist() for name, table in metrics.items()},
            columns,
            names,
            prevalence=tables[0]["prevalence"].tolist(),
            title="Average precision by attribute",
        ),
        folder / "attributes.png",
    )
