"""``proxmtl predict``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

from proxmtl.cli import options

__all__ = ["predict"]


def predict(
    run: Annotated[Path, typer.Argument(help="Run folder of fit, tune or train.", metavar="RUN")],
    samples: Annotated[
        Path,
        typer.Argument(
            help="Features (npy, npz, safetensors, parquet); for a run of train a folder, a .tar "
            "archive or a .csv file of images.",
            metavar="SAMPLES",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="CSV file to write.")],
    *,
    scores: Annotated[
        bool, typer.Option("--scores", help="Write real-valued scores instead of 0 and 1.")
    ] = False,
    key: options.Key = None,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    skip_corrupt: options.SkipCorrupt = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Predict the attributes of new samples.

    The CSV has one column per attribute and one row per sample, with the identifiers of the
    features where these have some, and with the names of images. A score above zero means yes;
    scores of different attributes are not on one scale.

    [bold]Examples[/]

      proxmtl predict runs/first new.npy --out predictions.csv

      proxmtl predict runs/cnn photos --out predictions.csv --scores
    """
    import numpy as np

    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.inputs import check_out
    from proxmtl.cli.scoring import Reading, open_run
    from proxmtl.io import write_text

    check_out(out, force=force)
    opened = open_run(run)
    table, ids, _ = opened.scores(samples, Reading(key, device, batch_size, skip_corrupt))
    cells = [[f"{score:.6g}" for score in row] for row in table] if scores else (table > 0) * 1
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(opened.names if ids is None else ["id", *opened.names])
    for number, row in enumerate(np.asarray(cells).tolist()):
        writer.writerow(row if ids is None else [ids[number], *row])
    write_text(out, text.getvalue())
    make_console().print(
        f"{len(table)} samples, {len(opened.names)} attributes "
        f"({'scores' if scores else 'labels 0 and 1'}) -> {shown_path(out)}"
    )
