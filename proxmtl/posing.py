"""Designs and targets of what a user has: arrays, rows in files, labels of any coding."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from proxmtl.designs import (
    Design,
    ObservedDesign,
    ShardedDesign,
    SharedDesign,
    StreamedDesign,
    TaskDesign,
)
from proxmtl.label_arrays import SparseLabels, is_sparse
from proxmtl.label_coding import inferred_signs, label_values
from proxmtl.losses import Loss, WestonWatkins
from proxmtl.ranks import ALONE
from proxmtl.row_sources import as_rows, is_rows
from proxmtl.targets import Targets

__all__ = ["design_of", "observed_design", "targets_of"]


def design_of(X: Any, *, intercept: bool) -> Design:
    """Design of a design, of arrays, or of rows in files, for labels of every sample.

    Parameters
    ----------
    X
        As for :meth:`Problem.of`.
    intercept : bool
        Of a design that is made here.
    """
    if isinstance(X, Design):
        return X
    if is_rows(X):
        rows = as_rows(X)
        if rows.ranks is not ALONE:
            raise ValueError(
                "X: rows among several ranks are for estimators; give a ShardedDesign of the rows "
                "of this rank (X.own), and their labels."
            )
        return StreamedDesign(rows, intercept=intercept, memory=rows.memory)
    several = isinstance(X, (list, tuple))
    return TaskDesign(X, intercept=intercept) if several else SharedDesign(X, intercept=intercept)


def observed_design(design: Design, labels: SparseLabels) -> Design:
    """Design of the pairs of a sample and a task that have a label.

    Parameters
    ----------
    design : Design
        Of features that all tasks share; one of these pairs is returned as it is.
    labels : SparseLabels

    Raises
    ------
    ValueError
        If the features are sparse or those of single tasks, there are more or fewer than rows of
        the labels, or the design is one of other pairs.
    """
    if isinstance(design, ShardedDesign):
        if design.tasks is not None:
            raise ValueError(
                "labels: are those of a sparse matrix, and the tasks are divided among ranks; "
                "divide the samples."
            )
        with design.ranks.together():
            own = observed_design(design.own, labels)
        return design if own is design.own else ShardedDesign(own, design.ranks)
    rows, tasks = (torch.from_numpy(each).to(design.device) for each in (labels.rows, labels.tasks))
    if not isinstance(design, ObservedDesign):
        _check_rows(design, labels)
        return ObservedDesign(design, rows, tasks, labels.shape[1])
    shape = design.n_samples, design.n_tasks
    same = torch.equal(rows, design.rows) and torch.equal(tasks, design.task_of)
    if labels.shape != shape or not same:
        raise ValueError(
            f"labels: {labels.size} of a table of shape {labels.shape} are not in the places of "
            f"the {len(design.rows)} of {shape} that the design was made of; give the features, or "
            "their design, with these labels."
        )
    return design


def targets_of(Y: Any, design: Design, loss: Loss, **options: Any) -> Targets:
    """Targets of labels that a loss takes, in the precision of a design.

    Parameters
    ----------
    Y
        As for :meth:`Problem.of`.
    design : Design
    loss : Loss
    options
        Weights and reduction, as for :meth:`Targets.from_labels`.

    Raises
    ------
    ValueError
        If there are more or fewer labels than rows, or labels are of no coding that the loss takes.
    """
    with design.ranks.together():
        _check_rows(design, Y)
        signs = not isinstance(loss, WestonWatkins) and loss.labels != "real"
        given = SparseLabels.of(Y).values if is_sparse(Y) else Y
        values = label_values(given) if signs else []
    if signs:
        # a rank may have labels of one class only: all of them tell the coding
        known = {value for own in design.ranks.gathered(values) for value in own}
        if is_sparse(Y):
            check_stored(known)
        found = inferred_signs(given, known, np.float16)  # of a large matrix a short copy
        Y = SparseLabels.of(Y).coded(found) if is_sparse(Y) else found
    options["like"] = torch.empty(0, dtype=design.dtype, device=design.device)
    options["ranks"] = design.ranks
    if design.tasks is not None:
        if loss.coupled:
            raise ValueError(
                f"loss: {type(loss).__name__} couples the tasks, which are divided among ranks; "
                "divide the samples instead."
            )
        options["tasks"] = design.tasks.tolist()
    if isinstance(loss, WestonWatkins):
        return Targets.from_classes(Y, loss.n_classes, **options)
    if loss.labels == "real":
        return Targets.from_labels(Y, coding="real", **options)
    return Targets.from_labels(Y, **options)


def check_stored(values: Collection[Any]) -> None:
    """Raise ``ValueError`` if a sparse matrix stores positive labels alone.

    As an indicator matrix it means that all other labels are negative, and not that they are
    missing; the engine does not guess.
    """
    if len(values) == 1 and next(iter(values)) == 1:
        raise ValueError(
            "labels: the sparse matrix stores 1 only, and what it does not store is missing here. "
            "If the rest is negative, pass Y.toarray(); else store the known negatives too, as -1 "
            "(or as 0, explicitly, everywhere)."
        )


def _check_rows(design: Design, Y: Any) -> None:
    """Raise before labels are looked at if there are more or fewer than shared features have rows.

    A matrix the other way round would lack classes first, which misleads.
    """
    n = None if isinstance(design, TaskDesign) else getattr(design, "n_samples", None)
    given = getattr(Y, "shape", None)
    if n is not None and given and given[0] != n:
        turned = " Is it the other way round?" if len(given) > 1 and given[1] == n else ""
        raise ValueError(
            f"labels: shape {tuple(given)} for features of {n} samples; give one row for each."
            f"{turned}"
        )
