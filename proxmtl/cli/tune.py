"""``proxmtl tune``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from proxmtl.cli import options
from proxmtl.cli.image_options import ImageOptions
from proxmtl.cli.option_groups import grouped_options
from proxmtl.cli.option_rules import refuse_ignored
from proxmtl.cli.option_values import CONVEX, check_word, strength_of
from proxmtl.cli.ranks import several

__all__ = ["tune"]

LATENT = "latent"

_search_option = partial(typer.Option, rich_help_panel="Search")


@grouped_options
def tune(
    ctx: typer.Context,
    samples: options.SampleOptions,
    *,
    groups: options.GroupsFile = None,
    model: Annotated[
        str,
        options.model_option(
            help="'latent', or a convex one: 's-extract', 'ridge', 'logistic-ridge', 'lasso', "
            "'l21', 'decorrelated'."
        ),
    ] = LATENT,
    own_strength: options.OwnStrength = "auto",
    n_latents: options.NumberOfLatents = None,
    balanced: options.Balanced = False,
    standardize: options.Standardize = None,
    method: Annotated[
        str,
        _search_option(
            help="'hypergradient' (convex models), 'grid', or 'auto': the first where it can."
        ),
    ] = "auto",
    points: Annotated[
        int, _search_option(help="Grid: values of each hyperparameter.", min=1, max=50)
    ] = 5,
    folds: Annotated[
        int,
        _search_option(help="Grid: folds of the validation; 1: a quarter of the rows.", min=1),
    ] = 1,
    one_standard_error: Annotated[
        bool,
        _search_option(
            "--one-standard-error", help="Grid: take the sparsest model that is as good."
        ),
    ] = False,
    trials: Annotated[
        Path | None,
        _search_option(
            help="Grid: keep every finished fit in this folder; a second call goes on with it."
        ),
    ] = None,
    max_passes: Annotated[
        int,
        _search_option(
            help="Passes over the data: of each fit, or of all trials of hypergradients.", min=1
        ),
    ] = 1000,
    split: options.SplitOptions,
    match: options.MatchOptions,
    images: ImageOptions,
    run: options.RunOptions,
) -> None:
    """Choose the strengths of a model by validation, fit it with them, and write a run folder.

    Files are those of fit; features of images are made once, for all candidates. Part of the rows
    is kept for validation, stratified over all attributes; the model is fitted again on all of them
    with the strengths chosen. The rows of --holdout take no part in any of that. The run folder is
    that of fit, with the table of trials, trials.csv, in it.

    Hypergradients follow the slope of the validation loss; a grid takes the best mean average
    precision. The latent model is searched over the two numbers that matter for it, mu gamma and
    mu^2 lambda. A grid of three points or more is extended where its edge is chosen. A note says
    where the choice still lies at an edge, or where nothing was compared. Processes started by
    torchrun share the fits of a grid.

    [bold]Examples[/]

      proxmtl tune features.npy -l labels.csv -g groups.toml -o runs/tuned

      proxmtl tune features.npy -l labels.csv -o runs/lasso --model lasso

      proxmtl tune photos -l labels.csv -o runs/ridge --model logistic-ridge
    """
    refuse_ignored(ctx)
    run.check()
    check_word("model", model, (LATENT, *CONVEX))
    check_word("method", method, ("auto", "hypergradient", "grid"))
    if method == "auto":
        method = "grid" if model == LATENT else "hypergradient"
    if method == "hypergradient" and model == LATENT:
        raise ValueError(
            "method: the latent model is not convex and has no hypergradient here; use 'grid'."
        )
    if method == "hypergradient" and several():
        raise ValueError(
            "--method: hypergradients are followed one after another, in one process, and this is "
            "one of several; use 'grid', whose fits they can share, or start without torchrun."
        )
    own = strength_of("own-strength", own_strength)
    match.check(samples, groups, skip_corrupt=images.skip_corrupt)

    from proxmtl.cli.console import make_console
    from proxmtl.cli.fitted_attributes import fewest
    from proxmtl.cli.fitting import fitting
    from proxmtl.cli.outcome import show_outcome
    from proxmtl.cli.search import Search, by_grid, by_hypergradient, make_model
    from proxmtl.io.outputs import settle_folder
    from proxmtl.wording import counted

    console = make_console()
    settle_folder(trials, "--trials", run.out)
    latent = model == LATENT
    with fitting(
        samples, match, groups, split, run, latent=latent, apart=True, images=images
    ) as work:
        data = work.data
        estimator = make_model(
            model,
            work.groups,
            data.names,
            n_latents=n_latents,
            own_strength=own,
            balanced=balanced,
            standardize=standardize is not False,
            max_passes=max_passes,
            seed=split.seed,
        )
        counts = fewest(data.Y)
        search = Search(estimator, model, *work.fitted, split.seed, counts)
        with work.room(n_latents, own=own != "auto"):
            if method == "grid":
                chosen = by_grid(
                    search,
                    points=points,
                    folds=folds,
                    sparsest=one_standard_error,
                    folder=trials,
                    ranks=work.ranks,
                )
            else:
                chosen = by_hypergradient(search, max_passes=max_passes)
        fitted, table = chosen.model, chosen.trials
        notes = [str(edge) for edge in chosen.edges]
        searched = {"model": model, "method": method, "trials": len(table)}
        if notes:
            searched["notes"] = notes
        outcome = work.write(fitted, "tune", work.groups, search=searched)
        work.save_text("trials.csv", table.to_csv(index=False, float_format="%.8g"))
    verb = "taken" if any(edge.side == "only" for edge in chosen.edges) else "chosen"
    console.print(f"{counted(len(table), 'trial')}; {verb}: {_chosen(fitted)}", soft_wrap=True)
    for note in notes:
        console.print(f"[yellow]Note:[/] {note}", soft_wrap=True)
    show_outcome(console, outcome, run.out)
    work.parts.tell(run.out)


def _chosen(model: Any) -> str:
    named = model.get_params(deep=False).items()
    given = [(name, value) for name, value in named if name.endswith("strength")]
    # "auto" beside numbers was not chosen: these stand for it
    return ", ".join(f"{name} {value:.4g}" for name, value in given if _is_number(value))


def _is_number(value: Any) -> bool:
    return value is not None and not isinstance(value, str)
