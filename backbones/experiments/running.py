"""The loop of all tables: cells that the log lacks, one by one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from proxmtl.backbones.experiments.cells import CellLog, Key, configured
from proxmtl.backbones.experiments.protocol import Array, Data, Fitted, Fold, Part, System, Table
from proxmtl.backbones.experiments.splits import DRAW, hidden_labels, validation_parts
from proxmtl.experiments import (
    attribute_metrics,
    attribute_priors,
    direct_attribute_prediction,
)
from proxmtl.numerics import column_moments

__all__ = ["Progress", "compute", "finished"]

logger = logging.getLogger(__name__)

PACKAGES = ("proxmtl", "torch", "numpy", "scikit-learn")
MORE_PACKAGES = {"hand-made": ("scikit-image",)}
"""Of rows that learn from features of their own, by the name of those features."""
PROTOCOL = 3
"""Raised by hand when what a cell means changes, such as how scores are calibrated."""
CHOICE = "means over parts where an attribute was learnt; sharing by more than a standard error"
"""How several parts choose; what one part chooses doesn't depend on it."""
KEPT = ("ap", "auc", "accuracy", "majority", "prevalence")
"""Of the metrics of each attribute, in the log."""


class Progress(NamedTuple):
    """How far a table has come.

    Attributes
    ----------
    cell
        The cell that is done.
    done, total
        Cells.
    left
        Seconds that the others may take, from those of each system so far; None: not known yet.
    """

    cell: dict[str, Any]
    done: int
    total: int
    left: float | None


def compute(  # noqa: PLR0917 - public, in use by position
    table: Table,
    data: Data,
    log: CellLog,
    labels: Sequence[int | None] = (None,),
    progress: Callable[[Progress], None] | None = None,
    device: str = "cpu",
) -> list[dict[str, Any]]:
    """Compute the cells of a table that its log lacks.

    Split by split, so that an interrupted run has whole splits of all systems.

    Parameters
    ----------
    table
        The declaration.
    data
        What its ``load`` returned.
    log
        Cells that are there, and where new ones go.
    labels
        Numbers of labels of each attribute to learn from; None: all of them.
    progress
        Called after each cell.
    device
        Where networks are trained, of rows that train some.

    Returns
    -------
    list of dict
        The cells of the table, in the order of their systems, splits and labels.
    """
    wanted = list(_wanted(table, data, labels))
    found: dict[Key, dict[str, Any]] = {}
    missing: list[_Wanted] = []
    for each in wanted:
        known = log.find(each.key, each.configuration)
        if known is None:
            missing.append(each)
        else:
            found[each.key] = known
    for number, (key, configuration, given, fold, system) in enumerate(missing):
        cell = _cell(table, given, fold, system, device)
        found[key] = log.append(key, {"configuration": configuration, **cell})
        if progress is not None:
            left = _left(list(found.values()), [each.key for each in missing[number + 1 :]])
            progress(Progress(found[key], len(found), len(wanted), left))
    return [found[each.key] for each in wanted]


def finished(table: Table, data: Data, log: CellLog) -> list[dict[str, Any]]:
    """Cells of a log that were computed as the table and its systems are declared now."""
    numbers = {cell["labels"] for cell in log}
    valid = {each.key: each.configuration for each in _wanted(table, data, list(numbers))}
    keys = ("system", "split", "labels")
    return [c for c in log if valid.get(Key(*(c[k] for k in keys))) == c["configuration"]]


class _Wanted(NamedTuple):
    """A cell: the hash of what its figures depend on, and the labels and rows it learns from."""

    key: Key
    configuration: str
    data: Data
    fold: Fold
    system: System


def _wanted(table: Table, data: Data, labels: Sequence[int | None]) -> Iterator[_Wanted]:
    """All cells of a table, split by split for each number of labels."""
    folds, digest = table.folds(data, table.seed), data.digest()
    for n in labels:
        for fold in folds:
            given, parts = _with_labels(table, data, fold, n)
            for system in table.systems:
                configuration = _configuration(table, digest, parts, system, n)
                key = Key(system.name, fold.name, n)
                yield _Wanted(key, configuration, given, parts, system)


def _with_labels(table: Table, data: Data, fold: Fold, n: int | None) -> tuple[Data, Fold]:
    """Keep n labels of each attribute in the rows to learn from; they are too few for one part."""
    if n is None:
        return data, fold
    halves = [half for part in fold.parts for half in part]
    learn = np.unique(np.concatenate([fold.refit, *halves]))
    Y = data.Y.astype(np.float64)
    Y[learn] = hidden_labels(Y[learn], n, (table.seed, zlib.crc32(fold.name.encode())))
    kept = replace(data, Y=Y)
    if not table.unseen:
        fold = fold._replace(parts=validation_parts(kept, learn, table.seed))
    return kept, fold


def _configuration(
    table: Table, digest: str, fold: Fold, system: System, labels: int | None
) -> str:
    """Hash of what the figures of a cell depend on, but versions."""
    arrays = [*(half for part in fold.parts for half in part), fold.refit, fold.test]
    rows = [hashlib.sha256(np.asarray(each, np.int64).tobytes()).hexdigest() for each in arrays]
    return configured(
        {
            "protocol": PROTOCOL,
            "draw": None if labels is None else DRAW,
            **({} if len(fold.parts) == 1 else {"choice": CHOICE}),
            "table": table.name,
            "standardize": table.standardize,
            "seed": table.seed,
            "data": digest,
            "rows": rows,
            "options": _plain(system.options),
        }
    )


