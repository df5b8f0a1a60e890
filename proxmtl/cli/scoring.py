"""A run folder as something that scores samples: a model of features, or networks on images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.sparse import issparse

from proxmtl.cli.console import say_note, say_warning
from proxmtl.cli.image_options import holds_images
from proxmtl.cli.inputs import features_for, pair_scores_of, scores_of, torch_device
from proxmtl.cli.labels_of_test import labels_for
from proxmtl.cli.progress import item_progress
from proxmtl.cli.run import given_groups
from proxmtl.cli.taken_samples import check_samples, image_recipe
from proxmtl.estimators import load_model
from proxmtl.groups import Groups
from proxmtl.io import (
    InputError,
    Labels,
    Match,
    Rows,
    join_rows,
    read_labels,
    read_model_kind,
)
from proxmtl.io.identity import fitted_rows, recognised_among, row_fingerprints
from proxmtl.io.names import CONFIG_FILE
from proxmtl.io.seal import read_document
from proxmtl.io.sparse_labels import dense_labels
from proxmtl.label_arrays import SparseLabels
from proxmtl.row_sources import FeatureRows, rows_of
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxmtl.backbones.trained import TrainedNetworks
    from proxmtl.backbones.training import AttributeCNN
    from proxmtl.cli.options import ScoringOptions
    from proxmtl.estimators.base import LinearModel
    from proxmtl.io import Features
    from proxmtl.io.rows import Joined

__all__ = [
    "FittedRun",
    "Reading",
    "Run",
    "Scored",
    "TrainedRun",
    "attribute_groups",
    "join_scored",
    "labels_of",
    "open_classifier",
    "open_run",
    "scored_known",
    "scored_labels",
]


@dataclass(frozen=True)
class Reading:
    """How samples are read."""

    options: ScoringOptions
    """Some are of features, the others of images."""
    id_column: str | None = None
    id_column_of: Literal["samples", "labels"] = "labels"
    """Which of them must have that column; samples may have it in any case."""
    match: Match = "auto"
    recognise: bool = True
    """Whether samples that the model was fitted on are looked for."""
    task_column: str | None = None
    """Of labels with a line for each."""


class Scored(NamedTuple):
    """Scores of samples."""

    scores: NDArray[np.float64]
    """(N, M), finite; above zero means yes. Of a regressor its predictions. Or (E,), of the pairs
    of a sample and an attribute that have labels."""
    ids: tuple[str, ...] | None
    """Of the samples; names of the images."""
    fitted: NDArray[np.bool_]
    """Which of them the model was fitted on; all False where the reading did not recognise any."""

    def part(self, rows: NDArray[np.intp]) -> Scored:
        """Return the scores of some of the samples."""
        ids = None if self.ids is None else tuple(self.ids[row] for row in rows)
        return Scored(self.scores[rows], ids, self.fitted[rows])

    def warn_of_fitted(self, what_follows: str) -> None:
        """Warn, with what follows from it, where the model was fitted on some of the samples."""
        fitted = int(self.fitted.sum())
        if fitted:
            which = ""
            if self.ids is not None and fitted < len(self.fitted):
                more = f" and {fitted - 1} more" if fitted > 1 else ""
                which = f" ({self.ids[int(self.fitted.argmax())]!r}{more})"
            say_warning(
                f"{fitted} of the {counted(len(self.fitted), 'sample')} "
                f"{agree(fitted, 'is', 'are')} among those that the model was fitted on{which}: "
                f"{what_follows}."
            )


class FittedRun:
    """What ``fit`` and ``tune`` wrote: it takes features."""

    named_samples = False
    """Whether samples are asked for by name, instead of lying in a file row by row."""
    real = False
    """Whether it predicts real numbers, instead of yes and no."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model: LinearModel = load_model(folder)
        names = self.model.label_names_
        self.names = names or [f"attribute {i}" for i in range(len(self.model.coef_))]
        self.real = not hasattr(self.model, "label_values_")

    @property
    def groups(self) -> Groups | None:
        """Those of the model, else those that the run was given for its tables."""
        own = given_groups(self.model)
        path = self.folder / CONFIG_FILE
        if own is not None or not path.is_file():
            return own
        members: dict[str, list[str]] = read_document(path, "fit again.").get("groups", {})
        return Groups.from_names(members, list(self.names)) if members else None

    def scores(self, source: Path, reading: Reading, wanted: Sequence[str] | None = None) -> Scored:
        """Score features, row by row, or images whose features are made as those of the fit."""
        check_samples(self.folder, source)
        if holds_images(source):
            features, names = self._features_of(source, reading, wanted)
            seen = np.zeros(len(features), np.bool_)
            if reading.recognise:
                seen = recognised_among(fitted_rows(self.folder), features, names)
            return Scored(scores_of(self.model, features), names, seen)
        X, ids, _ = self._read(source, reading)
        if not reading.recognise:
            return Scored(scores_of(self.model, X), ids, np.zeros(X.shape[0], np.bool_))
        kept = fitted_rows(self.folder)
        if not isinstance(X, FeatureRows):
            return Scored(scores_of(self.model, X), ids, recognised_among(kept, X, ids))
        values, fitted = [], []
        for rows, block in X.blocks():  # one read for both
            values.append(scores_of(self.model, block))
            fitted.append(recognised_among(kept, block, None if ids is None else ids[rows]))
        return Scored(np.concatenate(values), ids, np.concatenate(fitted))

    def pair_scores(
        self, source: Path, path: Path, labels: Labels, reading: Reading
    ) -> tuple[Scored, SparseLabels] | None:
        """Scores of the pairs that have labels (from a path) alone; None: features are sparse."""
        X, ids, _ = self._read(source, reading)
        if issparse(X):
            return None
        samples = Rows(source, "samples", X.shape[0], ids)
        joined = _joined(samples, labels.rows(path), reading.match)
        X, names = rows_of(X, joined.first), None
        if ids is not None:
            names = tuple(ids[row] for row in joined.first)
        known = SparseLabels.of(labels.values[joined.second])
        fitted = np.zeros(X.shape[0], np.bool_)
        if reading.recognise:
            kept = fitted_rows(self.folder)
            whole = [(slice(0, X.shape[0]), X)]
            for rows, block in X.blocks() if isinstance(X, FeatureRows) else whole:
                own = None if names is None else names[rows]
                fitted[rows] = recognised_among(kept, block, own)
        return Scored(pair_scores_of(self.model, X, known), names, fitted), known

    def _read(self, source: Path, reading: Reading) -> Features:
        _refuse(reading, ("device", "batch_size", "skip_corrupt"), "images")
        return features_for(
            self.model,
            source,
            reading.options.key,
            reading.id_column,
            id_column_required=reading.id_column_of == "samples",
            memory=reading.options.memory,
        )

    def _features_of(
        self, source: Path, reading: Reading, wanted: Sequence[str] | None
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        from proxmtl.cli.image_features import embed_again  # noqa: PLC0415 - heavy

        made = image_recipe(self.folder)
        assert made is not None  # check_samples has raised otherwise
        _refuse(reading, ("key", "memory"), "features")
        options = reading.options
        column = reading.id_column if reading.id_column_of == "samples" else None
        return embed_again(
            source,
            made,
            self.folder,
            wanted=wanted,
            id_column=column,
            device=options.device,
            batch_size=options.batch_size,
            skip_corrupt=options.skip_corrupt,
        )


class TrainedRun:
    """What ``train`` wrote: it takes images."""

    named_samples = True
    real = False

    def __init__(self, folder: Path) -> None:
        from proxmtl.backbones.trained import TrainedNetworks  # noqa: PLC0415 - heavy

        self.folder = folder
        self.networks: TrainedNetworks = TrainedNetworks.load(folder)
        self.names = list(self.networks.model.names)
        self.groups = attribute_groups(self.networks.model)

    def scores(self, source: Path, reading: Reading, wanted: Sequence[str] | None = None) -> Scored:
        """Score images: all of a folder, or those that are wanted."""
        from proxmtl.backbones.data import find_images  # noqa: PLC0415 - heavy
        from proxmtl.backbones.stream import decode  # noqa: PLC0415 - heavy

        check_samples(self.folder, source)
        _refuse(reading, ("key", "memory"), "features")
        options = reading.options
        networks = self.networks.to(torch_device(options.device or "cpu"))
        column = reading.id_column if reading.id_column_of == "samples" else None
        if column is not None and source.suffix.lower() != ".csv":
            raise ValueError("id-column: no CSV file names these images; leave it out.")
        files = find_images(source, wanted, id_column=column, missing_ok=options.skip_corrupt)
        size = options.batch_size or 64
        batches = decode(
            files.images,
            networks.input_size,
            networks.fit,
            size,
            names=files.ids,
            skip_corrupt=options.skip_corrupt,
        )
        values, rows, seen, bad, done = [], [], [], [], 0
        with item_progress("Scoring", "images") as progress:
            for batch in batches:
                values.append(networks.scores(batch.pixels).double().cpu().numpy())
                if reading.recognise:
                    seen.append(row_fingerprints(batch.pixels))
                rows += batch.rows
                bad += [reason for _, reason in batch.bad]
                done += len(batch.images)
                progress(done, len(files.ids))
        if bad:
            say_warning(f"{counted(len(bad), 'image')} skipped, the first: {bad[0]}")
        if not rows:
            raise InputError(source, "none of its images can be used.")
        fitted = np.zeros(len(rows), np.bool_)
        if reading.recognise:
            fitted = np.isin(np.concatenate(seen), fitted_rows(self.folder)["mark"])
        return Scored(np.concatenate(values), tuple(files.ids[i] for i in rows), fitted)


def attribute_groups(model: AttributeCNN) -> Groups | None:
    """Groups that networks were trained with."""
    members: dict[str, list[str]] = model.description.get("groups", {})
    return Groups.from_names(members, list(model.names)) if members else None


Run: TypeAlias = FittedRun | TrainedRun


def open_run(folder: Path) -> Run:
    """Read the model of a run, whichever it is."""
    if read_model_kind(folder) == "AttributeCNN":
        return TrainedRun(folder)
    return FittedRun(folder)


def open_classifier(folder: Path) -> Run:
    """Read the model of a run of attributes that are yes or no.

    Raises
    ------
    InputError
        If it is a regressor.
    """
    run = open_run(folder)
    if run.real:
        raise InputError(
            folder,
            "holds a regressor, whose attributes are numbers, and this command is for attributes "
            "that are yes or no; proxmtl predict writes its predictions.",
        )
    return run


def labels_of(run: Run, path: Path, reading: Reading, *, pairs: bool = False) -> Labels:
    """Read labels of the attributes of a run, in its order.

    With ``pairs`` labels of a sparse matrix that stores those that are known stay sparse.
    """
    if run.named_samples and reading.match == "position":
        raise ValueError("match: images are matched by their names; leave out 'position'.")
    unique = reading.match != "position"
    read = read_labels(
        path,
        id_column=reading.id_column,
        unique_ids=unique,
        task_column=reading.task_column,
        sparse=pairs,
    )
    if run.named_samples and read.ids is None:
        raise InputError(
            path, "has no column of file names; add one, called 'image', or name it by --id-column."
        )
    return read._replace(values=labels_for(run.names, read, path), names=tuple(run.names))


def scored_known(
    run: Run, source: Path, path: Path, labels: Labels, reading: Reading
) -> tuple[Scored, NDArray[np.float64] | SparseLabels]:
    """Score samples as `scored_labels`; of sparse labels only pairs that have one, where it can."""
    if issparse(labels.values):
        if isinstance(run, FittedRun) and not holds_images(source):
            found = run.pair_scores(source, path, labels, reading)
            if found is not None:
                return found
        labels = labels._replace(values=dense_labels(path, labels.values))
    return scored_labels(run, source, path, labels, reading)


def scored_labels(
    run: Run, source: Path, path: Path, labels: Labels, reading: Reading
) -> tuple[Scored, NDArray[np.float64]]:
    """Score samples with labels (from a path): those that have both, and say which have not."""
    scored = run.scores(source, reading, labels.ids)
    joined = join_scored(scored, source, labels.rows(path), reading.match)
    return scored.part(joined.first), labels.values[joined.second]


def join_scored(scored: Scored, source: Path, other: Rows, match: Match) -> Joined:
    """Bring scores of samples together with what else is known of them."""
    return _joined(Rows(source, "samples", len(scored.scores), scored.ids), other, match)


def _joined(samples: Rows, other: Rows, match: Match) -> Joined:
    joined = join_rows(samples, other, match)
    if joined.note is not None:
        say_note(joined.note)
    return joined


def _refuse(reading: Reading, names: Sequence[str], kind: str) -> None:
    """Stop at an option that was given and would be ignored."""
    given = [name for name in names if _given(getattr(reading.options, name))]
    if given:
        option = given[0].replace("_", "-")
        raise ValueError(f"{option}: this is for runs that take {kind}; leave it out.")


def _given(value: Any) -> bool:
    return value is not None and value is not False
