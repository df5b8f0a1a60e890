"""``proxmtl evaluate``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

from proxmtl.cli import options
from proxmtl.cli.option_groups import grouped_options

__all__ = ["evaluate"]


@grouped_options
def evaluate(
    run: options.RunFolder,
    samples: Annotated[
        Path,
        typer.Argument(
            help="Features (npy, npz, safetensors, parquet, or a folder of shards); for a run on "
            "images a folder or a .tar archive of images.",
            metavar="SAMPLES",
        ),
    ],
    labels: Annotated[Path, typer.Option("--labels", "-l", help="CSV of labels; blank = missing.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the metrics to this CSV file.")
    ] = None,
    scoring: options.ScoringOptions,
    id_column: options.IdColumn = None,
    task_column: options.TaskColumn = None,
    match: options.Match = "auto",
    by_attribute: Annotated[
        bool, typer.Option("--by-attribute", "-a", help="Show every attribute.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
) -> None:
    """Score a fitted model on labelled samples that it has not seen.

    AP is the average precision, F1 that of the answers, accuracy the share of right labels,
    majority the accuracy of always giving the more frequent answer: an accuracy means little
    without it. Images are those
    that the labels name. Samples that the model was fitted on are counted in a warning.

    [bold]Examples[/]

      proxmtl evaluate runs/first test.npy --labels test.csv --by-attribute

      proxmtl evaluate runs/cnn photos --labels test.csv
    """
    from proxmtl.io.outputs import settle_file

    settle_file(out, force=force, inputs=(run, samples, labels))

    import numpy as np

    from proxmtl.cli.tables import check_scored

    check_scored(run, samples, labels, match=match, id_column=id_column, task_column=task_column)

    from proxmtl.cli.console import make_console, say_warning, shown_path
    from proxmtl.cli.parts import written_or_kept
    from proxmtl.cli.run import named_groups
    from proxmtl.cli.scoring import Reading, labels_of, open_classifier, scored_known
    from proxmtl.experiments import attribute_metrics, group_means
    from proxmtl.io.rows import check_match
    from proxmtl.report.cautions import few_positives
    from proxmtl.report.tables import attribute_table, group_table
    from proxmtl.wording import counted

    opened = open_classifier(run)
    way = check_match(match)
    reading = Reading(scoring, id_column, match=way, task_column=task_column)
    read = labels_of(opened, labels, reading, pairs=True)
    scored, known = scored_known(opened, samples, labels, read, reading)
    scored.warn_of_fitted("these scores are too good to expect on new ones")
    table = attribute_metrics(scored.scores, known, opened.names)
    means = group_means(table, named_groups(opened.groups))
    console = make_console()
    if by_attribute:
        console.print(attribute_table(table))
    console.print(group_table(means, title=counted(len(known), "sample")))
    positives = np.rint(np.nan_to_num(table["prevalence"] * table["n_observed"]))
    for warning in few_positives(opened.names, positives):
        say_warning(warning)
    if out is not None:
        written_or_kept(out, table.to_csv(float_format="%.6g"))
        console.print(f"metrics by attribute -> {shown_path(out)}")
