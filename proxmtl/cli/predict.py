"""``proxmtl predict``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

from proxmtl.cli import options
from proxmtl.cli.option_groups import grouped_options

__all__ = ["predict"]


@grouped_options
def predict(
    run: options.RunFolder,
    samples: Annotated[
        Path,
        typer.Argument(
            help="Features (npy, npz, safetensors, parquet, or a folder of shards); for a run on "
            "images a folder, a .tar archive or a .csv file of images.",
            metavar="SAMPLES",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")],
    *,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write real-valued scores instead of 0 and 1.")
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities",
            help="Write probabilities of yes instead of 0 and 1; the run must have been fitted "
            "with --auto, which calibrates them.",
        ),
    ] = False,
    scoring: options.ScoringOptions,
    id_column: Annotated[
        str | None,
        typer.Option(help="Column of row identifiers in parquet features or in a .csv of images."),
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            help="'position': leave identifiers out of the predictions, whatever they are."
        ),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Predict the attributes of new samples.

    The CSV has one column per attribute and one row per sample, with the identifiers of the
    features where these have some, and with the names of images. A score above zero means yes;
    scores of different attributes are not on one scale, but probabilities are. A regressor's
    predictions are numbers.

    [bold]Examples[/]

      proxmtl predict runs/first new.npy --out predictions.csv

      proxmtl predict runs/cnn photos --out predictions.csv --scores
    """
    from proxmtl.io.outputs import settle_file

    if scores and probabilities:
        raise ValueError("--scores, --probabilities: give one of the two, not both.")
    settle_file(out, force=force, inputs=(run, samples))

    from proxmtl.cli.taken_samples import check_samples
    from proxmtl.io.rows import check_match

    way = check_match(match)
    check_samples(run, samples)

    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.parts import written_or_kept
    from proxmtl.cli.predictions import probabilities_of
    from proxmtl.cli.scoring import Reading, open_run
    from proxmtl.io.errors import InputError
    from proxmtl.io.rows import check_ids
    from proxmtl.text_tables import table_line
    from proxmtl.wording import counted

    opened = open_run(run)
    model = getattr(opened, "model", None)
    if probabilities and not hasattr(model, "calibration_"):
        why = (
            "its model is not calibrated (fit --auto, the default on images, calibrates one); give "
            "--scores"
        )
        if opened.real:
            why = "its attributes are real numbers; leave out --probabilities"
        raise InputError(run, f"has no probabilities: {why}.")
    reading = Reading(scoring, id_column, "samples", way, recognise=False)
    table, ids, _ = opened.scores(samples, reading)
    likely = probabilities_of(model, table) if probabilities else None
    table = table if likely is None else likely
    if match == "position":
        ids = None
    elif ids is not None:
        check_ids(samples, "samples", ids)
    # an attribute may be called 'id' itself
    header = [] if ids is None else ["image" if "id" in opened.names else "id"]
    lines = [table_line([*header, *opened.names])]
    form = ".10g" if opened.real else ".6g" if scores or probabilities else ""
    kind = "scores" if scores else "probabilities" if probabilities else "labels 0 and 1"
    what = "values" if opened.real else kind
    for number, row in enumerate(table):
        cells = [f"{y:{form}}" for y in row] if form else ["01"[int(y > 0)] for y in row]
        lines.append(table_line(cells if ids is None else [ids[number], *cells]))
    written_or_kept(out, "".join(lines))
    make_console().print(
        f"{counted(len(table), 'sample')}, {counted(len(opened.names), 'attribute')} "
        f"({what}) -> {shown_path(out)}"
    )
