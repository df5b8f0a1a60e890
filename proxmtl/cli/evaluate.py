"""``proxmtl evaluate``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["evaluate"]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder that a fit wrote.", metavar="RUN")],
    features: Annotated[
        Path,
        typer.Argument(help="Features: npy, npz, safetensors or parquet.", metavar="FEATURES"),
    ],
    labels: Annotated[Path, typer.Option("--labels", "-l", help="CSV of labels; blank = missing.")],
    *,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the metrics to this CSV file.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Which array of an npz or safetensors file.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of row identifiers in the labels.")
    ] = None,
    by_attribute: Annotated[
        bool, typer.Option("--by-attribute", "-a", help="Show every attribute.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
) -> None:
    """Score a fitted model on labelled samples that it has not seen.

    AP is the average precision, accuracy the share of right labels, majority the accuracy of
    always giving the more frequent answer: an accuracy means little without it.

    [bold]Example[/]

      proxmtl evaluate runs/first test.npy --labels test.csv --by-attribute
    """
    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.inputs import features_for, labels_for, trained_model
    from proxmtl.experiments import attribute_metrics, group_means
    from proxmtl.io import InputError, Labels, align_rows, read_labels, write_text
    from proxmtl.report.tables import attribute_table, group_table

    if out is not None and out.exists() and not force:
        raise InputError(out, "the file exists; give --force to replace it or another --out.")
    model, names = trained_model(run)
    X, ids = features_for(model, features, key)
    read = read_labels(labels, id_column=id_column)
    chosen = Labels(labels_for(names, read, labels), tuple(names), read.ids)
    aligned = align_rows(chosen, ids, len(X), labels_path=labels, features_path=features)
    scores = model.decision_function(X).reshape(len(X), -1)
    table = attribute_metrics(scores, aligned.values, names)
    means = group_means(table, getattr(model, "groups_", None))
    console = make_console()
    if by_attribute:
        console.print(attribute_table(table))
    console.print(group_table(means, title=f"{len(X)} samples"))
    if out is not None:
        write_text(out, table.to_csv(float_format="%.6g"))
        console.print(f"metrics by attribute -> {shown_path(out)}")
