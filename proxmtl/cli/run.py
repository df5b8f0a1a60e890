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
from proxmtl.cli.option_names import in_options
from proxmtl.cli.parts import Parts, saved_or_kept
from proxmtl.cli.request import request
from proxmtl.estimators import save_model
from proxmtl.experiments.intervals import ap_interval
from proxmtl.io import write_json, write_text
from proxmtl.io.names import CONFIG_FILE, HISTORY_FILE, METRICS_FILE
from proxmtl.label_coding import numbers_by_attribute
from proxmtl.latent.initial import check_room
from proxmtl.report import plot_attribute_scores, plot_convergence, plot_latents, save_figure
from proxmtl.report.verdict import clear_gains
from proxmtl.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from proxmtl.estimators.base import LinearModel
    from proxmtl.groups import Groups

__all__ = [
    "FINISHED",
    "RUNNING",
    "group_columns",
    "groups_by_name",
    "model_room",
    "named_groups",
    "recorded",
    "scored_on",
    "sharing_line",
    "solve_lines",
    "summary_lines",
    "with_fitted_labels",
    "write_figures",
    "write_run",
]


FINISHED, RUNNING = "finished", "running"
"""Values of ``status`` in ``config.json``."""


def given_groups(model: LinearModel) -> Groups | None:
    """Groups that a model was given; None where it was given none and made its own."""
    return None if getattr(model, "groups", None) is None else getattr(model, "groups_", None)


def named_groups(groups: Groups | None) -> Groups | None:
    """The groups where they say something: not when every attribute is alone."""
    return None if groups is None or int(groups.sizes.max()) == 1 else groups


def group_columns(groups: Groups | None) -> dict[str, list[int]]:
    """Group name -> columns."""
    if groups is None:
        return {}
    return {name: groups.members(g) for g, name in enumerate(groups.names)}


def groups_by_name(groups: Groups | None, names: Sequence[str]) -> dict[str, list[str]]:
    """Group name -> names of its attributes; empty where groups say nothing."""
    columns = group_columns(named_groups(groups))
    return {group: [names[column] for column in members] for group, members in columns.items()}


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
    }


