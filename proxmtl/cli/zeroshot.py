"""``proxmtl zeroshot``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["zeroshot"]


def zeroshot(
    run: Annotated[Path, typer.Argument(help="Run folder that a fit wrote.", metavar="RUN")],
    features: Annotated[
        Path,
        typer.Argument(help="Features of images of unseen classes.", metavar="FEATURES"),
    ],
    *,
    matrix: Annotated[
        Path,
        typer.Option(
            "--matrix",
            "-m",
            help="CSV of classes: one row a class with its name, one column an attribute, 1 or 0.",
        ),
    ],
    classes: Annotated[
        Path, typer.Option("--classes", "-c", help="CSV with the column 'class': a row an image.")
    ],
    held_out: Annotated[
        Path,
        typer.Option("--held-out", help="Features that the model was not fitted on, to calibrate."),
    ],
    held_out_labels: Annotated[
        Path, typer.Option("--held-out-labels", help="CSV of their attribute labels.")
    ],
    prior: Annotated[
        bool,
        typer.Option(
            help="Correct for how common an attribute is among the classes of the matrix that "
            "have no image here: the training classes."
        ),
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the table to this CSV file.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="Which array of an npz or safetensors file.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of row identifiers in the labels.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
) -> None:
    """Recognise classes that the model has never seen, by their attributes.

    Scores become probabilities by Platt's calibration on held-out samples; the class is the one
    whose attributes fit best (direct attribute prediction). Candidates are the classes that occur
    in --classes. The score is the mean over classes of the share recognised; where k classes tie,
    the right one counts 1/k.

    [bold]Example[/]

      proxmtl zeroshot runs/first unseen.npy --matrix matrix.csv --classes unseen.csv
      --held-out val.npy --held-out-labels val.csv
    """
    import numpy as np
    import pandas as pd

    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.inputs import features_for, labels_for, trained_model
    from proxmtl.experiments import (
        attribute_priors,
        direct_attribute_prediction,
        fit_platt,
        same_signature,
    )
    from proxmtl.io import InputError, Labels, align_rows, read_classes, read_labels, write_text
    from proxmtl.report.tables import class_table

    if out is not None and out.exists() and not force:
        raise InputError(out, "the file exists; give --force to replace it or another --out.")
    model, names = trained_model(run)
    rows = read_labels(matrix, id_column=id_column)
    if rows.ids is None:
        raise InputError(
            matrix,
            "no column of class names; put them first, under the header 'name', or name their "
            "column by --id-column.",
            line=1,
        )
    signatures = labels_for(names, rows, matrix)
    if np.isnan(signatures).any():
        lacking = rows.ids[int(np.isnan(signatures).any(axis=1).argmax())]
        raise InputError(matrix, f"class {lacking!r} has a blank cell; each must be 1 or 0.")

    X, ids = features_for(model, features, key)
    truth = np.array(read_classes(classes, rows.ids, ids, len(X)))
    seen_here = np.unique(truth)
    others = np.setdiff1d(np.arange(len(rows.ids)), seen_here)

    H, held_ids = features_for(model, held_out, key)
    read = read_labels(held_out_labels)
    chosen = Labels(labels_for(names, read, held_out_labels), tuple(names), read.ids)
    known = align_rows(
        chosen, held_ids, len(H), labels_path=held_out_labels, features_path=held_out
    )
    empty = np.flatnonzero(np.isnan(known.values).all(axis=0))
    if len(empty):
        raise InputError(
            held_out_labels, f"no label of {names[empty[0]]!r}; it cannot be calibrated."
        )
    calibration = fit_platt(model.decision_function(H).reshape(len(H), -1), known.values)

    corrected = prior and len(others) > 0
    found = direct_attribute_prediction(
        calibration.log_odds(model.decision_function(X).reshape(len(X), -1)),
        signatures[seen_here],
        attribute_priors(signatures[others]) if corrected else 0.5,
    )
    position = np.searchsorted(seen_here, truth)
    candidates = [rows.ids[number] for number in seen_here]
    table = pd.DataFrame(
        {
            "accuracy": found.accuracy_by_class(position),
            "images": np.bincount(position),
            "tied": np.bincount(position, weights=found.tied).astype(int),
        },
        index=pd.Index(candidates, name="class"),
    )
    console = make_console()
    console.print(class_table(table, title=f"{len(X)} images of {len(candidates)} unseen classes"))
    source = f"of {len(others)} other classes" if corrected else "1/2: no correction"
    console.print(f"priors of the attributes: {source}")
    for same in same_signature(signatures[seen_here]):
        console.print(
            f"no attribute tells these apart: {', '.join(candidates[number] for number in same)}"
        )
    if out is not None:
        write_text(out, table.to_csv(float_format="%.6g"))
        console.print(f"accuracy by class -> {shown_path(out)}")
