"""``proxmtl predict``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder that a fit wrote.", metavar="RUN")],
    features: Annotated[
        Path,
        typer.Argument(help="Features: npy, npz, safetensors or parquet.", metavar="FEATURES"),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")],
    *,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write real-valued scores instead of 0 and 1.")
    ] = False,
    key: Annotated[
        str | None, typer.Option(help="Which array of an npz or safetensors file.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Predict the attributes of new samples.

    The CSV has one column per attribute and one row per sample, with the identifiers of the
    features where these have some. A score above zero means yes; scores of different attributes
    are not on one scale.

    [bold]Example[/]

      proxmtl predict runs/first new.npy --out predictions.csv
    """
    import numpy as np

    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.inputs import features_for, trained_model
    from proxmtl.io import InputError, write_text

    if out.exists() and not force:
        raise InputError(out, "the file exists; give --force to replace it or another --out.")
    model, names = trained_model(run)
    X, ids = features_for(model, features, key)
    table = model.decision_function(X).reshape(len(X), -1)
    cells = [[f"{score:.6g}" for score in row] for row in table] if scores else (table > 0) * 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names if ids is None else ["id", *names])
    for number, row in enumerate(np.asarray(cells).tolist()):
        writer.writerow(row if ids is None else [ids[number], *row])
    write_text(out, text.getvalue())
    make_console().print(
        f"{len(X)} samples, {len(names)} attributes "
        f"({'scores' if scores else 'labels 0 and 1'}) -> {shown_path(out)}"
    )
