"""``proxmtl fit``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxmtl.cli import options
from proxmtl.cli.image_options import ImageOptions, holds_images
from proxmtl.cli.option_groups import grouped_options
from proxmtl.cli.option_rules import chosen_auto, refuse_ignored
from proxmtl.cli.option_values import ALGORITHMS, check_word, latents_of, threshold_of

if TYPE_CHECKING:
    from proxmtl.estimators.base import LinearModel

__all__ = ["fit"]

_SOLVER = "Solver"


@grouped_options
def fit(
    ctx: typer.Context,
    samples: options.SampleOptions,
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
    strengths: options.StrengthOptions,
    n_latents: Annotated[
        str | None,
        options.model_option(
            help="Upper bound K, or 'auto': the rank of the best solution of the trace norm. "
            "Default min(M, D)."
        ),
    ] = None,
    balanced: options.Balanced = False,
    standardize: options.Standardize = None,
    single_task: options.SingleTask = None,
    auto: Annotated[
        bool | None,
        options.model_option(
            "--auto/--no-auto",
            help="Find out by cross-validation whether attributes share and how strongly; groups "
            "then serve the tables alone. Default: for images, unless an option of a model of "
            "given strengths is there.",
            show_default=False,
        ),
    ] = None,
    latent: Annotated[
        bool,
        options.model_option(
            "--latent",
            help="With --auto: share latent tasks, as the paper, beside parts of each attribute's "
            "own; groups then choose latent tasks together.",
        ),
    ] = False,
    threshold: Annotated[
        str,
        options.model_option(
            help="With --auto, the probability above which an attribute is a yes: "
            "'probability' (1/2), a number, or for each attribute the best by 'f1' or "
            "'balanced_accuracy' in the cross-validation."
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
    divide: Annotated[
        str,
        typer.Option(
            help="What processes started by torchrun divide among themselves: 'rows', or 'tasks', "
            "for many attributes on few rows.",
            rich_help_panel=_SOLVER,
        ),
    ] = "rows",
    checkpoint: Annotated[
        float,
        typer.Option(
            help="Seconds between two writes of what is done of the fit, from which the same "
            "command goes on.",
            min=0,
            rich_help_panel=_SOLVER,
        ),
    ] = 60.0,
    split: options.SplitOptions,
    match: options.MatchOptions,
    images: ImageOptions,
    run: options.RunOptions,
) -> None:
    """Fit a model of many attributes and write a run folder.

    Of images it first makes features by a pretrained network; the labels name the images. They are
    kept beside the run, so that a command that was interrupted goes on and another run on the same
    images starts at once.

    The labels are a CSV file with one column per attribute: 1 yes, 0 or -1 no, blank missing. A
    first column called id, image, file, ... holds row identifiers. The groups are lists of
    attribute names, for example in TOML:

      colors = ["black", "white", "brown"]

      patterns = ["spots", "stripes"]

    The run folder holds model.safetensors and model.json (the model), metrics_by_attribute.csv and
    metrics.json, history.csv, config.json and plots. Strengths are in units of the data, so that
    the same ones serve samples of any number and features of any scale; by default the data also
    say how strong.

    [bold]Examples[/]

      proxmtl fit photos -l labels.csv -o runs/photos

      proxmtl fit photos -l train.csv --test test.csv -g groups.toml -o runs/tested

      proxmtl fit features.npy -l labels.csv -o runs/auto --auto --threshold f1

      proxmtl fit features.npy -l labels.csv -g auto -o runs/latent --auto --latent

      proxmtl fit features.npy -l labels.csv -g groups.toml -o runs/first

      proxmtl fit features.npz --key fc6 -l labels.csv -g groups.json -o runs/strong
      --shared-strength 0.5 --force

      proxmtl fit features.npy -l labels.csv -o runs/alone --single-task 0.01
    """
    asked, auto = auto, chosen_auto(ctx)
    ctx.params["auto"] = auto
    refuse_ignored(ctx)
    run.check()
    if asked is None and not auto and single_task is None and holds_images(samples.features):
        _say_what_is_not_searched()
    find = groups is not None and str(groups) == "auto" and not groups.exists()
    grouped = latent or (not auto and single_task is None)
    if find and not grouped:
        raise ValueError(
            "--groups: 'auto' finds groups for the latent model; add --latent to --auto, or give "
            "a file of groups for the tables."
        )
    if groups is not None and not grouped:
        _say_what_groups_do(auto=auto)
    check_word("algorithm", algorithm, ALGORITHMS)
    check_word("divide", divide, ("rows", "tasks"))
    K, given, least = latents_of(n_latents), strengths.parameters(), threshold_of(threshold)
    if tol is not None and not tol >= 0:
        raise ValueError(f"--tol: got {tol}; give a number >= 0.")
    match.check(samples, None if find else groups, skip_corrupt=images.skip_corrupt)

    from proxmtl.cli.console import fit_progress, make_console
    from proxmtl.cli.fitting import fitting
    from proxmtl.cli.outcome import show_outcome
    from proxmtl.estimators import (
        LatentMTLClassifier,
        LatentMTLClassifierCV,
        SharedPlusOwnClassifierCV,
        SingleTaskClassifier,
    )
    from proxmtl.latent import LatentMTL

    # what is wrong with the options is said now: files may take long to read
    of_latent: dict[str, Any] = {
        "n_latents": K,
        "algorithm": algorithm,
    }
    LatentMTL(**of_latent, **strengths.papers())
    console = make_console()
    named, by_tasks = None if find else groups, divide == "tasks"
    with fitting(
        samples,
        match,
        named,
        split,
        run,
        latent=grouped,
        by_tasks=by_tasks,
        images=images,
        # a file of groups counts by its contents
        options={**ctx.params, "groups": "auto" if find else None},
        seconds=checkpoint,
        pairs=not auto and not find,
    ) as work:
        chosen = "auto" if find else work.groups
        common: dict[str, Any] = {
            "class_weight": "balanced" if balanced else None,
            "max_passes": max_passes,
            "label_names": work.data.names,
            "standardize": ("search" if auto else True) if standardize is None else standardize,
            **({} if tol is None else {"tol": tol}),
        }
        searched: dict[str, Any] = {
            "threshold": least,
            "random_state": split.seed,
            "keep_single_task": True,  # the page shows what sharing changes
        }
        model: LinearModel
        if auto and latent:
            model = LatentMTLClassifierCV(groups=chosen, **searched, **common)
        elif auto:
            model = SharedPlusOwnClassifierCV(**searched, **common)
        elif single_task is not None:
            model = SingleTaskClassifier(l2_strength=single_task, **common)
        else:
            model = LatentMTLClassifier(
                groups=chosen, random_state=split.seed, **of_latent, **given, **common
            )
        with (
            work.room(K if isinstance(K, int) else None, own=grouped),
            fit_progress("Fitting", max_passes) as callback,
        ):
            model.fit(*work.fitted, callback=callback, checkpoint=work.checkpoint)
        found = getattr(model, "groups_", None) if find else work.groups
        outcome = work.write(model, "fit", found)
    show_outcome(console, outcome, run.out)
    work.parts.tell(run.out)


def _say_what_groups_do(*, auto: bool) -> None:
    """Say that this model takes no groups."""
    from proxmtl.cli.console import say_note

    other = "with --latent they choose latent tasks together" if auto else "this model has none"
    say_note(f"the groups serve the tables, and don't change the model; {other}.")


def _say_what_is_not_searched() -> None:
    """Say that options of a model of given strengths have taken the place of the search."""
    from proxmtl.cli.console import say_note

    say_note(
        "with the strengths, latent tasks or algorithm given, the latent model is fitted, and no "
        "cross-validation finds out which attributes share; without these options it does (--auto)."
    )
