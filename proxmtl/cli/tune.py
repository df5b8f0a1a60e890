"""``proxmtl tune``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated, Any

import typer

from proxmtl.cli import options

__all__ = ["tune"]

_MODEL = "Model"
_SEARCH = "Search"
LATENT = "latent"


def tune(
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
        typer.Option("--groups", "-g", help="TOML, JSON or CSV; without it there are no groups."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="'latent', or a convex one: 's-extract', 'ridge', 'logistic-ridge', 'lasso', "
            "'l21', 'decorrelated'.",
            rich_help_panel=_MODEL,
        ),
    ] = LATENT,
    own_strength: options.OwnStrength = "auto",
    n_latents: options.NumberOfLatents = None,
    balanced: Annotated[
        bool,
        typer.Option("--balanced", help="Weigh both classes equally.", rich_help_panel=_MODEL),
    ] = False,
    method: Annotated[
        str,
        typer.Option(
            help="'hypergradient' (convex models), 'grid', or 'auto': the first where it can.",
            rich_help_panel=_SEARCH,
        ),
    ] = "auto",
    points: Annotated[
        int,
        typer.Option(
            help="Grid: values of each hyperparameter.", min=1, max=50, rich_help_panel=_SEARCH
        ),
    ] = 5,
    folds: Annotated[
        int,
        typer.Option(
            help="Grid: folds of the validation; 1: a quarter of the rows.",
            min=1,
            rich_help_panel=_SEARCH,
        ),
    ] = 1,
    one_standard_error: Annotated[
        bool,
        typer.Option(
            "--one-standard-error",
            help="Grid: take the sparsest model that is as good.",
            rich_help_panel=_SEARCH,
        ),
    ] = False,
    trials: Annotated[
        Path | None,
        typer.Option(
            help="Grid: keep every finished fit in this folder; a second call goes on with it.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    max_passes: Annotated[
        int,
        typer.Option(
            help="Passes over the data: of each fit, or of all trials of hypergradients.",
            min=1,
            rich_help_panel=_SEARCH,
        ),
    ] = 1000,
    seed: Annotated[
        int, typer.Option(help="Of the splits and of the start.", min=0, max=options.SEEDS)
    ] = 0,
    holdout: Annotated[
        float,
        typer.Option(
            help="Share of the rows kept from all that and scored at the end; 0: none.",
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
    """Choose the strengths of a model by validation, fit it with them, and write a run folder.

    Files are those of fit. Part of the rows is kept for validation, stratified over all attributes;
    the model is fitted again on all of them with the strengths chosen. The rows of --holdout take
    no part in any of that. The run folder is that of fit, with the table of trials, trials.csv,
    beside it.

    Hypergradients follow the slope of the validation loss; a grid takes the best mean average
    precision. The latent model is searched over the two numbers that matter for it, mu gamma and
    mu^2 lambda. A grid of three points or more is extended where its edge is chosen. A note says
    where the choice still lies at an edge, or where nothing was compared.

    [bold]Examples[/]

      proxmtl tune features.npy -l labels.csv -g groups.toml -o runs/tuned

      proxmtl tune features.npy -l labels.csv -o runs/lasso --model lasso
    """
    options.refuse_ignored(ctx)

    from proxmtl.cli.console import make_console
    from proxmtl.cli.inputs import fewest, read_groups, read_samples, split_rows
    from proxmtl.cli.outcome import show_outcome, write_fitted
    from proxmtl.cli.parts import Parts
    from proxmtl.cli.run import model_room
    from proxmtl.cli.search import Search, by_grid, by_hypergradient, convex_names, make_model
    from proxmtl.io import new_run_folder, write_text
    from proxmtl.io.outputs import room, settle_folder
    from proxmtl.sources import sources_read
    from proxmtl.wording import counted

    convex = convex_names()
    if model != LATENT and model not in convex:
        raise ValueError(f"model: got {model!r}; use {', '.join([LATENT, *convex])}.")
    if method == "auto":
        method = "grid" if model == LATENT else "hypergradient"
    if method not in ("hypergradient", "grid"):
        raise ValueError(f"method: got {method!r}; use 'hypergradient', 'grid' or 'auto'.")
    if method == "hypergradient" and model == LATENT:
        raise ValueError(
            "method: the latent model is not convex and has no hypergradient here; use 'grid'."
        )
    own = options.strength_of("own-strength", own_strength)
    console = make_console()
    settle_folder(trials, "--trials", out)
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
            groups, data.names, data.record["attributes_left_out"], latent=model == LATENT
        )
        train, test = split_rows(data.Y, data.names, holdout, seed, data.ids)
        estimator = make_model(
            model,
            grouping,
            data.names,
            n_latents=n_latents,
            own_strength=own,
            balanced=balanced,
            max_passes=max_passes,
            seed=seed,
        )
        counts = fewest(data.Y)
        search = Search(estimator, model, data.X[train], data.Y[train], seed, counts)
        (M, D), K = (data.Y.shape[1], data.X.shape[1]), n_latents or 0
        size = model_room(D, M, max(K, min(M, D)), own=own != "auto")
        with room(staging, size, out):
            if method == "grid":
                chosen = by_grid(
                    search, points=points, folds=folds, sparsest=one_standard_error, folder=trials
                )
            else:
                chosen = by_hypergradient(search, max_passes=max_passes)
        fitted, table = chosen.model, chosen.trials
        notes = [str(edge) for edge in chosen.edges]
        outcome = write_fitted(
            staging,
            parts,
            model=fitted,
            data=data,
            rows=(train, test),
            groups=grouping,
            config={
                "command": "tune",
                "inputs": [source._asdict() for source in sources],
                "holdout": holdout,
                "seed": seed,
                "search": {
                    "model": model,
                    "method": method,
                    "trials": len(table),
                    **({"notes": notes} if notes else {}),
                },
            },
        )
        text = table.to_csv(index=False, float_format="%.8g")
        parts.save("trials.csv", lambda: write_text(staging / "trials.csv", text))
    verb = "taken" if any(edge.side == "only" for edge in chosen.edges) else "chosen"
    console.print(f"{counted(len(table), 'trial')}; {verb}: {_chosen(fitted)}", soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]Note:[/] {note}", soft_wrap=True)
    show_outcome(console, outcome, out)
    parts.tell(out)


def _chosen(model: Any) -> str:
    named = model.get_params(deep=False).items()
    given = [(name, value) for name, value in named if name.endswith("strength")]
    # "auto" beside numbers was not chosen: these stand for it
    return ", ".join(f"{name} {value:.4g}" for name, value in given if _is_number(value))


def _is_number(value: Any) -> bool:
    return value is not None and not isinstance(value, str)