def _packages(system: System) -> tuple[str, ...]:
    """Packages that the figures of a system depend on."""
    return (*PACKAGES, *MORE_PACKAGES.get(system.features or "", ()))


def _counts(fold: Fold) -> dict[str, int]:
    """Rows of a split; of several training and validation parts, the mean."""
    train, validation = (round(np.mean([len(p[side]) for p in fold.parts])) for side in (0, 1))
    counts = {"train": train, "validation": validation, "parts": len(fold.parts)}
    return {**counts, "refit": len(fold.refit), "test": len(fold.test)}


def _left(cells: Sequence[dict[str, Any]], missing: Sequence[Key]) -> float | None:
    """Seconds of the cells that are missing; of systems without one yet, the mean of the others."""
    if not cells:
        return None
    seconds = {name: [c["seconds"] for c in cells if c["system"] == name] for name in _names(cells)}
    mean = float(np.mean([c["seconds"] for c in cells]))
    return float(sum(np.mean(seconds.get(key.system, [mean])) for key in missing))


def _names(cells: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(cell["system"] for cell in cells))


def _cell(table: Table, data: Data, fold: Fold, system: System, device: str) -> dict[str, Any]:
    """Fit a system on a split, and score it on the test rows."""
    if system.features is not None:
        data = replace(data, X=data.others[system.features]())
    part, scaled = _part(table, data, fold, device)
    begin, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = system.fit(part)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    X, Y = scaled(data.X[fold.test]), data.Y[fold.test]
    log_odds = fitted.log_odds(X)
    metrics = attribute_metrics(log_odds, Y, data.names)
    extra = {} if table.extra is None else table.extra(log_odds, data, fold.test)  # noqa: S610 - a function of ours
    if table.unseen:
        extra["zero-shot accuracy"] = _unseen_accuracy(fitted, part, X, log_odds, data, fold)
    names = table.name, system.name, fold.name
    logger.info("%s, %s, %s: chose %s among %s", *names, fitted.chosen, fitted.validation)
    return {
        "table": table.name,
        "seed": table.seed,
        "options": _plain(system.options),
        "rows": _counts(fold),
        "versions": {name: importlib.metadata.version(name) for name in _packages(system)},
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "chosen": fitted.chosen,
        "validation": fitted.validation,
        "notes": fitted.notes,
        "warnings": sorted({str(each.message)[:200] for each in caught})[:5],
        "attributes": list(metrics.index),
        "metrics": {name: [_rounded(v) for v in metrics[name]] for name in KEPT},
        "extra": {name: round(value, 5) for name, value in extra.items()},
    }


def _part(
    table: Table, data: Data, fold: Fold, device: str
) -> tuple[Part, Callable[[Array], Array]]:
    """What a system learns from, and how test rows are scaled alike."""
    halves = [half for part in fold.parts for half in part]
    rows = np.unique(np.concatenate([fold.refit, *halves]))
    X, Y = data.X[rows], data.Y[rows].astype(np.float64)
    scaled = _scaling(data.X, fold.refit)
    place = {int(row): number for number, row in enumerate(rows)}

    def placed(part: Array) -> Array:
        return np.array([place[int(row)] for row in part])

    parts = tuple((placed(train), placed(validation)) for train, validation in fold.parts)
    part = Part(
        scaled(X),
        Y,
        parts,
        placed(fold.refit),
        data.groups,
        data.names,
        None if data.classes is None else data.classes[rows],
        data.signatures,
        table.seed,
        table.standardize,
        device,
    )
    return part, scaled


def _scaling(X: Array, rows: Array) -> Callable[[Array], Array]:
    """Centre features on some rows, and scale them by one number; images stay as they are."""
    if X.ndim > 2:
        return lambda images: images
    moments = column_moments(X[rows])
    mean, scale = moments.mean.numpy(), float(moments.std.square().mean().sqrt())

    def scaled(features: Array) -> Array:
        found: Array = ((features - mean) / scale).astype(np.float32)
        return found

    return scaled


def _unseen_accuracy(  # noqa: PLR0917 - what is known of a cell
    fitted: Fitted, part: Part, X: Array, log_odds: Array, data: Data, fold: Fold
) -> float:
    """Mean over the unseen classes of the accuracy among them."""
    assert data.classes is not None
    assert part.classes is not None
    unseen, numbers = np.unique(data.classes[fold.test], return_inverse=True)
    if fitted.class_scores is not None:
        tables = {name: values[unseen] for name, values in data.signatures.items()}
        right = fitted.class_scores(X, tables).argmax(axis=1) == numbers
        return float(np.mean([right[numbers == k].mean() for k in range(len(unseen))]))
    binary = data.signatures["binary"]
    priors = attribute_priors(binary[np.unique(part.classes)])
    found = direct_attribute_prediction(log_odds, binary[unseen], priors)
    return float(np.nanmean(found.accuracy_by_class(numbers)))


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)


def _plain(value: Any) -> Any:
    """As JSON has it: tuples are lists."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
