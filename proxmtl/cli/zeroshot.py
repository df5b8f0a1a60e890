"""``proxmtl zeroshot``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxmtl.cli import options
from proxmtl.cli.option_groups import grouped_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from proxmtl.cli.scoring import Reading, Run
    from proxmtl.experiments import PlattCalibration
    from proxmtl.io import Labels

__all__ = ["zeroshot"]


@grouped_options
def zeroshot(
    run: options.RunFolder,
    samples: Annotated[
        Path,
        typer.Argument(
            help="Images of unseen classes: their features, or for a run of train a folder or a "
            ".tar archive.",
            metavar="SAMPLES",
        ),
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
        Path,
        typer.Option(
            "--classes",
            "-c",
            help="CSV with the column 'class': a row an image, named in the first column.",
        ),
    ],
    held_out: Annotated[
        Path,
        typer.Option(
            "--held-out",
            help="Samples to calibrate on; those that the model was fitted on are left out.",
        ),
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
    scoring: options.ScoringOptions,
    id_column: Annotated[
        str | None, typer.Option(help="Column of class names in the matrix.")
    ] = None,
    match: Annotated[
        str,
        typer.Option(
            help="How rows are brought together with classes and with labels: by 'id', by "
            "'position', or 'auto': by id where both have some, by position where neither has."
        ),
    ] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
) -> None:
    """Recognise classes that the model has never seen, by their attributes.

    Scores become probabilities by Platt's calibration on held-out samples (rows that the model was
    fitted on are recognised and left out: it is too sure of them); the class is the one
    whose attributes fit best (direct attribute prediction). Candidates are the classes that occur
    in --classes. The score is the mean over classes of the share recognised; where k classes tie,
    the right one counts 1/k.

    [bold]Examples[/]

      proxmtl zeroshot runs/first unseen.npy --matrix matrix.csv --classes unseen.csv
      --held-out val.npy --held-out-labels val.csv

      proxmtl zeroshot runs/cnn photos --matrix matrix.csv --classes unseen.csv
      --held-out photos --held-out-labels labels.csv
    """
    from proxmtl.io.outputs import settle_file

    settle_file(out, force=force, inputs=(run, samples, matrix, classes, held_out, held_out_labels))

    from proxmtl.cli.taken_samples import check_samples

    for each in (samples, held_out):
        check_samples(run, each)

    import numpy as np
    import pandas as pd

    from proxmtl.cli.console import make_console, shown_path
    from proxmtl.cli.parts import written_or_kept
    from proxmtl.cli.scoring import Reading, join_scored, labels_of, open_classifier
    from proxmtl.experiments import attribute_priors, direct_attribute_prediction, same_signature
    from proxmtl.io import InputError, read_classes
    from proxmtl.io.rows import check_match
    from proxmtl.report.tables import class_table
    from proxmtl.wording import counted

    opened = open_classifier(run)
    reading = Reading(scoring, match=check_match(match))
    known, signatures = _read_matrix(matrix, opened.names, id_column)
    # all small files are read before images are scored, which may take hours
    given = read_classes(classes, known, unique_ids=reading.match != "position", matrix=matrix)
    if opened.named_samples and given.ids is None:
        raise InputError(classes, "has no column of file names; add one first, called 'image'.")
    held_labels = labels_of(opened, held_out_labels, reading)
    scored = opened.scores(samples, reading, given.ids)
    joined = join_scored(scored, samples, given.rows(classes), reading.match)
    scored = scored.part(joined.first)
    scored.warn_of_fitted("their classes are not unseen")
    truth = np.array(given.numbers)[joined.second]
    seen_here = np.unique(truth)
    others = np.setdiff1d(np.arange(len(known)), seen_here)
    calibration = _calibrate(opened, held_out, held_out_labels, held_labels, reading)

    corrected = prior and len(others) > 0
    found = direct_attribute_prediction(
        calibration.log_odds(scored.scores),
        signatures[seen_here],
        attribute_priors(signatures[others]) if corrected else 0.5,
    )
    position = np.searchsorted(seen_here, truth)
    candidates = [known[number] for number in seen_here]
    table = pd.DataFrame(
        {
            "accuracy": found.accuracy_by_class(position),
            "images": np.bincount(position),
            "tied": np.bincount(position, weights=found.tied).astype(int),
        },
        index=pd.Index(candidates, name="class"),
    )
    console = make_console()
    title = (
        f"{counted(len(truth), 'image')} of "
        f"{counted(len(candidates), 'unseen class', 'unseen classes')}"
    )
    console.print(class_table(table, title=title))
    trained = counted(len(others), "other class", "other classes")
    source = f"of {trained}" if corrected else "1/2: no correction"
    console.print(f"priors of the attributes: {source}")
    for same in same_signature(signatures[seen_here]):
        alike = ", ".join(candidates[number] for number in same)
        console.print(f"no attribute tells these apart: {alike}", markup=False)
    if out is not None:
        written_or_kept(out, table.to_csv(float_format="%.6g"))
        console.print(f"accuracy by class -> {shown_path(out)}")


def _read_matrix(
    path: Path, names: list[str], id_column: str | None
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Names of the classes, and 1 or 0 for each of the model's attributes."""
    import numpy as np

    from proxmtl.cli.labels_of_test import labels_for
    from proxmtl.io import InputError, read_labels

    rows = read_labels(path, id_column=id_column)
    if rows.ids is None:
        raise InputError(
            path,
            "no column of class names; put them first, under the header 'name', or name their "
            "column by --id-column.",
            line=1,
        )
    signatures = labels_for(names, rows, path, "1 or 0 for every class")
    if np.isnan(signatures).any():
        lacking = rows.ids[int(np.isnan(signatures).any(axis=1).argmax())]
        raise InputError(path, f"class {lacking!r} has a blank cell; each must be 1 or 0.")
    return rows.ids, signatures


def _calibrate(
    run: Run, samples: Path, path: Path, labels: Labels, reading: Reading
) -> PlattCalibration:
    """Calibrate on the samples that the model was not fitted on."""
    import numpy as np

    from proxmtl.cli.console import say_warning
    from proxmtl.cli.scoring import scored_labels
    from proxmtl.experiments import fit_platt
    from proxmtl.io import InputError
    from proxmtl.wording import counted

    scored, known = scored_labels(run, samples, path, labels, reading)
    fresh = ~scored.fitted
    if not fresh.any():
        raise InputError(
            samples,
            "the model was fitted on all of these samples, and is too sure of them to be "
            "calibrated by them; give others as --held-out.",
        )
    if not fresh.all():
        say_warning(
            f"{samples}: the model was fitted on {int(scored.fitted.sum())} of these "
            f"{counted(len(fresh), 'sample')}; calibrated on the other {int(fresh.sum())}."
        )
    empty = np.flatnonzero(np.isnan(known[fresh]).all(axis=0))
    if len(empty):
        raise InputError(path, f"no label of {run.names[empty[0]]!r}; it cannot be calibrated.")
    return fit_platt(scored.scores[fresh], known[fresh])
