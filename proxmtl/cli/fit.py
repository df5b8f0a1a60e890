"""``proxmtl fit``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    import pandas as pd

    from proxmtl.cli.inputs import Samples
    from proxmtl.estimators.base import LinearAttributeClassifier
    from proxmtl.latent.model import Algorithm

__all__ = ["fit"]

_MODEL = "Model"
_SOLVER = "Solver"


def fit(
    features: Annotated[
        Path,
        typer.Argument(
            help="Features, one row per sample: npy, npz, safetensors or parquet.",
            metavar="FEATURES",
        ),
    ],
    labels: Annotated[
        Path,
        typer.Option("--labels", "-l", help="CSV: a header of attribute names; 1 yes, 0 or -1 no."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")],
    *,
    groups: Annotated[
        Path | None,
        typer.Option("--groups", "-g", help="TOML, JSON or CSV; without it there are no groups."),
    ] = None,
    group_strength: Annotated[
        float,
        typer.Option(help="Sparsity of S over (latent, group) blocks.", rich_help_panel=_MODEL),
    ] = 1e-3,
    l1_strength: Annotated[
        float, typer.Option(help="Sparsity of L.", rich_help_panel=_MODEL)
    ] = 1e-4,
    frobenius_strength: Annotated[
        float, typer.Option(help="Ridge on L.", rich_help_panel=_MODEL)
    ] = 1e-4,
    n_latents: Annotated[
        int | None,
        typer.Option(help="Upper bound K; default min(M, D).", min=1, rich_help_panel=_MODEL),
    ] = None,
    balanced: Annotated[
        bool,
        typer.Option("--balanced", help="Weigh both classes equally.", rich_help_panel=_MODEL),
    ] = False,
    single_task: Annotated[
        float | None,
        typer.Option(
            help="Instead of the latent model, fit each attribute alone with this ridge.",
            metavar="L2_STRENGTH",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    algorithm: Annotated[
        str,
        typer.Option(
            help="'auto', 'panoc', 'palm' or 'paper' (Algorithm 1).", rich_help_panel=_SOLVER
        ),
    ] = "auto",
    max_passes: Annotated[
        int, typer.Option(help="Budget: passes over the data.", min=1, rich_help_panel=_SOLVER)
    ] = 1000,
    tol: Annotated[
        float, typer.Option(help="Residual at which to stop.", rich_help_panel=_SOLVER)
    ] = 1e-3,
    seed: Annotated[int, typer.Option(help="Of the split and of the start.")] = 0,
    holdout: Annotated[
        float,
        typer.Option(
            help="Share of the rows kept from the fit and scored after it; 0: none.",
            min=0.0,
            max=0.9,
        ),
    ] = 0.2,
    key: Annotated[
        str | None, typer.Option(help="Which array of an npz or safetensors file.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of row identifiers in the labels.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the run that is in the folder.")
    ] = False,
) -> None:
    """Fit a model of many attributes and write a run folder.

    The labels are a CSV file with one column per attribute: 1 yes, 0 or -1 no, blank missing. A
    first column called id, image, file, ... holds row identifiers. The groups are lists of
    attribute names, for example in TOML:

      colors = ["black", "white", "brown"]

      patterns = ["spots", "stripes"]

    The run folder holds model.safetensors and model.json (the model), metrics.csv and
    metrics.json, history.csv, config.json and plots. Strengths are relative to the mean loss and
    to standardised features, so good values depend little on the number of samples.

    [bold]Examples[/]

      proxmtl fit features.npy -l labels.csv -g groups.toml -o runs/first

      proxmtl fit features.npz --key fc6 -l labels.csv -g groups.json -o runs/strong
      --group-strength 0.005 --force

      proxmtl fit features.npy -l labels.csv -o runs/alone --single-task 0.01
    """
    from proxmtl.cli.console import fit_progress, make_console, shown_path
    from proxmtl.cli.inputs import read_groups, read_samples
    from proxmtl.cli.run import named_groups, summary_lines, write_run
    from proxmtl.estimators import LatentMTLClassifier, SingleTaskClassifier
    from proxmtl.experiments import attribute_metrics, fit_report, group_means
    from proxmtl.io import new_run_folder
    from proxmtl.report.tables import figures_table, group_table

    console = make_console()
    with new_run_folder(out, force=force) as staging:
        data = read_samples(features, labels, key=key, id_column=id_column)
        grouping = read_groups(groups, data.names)
        train, test = _split(data, holdout, seed)
        model: LinearAttributeClassifier
        weighting = "balanced" if balanced else None
        if single_task is not None:
            model = SingleTaskClassifier(
                l2_strength=single_task,
                class_weight=weighting,
                max_passes=max_passes,
                label_names=data.names,
            )
        else:
            model = LatentMTLClassifier(
                groups=grouping,
                n_latents=n_latents,
                group_strength=group_strength,
                l1_strength=l1_strength,
                frobenius_strength=frobenius_strength,
                algorithm=cast("Algorithm", algorithm),  # others are refused, by name
                class_weight=weighting,
                max_passes=max_passes,
                tol=tol,
                random_state=seed,
                label_names=data.names,
            )
        with fit_progress("Fitting", max_passes) as callback:
            model.fit(data.X[train], data.Y[train], callback=callback)
        scored = test if len(test) else train
        scores = model.decision_function(data.X[scored])
        table = attribute_metrics(scores, data.Y[scored], data.names)
        means = group_means(table, named_groups(grouping))
        on = f"{len(test)} held-out rows" if len(test) else f"the {len(train)} training rows"
        report = fit_report(model)
        write_run(
            staging,
            model=model,
            metrics={"model": table},
            summary={"scored_on": on, "groups": _records(means), "fit": report},
            config={
                "command": "fit",
                "inputs": [_described(path) for path in (features, labels, groups) if path],
                "rows": {"fitted": len(train), "held_out": len(test)},
                "holdout": holdout,
                "seed": seed,
                "parameters": {
                    name: value
                    for name, value in model.get_params(deep=False).items()
                    if name not in {"groups", "label_names"}
                },
            },
            histories={"model": model.result_.history},
        )
    console.print(group_table(means, title=f"Scores on {on}"))
    console.print(figures_table(summary_lines(report)))
    console.print(f"\nrun folder -> {shown_path(out)}")


def _split(data: "Samples", holdout: float, seed: int) -> tuple[Any, Any]:
    import numpy as np

    from proxmtl.experiments import random_splits

    if holdout == 0:
        return np.arange(len(data.X)), np.arange(0)
    return random_splits(len(data.X), 1, holdout, seed, Y=data.Y)[0]


def _records(means: "pd.DataFrame") -> dict[str, Any]:
    # By dict, not by row: a row of a table has one type, and counts would become 5.0.
    lines = means.to_dict(orient="index")
    return {str(name): line for name, line in lines.items()}


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}
