"""``proxmtl fit``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from proxmtl.cli import options

if TYPE_CHECKING:
    from proxmtl.estimators.base import LinearModel
    from proxmtl.latent.model import Algorithm

__all__ = ["fit"]

_MODEL = "Model"
_SOLVER = "Solver"


def fit(
    ctx: typer.Context,
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
        typer.Option(
            "--groups",
            "-g",
            help="TOML, JSON or CSV; or 'auto', which finds them for the latent model. Without it "
            "all attributes are one group.",
        ),
    ] = None,
    shared_strength: options.SharedStrength = "auto",
    own_strength: options.OwnStrength = "auto",
    group_strength: options.GroupStrength = None,
    l1_strength: options.L1Strength = None,
    frobenius_strength: options.FrobeniusStrength = None,
    n_latents: options.NumberOrAuto = None,
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
    auto: Annotated[
        bool,
        typer.Option(
            "--auto",
            help="Find out by cross-validation whether attributes share and how strongly; groups "
            "then serve the tables alone.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    latent: Annotated[
        bool,
        typer.Option(
            "--latent",
            help="With --auto: share latent tasks, as the paper, beside parts of each attribute's "
            "own; groups then choose latent tasks together.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
    threshold: Annotated[
        str,
        typer.Option(
            help="With --auto, the probability above which an attribute is a yes: "
            "'probability' (1/2), a number, or for each attribute the best by 'f1' or "
            "'balanced_accuracy' in the cross-validation.",
            rich_help_panel=_MODEL,
        ),
    ] = "probability",
    algorithm: Annotated[
        str,
        typer.Option(
            help="'auto', 'gram', 'panoc', 'palm' or 'paper' (Algorithm 1).",
            rich_help_panel=_SOLVER,
        ),
    ] = "auto",
    max_passes: Annotated[
        int, typer.Option(help="Budget: passes over the data.", min=1, rich_help_panel=_SOLVER)
    ] = 1000,
    tol: Annotated[
        float | None,
        typer.Option(
            help="Accuracy at which to stop: a residual, default 0.001; with --single-task or "
            "--auto a relative gap, default 1e-6 or 1e-4.",
            rich_help_panel=_SOLVER,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of the split and of the start.", min=0, max=options.SEEDS)
    ] = 0,
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
    id_column: options.IdColumn = None,
    task_column: options.TaskColumn = None,
    match: options.Match = "auto",
    min_positives: options.MinPositives = 0,
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
    metrics.json, history.csv, config.json and plots. Strengths are in units of the data, so that
    the same ones serve samples of any number and features of any scale; by default the data also
    say how strong.

    [bold]Examples[/]

      proxmtl fit features.npy -l labels.csv -o runs/auto --auto --threshold f1

      proxmtl fit features.npy -l labels.csv -g auto -o runs/latent --auto --latent

      proxmtl fit features.npy -l labels.csv -g groups.toml -o runs/first

      proxmtl fit features.npz --key fc6 -l labels.csv -g groups.json -o runs/strong
      --shared-strength 0.5 --force

      proxmtl fit features.npy -l labels.csv -o runs/alone --single-task 0.01
    """
    options.refuse_ignored(ctx)

    from proxmtl.cli.console import fit_progress, make_console
    from proxmtl.cli.inputs import read_groups, read_samples, split_rows
    from proxmtl.cli.outcome import show_outcome, write_fitted
    from proxmtl.cli.parts import Parts
    from proxmtl.cli.run import model_room
    from proxmtl.estimators import (
        LatentMTLClassifier,
        LatentMTLClassifierCV,
        SharedPlusOwnClassifierCV,
        SingleTaskClassifier,
    )
    from proxmtl.estimators.latent import PAPERS
    from proxmtl.estimators.thresholds import check_threshold
    from proxmtl.io import new_run_folder
    from proxmtl.io.outputs import room
    from proxmtl.latent import LatentMTL
    from proxmtl.sources import sources_read

    grouped = latent or (not auto and single_task is None)
    find = groups is not None and str(groups) == "auto" and not groups.exists()
    if find and not grouped:
        raise ValueError(
            "--groups: 'auto' finds groups for the latent model; add --latent to --auto, or give "
            "a file of groups for the tables."
        )
    K = options.latents_of(n_latents)
    strengths = options.strengths_of(
        shared_strength, own_strength, group_strength, l1_strength, frobenius_strength
    )
    least = options.threshold_of(threshold)
    # what is wrong with the options is said now: files may take long to read
    check_threshold(least)
    if tol is not None and not tol >= 0:
        raise ValueError(f"tol: got {tol}; give a number >= 0.")
    papers = {name: given for name, given in strengths.items() if name in PAPERS}
    LatentMTL(
        n_latents=K,
        algorithm=cast("Algorithm", algorithm),  # others raise, by name
        **{name: value for name, value in papers.items() if value is not None},
    )
    console = make_console()
    with (
        Parts() as parts,
        new_run_folder(out, force=force) as staging,
        sources_read() as sources,
    ):
        data = read_samples(
            features,
            labels,
            key=key,
            id_column=id_column,
            task_column=task_column,
            match=match,
            min_positives=min_positives,
        )
        grouping = read_groups(
            None if find else groups,
            data.names,
            data.record["attributes_left_out"],
            latent=grouped,
        )
        chosen = "auto" if find else grouping
        train, test = split_rows(data.Y, data.names, holdout, seed, data.ids)
        model: LinearModel
        weighting = "balanced" if balanced else None
        if auto:
            kind = LatentMTLClassifierCV if latent else SharedPlusOwnClassifierCV
            model = kind(
                groups=chosen if latent else None,
                class_weight=weighting,
                max_passes=max_passes,
                threshold=least,
                random_state=seed,
                label_names=data.names,
            )
        elif single_task is not None:
            model = SingleTaskClassifier(
                l2_strength=single_task,
                class_weight=weighting,
                max_passes=max_passes,
                label_names=data.names,
            )
        else:
            model = LatentMTLClassifier(
                groups=chosen,
                n_latents=K,
                **strengths,
                algorithm=cast("Algorithm", algorithm),
                class_weight=weighting,
                max_passes=max_passes,
                random_state=seed,
                label_names=data.names,
            )
        if tol is not None:
            model.set_params(tol=tol)
        M, D = data.Y.shape[1], data.X.shape[1]
        most = K if isinstance(K, int) else min(M, D)
        size = model_room(D, M, most, own=grouped)
        with room(staging, size, out), fit_progress("Fitting", max_passes) as callback:
            model.fit(data.X[train], data.Y[train], callback=callback)
        outcome = write_fitted(
            staging,
            parts,
            model=model,
            data=data,
            rows=(train, test),
            groups=getattr(model, "groups_", None) if find else grouping,
            config={
                "command": "fit",
                "inputs": [source._asdict() for source in sources],
                "holdout": holdout,
                "seed": seed,
            },
        )
    show_outcome(console, outcome, out)
    parts.tell(out)