def recorded(config: Mapping[str, Any], status: str = FINISHED) -> dict[str, Any]:
    """Contents of ``config.json``: a configuration, with the options given and the environment.

    ``status`` is `FINISHED` or `RUNNING`, which is also that of a run that was interrupted.
    """
    asked = request()
    options = {} if asked is None else {"options": asked.options}
    moment = "finished" if status == FINISHED else "started"
    when = {moment: time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    return {"status": status, **config, **options, "environment": {**environment(), **when}}


def with_fitted_labels(metrics: pd.DataFrame, labels: Any) -> pd.DataFrame:
    """Add to metrics by attribute how many labels, and positive ones, a model was fitted on.

    ``labels`` are those of the fit, as `numbers_by_attribute` takes them.
    """
    yes, no = numbers_by_attribute(labels)
    return metrics.assign(fitted_labels=yes + no, fitted_positives=yes)


def summary_lines(report: dict[str, Any], command: Any = None) -> dict[str, Any]:
    """The solver's report as lines for people; advice names the options of a command."""
    sparsity = report["sparsity"]
    certificate = report["certificate"]
    lines: dict[str, Any] = {
        "status": in_options(report["advice"], command),
        "work": f"{report['passes']:g} passes over the data",
    }
    if "solver" in report:
        lines["solver"] = ": ".join(filter(None, map(report.get, ("solver", "solver_reason"))))
    lines["objective"] = _figure(certificate["objective"], ".6g")
    if certificate.get("relative_gap") is not None:
        lines["relative gap"] = f"{certificate['relative_gap']:.2g} (certified)"
    lines["relative residual"] = _figure(certificate["relative_kkt"], ".2g")
    if "S" in sparsity:
        lines["zeros"] = f"{sparsity['S']:.0%} of S, {sparsity['L']:.0%} of L"
        nothing = (
            "0: nothing is shared at these strengths; see --auto, or a smaller --shared-strength"
        )
        lines["live latents"] = report["live_latents"] or nothing
    if report.get("own_share") is not None:
        lines["own parts"] = f"{report['own_share']:.0%} of the squared weights"
    return lines


def scored_on(fitted: int, held_out: int, one: str) -> str:
    """What scores are of: rows (or whatever `one` is) held out, or without any those fitted."""
    if held_out:
        return counted(held_out, f"held-out {one}")
    return f"the {counted(fitted, f'training {one}')}"


def sharing_line(sharing: NDArray[np.bool_], report: pd.DataFrame | None) -> str:
    """What a model that chose whether to share found; the gain where its report is at hand."""
    if not sharing.any():
        return "no: attributes alone do at least as well in cross-validation"
    number = f"{int(sharing.sum())} of {counted(len(sharing), 'attribute')}"
    if report is None:
        return number
    gains = report["gain"].to_numpy()[sharing]
    known = gains[np.isfinite(gains)]
    if not len(known):  # labels of yes are too few to be in several folds
        return f"{number}; the gain could be scored for none of them"
    clear = len(clear_gains(report))
    of = "" if len(known) == len(gains) else f" of the {len(known)} that could be scored"
    gain = round(100 * float(known.mean()), 1) + 0.0
    return (
        f"{number}, a clear gain for {clear or 'none'}; {gain:+.1f} points on average{of} in the "
        "cross-validation that chose them"
    )


def solve_lines(solve: Mapping[str, Any]) -> dict[str, str]:
    """The last solve of a training as lines for people; figures that its head lacks are None."""
    forms = {
        "status": ("status", "{}"),
        "passes": ("work", "{:g} passes over the data"),
        "relative_kkt": ("relative residual", "{:.2g}"),
        "relative_gap": ("relative gap", "{:.2g}"),
    }
    return {
        f"last solve, {called}": form.format(solve[name])
        for name, (called, form) in forms.items()
        if solve.get(name) is not None
    }


def _figure(value: float | None, form: str) -> str:
    """A number; what was not finite is null in JSON."""
    return "-" if value is None else format(value, form)


def model_room(n_features: int, n_attributes: int, n_latents: int = 0, *, own: bool = False) -> int:
    """Bytes of a fitted model's arrays, and some for tables and figures.

    Raises
    ------
    ValueError
        If these latent tasks can't even be held in memory.
    """
    check_room(n_latents, n_features, n_attributes)
    factors = n_latents * (n_features + n_attributes) + own * n_features * n_attributes
    return 8 * (factors + n_attributes * (n_features + 1) + 2 * n_features) + (1 << 20)


def write_run(
    folder: Path,
    parts: Parts,
    *,
    model: LinearModel,
    metrics: Mapping[str, pd.DataFrame],
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    histories: Mapping[str, Sequence[Mapping[str, float]]],
) -> None:
    """Fill a run folder: the model, which is saved in any case, and metrics, history and figures.

    Parameters
    ----------
    folder
        An existing folder, as `proxmtl.io.new_run_folder` gives it.
    parts
        Takes what can't be saved, besides the model.
    model
        The model to save.
    metrics
        Model name -> metrics by attribute, as `proxmtl.experiments.attribute_metrics` gives them;
        empty if the model could not be scored.
    summary
        JSON-able: the contents of ``metrics.json``.
    config
        JSON-able: what was asked for.
    histories
        Model name -> records of the solver.
    """
    returned = _returned(summary.get("fit")) if len(histories) == 1 else None
    histories = {name: _ended(history, returned) for name, history in histories.items()}
    parts.begin()
    saved_or_kept(folder, lambda place: save_model(place, model))

    def history() -> None:
        records = {name: pd.DataFrame.from_records(list(h)) for name, h in histories.items()}
        table = pd.concat(records, names=["model", "record"])
        write_text(folder / HISTORY_FILE, table.to_csv(float_format="%.8g"))

    def scores() -> None:
        table = pd.concat(metrics, names=["model"])
        write_text(folder / METRICS_FILE, table.to_csv(float_format="%.6g"))

    parts.save(
        CONFIG_FILE,
        lambda: write_json(folder / CONFIG_FILE, recorded(config)),
    )
    parts.save(HISTORY_FILE, history)
    parts.save("metrics.json", lambda: write_json(folder / "metrics.json", summary))
    if metrics:
        parts.save(METRICS_FILE, scores)
    write_figures(
        folder / "plots",
        parts,
        S=getattr(model, "S_", None),
        groups=given_groups(model),
        names=model.label_names_ or [f"attribute {i}" for i in range(len(model.coef_))],
        metrics=metrics,
        scored_on=str(summary["scored_on"]),
        histories=histories,
        returned=returned,
    )


def _returned(report: Mapping[str, Any] | None) -> dict[str, float] | None:
    """Record of the point that a solver returned."""
    objective = None if report is None else report["certificate"]["objective"]
    if report is None or objective is None:
        return None
    passes = report["passes"]
    return {"iteration": report["iterations"], "passes": passes, "objective": objective}


def _ended(
    history: Sequence[Mapping[str, float]], returned: Mapping[str, float] | None
) -> list[Mapping[str, float]]:
    """Records that end in the returned point, which is not always the last iterate."""
    if returned is None or any(returned.items() <= record.items() for record in history[-1:]):
        return list(history)
    return [*history, returned]


def write_figures(
    folder: Path,
    parts: Parts,
    *,
    S: NDArray[Any] | None,
    groups: Groups | None,
    names: Sequence[str],
    metrics: Mapping[str, pd.DataFrame],
    scored_on: str,
    histories: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    returned: Mapping[str, float] | None = None,
) -> None:
    """Draw the figures of a run: ``latents.png``, ``convergence.png``, ``attributes.png``.

    Each is drawn where there is something to draw: latent tasks S, records of a solver, metrics.
    """
    columns = group_columns(named_groups(groups))

    def draw(name: str, figure: Callable[[], Any]) -> None:
        def save() -> None:
            folder.mkdir(exist_ok=True)
            save_figure(figure(), folder / name)

        parts.save(f"plots/{name}", save)

    if S is not None:
        title = "Latent tasks of the attributes (S)"
        draw("latents.png", lambda: plot_latents(S, columns, names, title=title))
    if histories is not None:
        end = None if returned is None else (returned["passes"], returned["objective"])
        ends = None if end is None else dict.fromkeys(histories, end)
        draw("convergence.png", lambda: plot_convergence(histories, returned=ends))
    if metrics:
        first = next(iter(metrics.values()))
        positives = (first["prevalence"] * first["n_observed"]).fillna(0).round().astype(int)
        means = ", ".join(f"{100 * table['ap'].mean():.1f} %" for table in metrics.values())
        draw(
            "attributes.png",
            lambda: plot_attribute_scores(
                {name: table["ap"].tolist() for name, table in metrics.items()},
                columns,
                [f"{name} ({count})" for name, count in zip(names, positives, strict=True)],
                prevalence=first["prevalence"].tolist(),
                intervals={
                    name: ap_interval(table["ap"], positives) for name, table in metrics.items()
                },
                metric="average precision, 95 % interval (in brackets: positive labels)",
                title=f"On {scored_on}: mean {means}",
            ),
        )
