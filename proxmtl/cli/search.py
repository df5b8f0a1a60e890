"""The two searches of ``tune``: a grid of fits, and hypergradients of one convex problem."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from proxmtl.baselines import BASELINES
from proxmtl.cli.console import fit_progress, keeping, step_progress
from proxmtl.cli.inputs import check_splits
from proxmtl.designs import SharedDesign
from proxmtl.estimators import LatentMTLClassifier, SingleTaskClassifier
from proxmtl.estimators.baselines import baseline_estimator
from proxmtl.estimators.grouping import resolve_groups
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.standardize import Standardization, fit_standardization
from proxmtl.experiments import Split, stratified_folds
from proxmtl.problem import Problem
from proxmtl.selection import cross_validate, invariant_grid
from proxmtl.selection import tune as descend
from proxmtl.selection.strengths import geometric
from proxmtl.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from proxmtl.groups import Groups

__all__ = ["Search", "by_grid", "by_hypergradient", "convex_names", "make_model"]

PRODUCTS = (1e-9, 1e-5)
"""Range of mu gamma, for the mean loss and standardised features."""
RIDGES = (1e-10, 1e-6)
"""Range of mu^2 lambda."""
LOWEST = 1e-3
"""Lowest strength of a norm, over the critical one."""
RIDGE_RANGE = (10.0, 1e-4)


class Search(NamedTuple):
    """An estimator to choose strengths for, by its name, and the rows to do it with."""

    estimator: Any
    name: str
    X: NDArray[Any]
    Y: NDArray[np.float64]
    seed: int
    counts: NDArray[np.intp]
    """Rows with yes or with no of each attribute, whichever are fewer, the ones held out too."""


def convex_names() -> list[str]:
    """Names of the models that are one convex problem."""
    return [name for name, row in BASELINES.items() if row.decomposition == "free"]


def make_model(
    name: str,
    groups: Groups | None,
    labels: Sequence[str],
    *,
    n_latents: int | None,
    balanced: bool,
    max_passes: int,
    seed: int,
) -> Any:
    """Make the estimator of a name, its strengths still to be chosen."""
    shared: dict[str, Any] = {
        "class_weight": "balanced" if balanced else None,
        "max_passes": max_passes,
        "label_names": labels,
    }
    if name in BASELINES:
        if n_latents is not None:
            raise ValueError(f"n-latents: {name} has no latents; leave it out.")
        return baseline_estimator(name, groups, **shared)
    return LatentMTLClassifier(groups=groups, n_latents=n_latents, random_state=seed, **shared)


def by_grid(
    search: Search, *, points: int, folds: int, sparsest: bool, folder: Path | None
) -> tuple[Any, pd.DataFrame]:
    """Fit every candidate, score it by its mean average precision; refit the chosen one."""
    candidates = _candidates(search, points)
    splits = _splits(search, folds)
    kept = keeping(lambda: _kept(folder)) if folder else contextlib.nullcontext()
    with kept, step_progress("Fitting", len(candidates) * len(splits)) as advance:
        found = cross_validate(
            search.estimator,
            candidates,
            splits,
            search.X,
            search.Y,
            rule="one_standard_error" if sparsest else "best",
            folder=folder,
            progress=lambda done, total: advance(f"{done} of {total} fits"),
        )
    return found.model, found.table


def by_hypergradient(search: Search, *, max_passes: int) -> tuple[Any, pd.DataFrame]:
    """Descend the loss of a validation part; fit on all rows with the best strength."""
    split = _splits(search, 1)[0]
    problem, validation = _problem(search, split.train), _validation(search, split)
    start = [0.1 * _upper(problem)] if problem.terms else [1e-2]
    with fit_progress("Tuning", max_passes) as callback:
        tuned = descend(
            problem,
            validation.smooth_value_and_grad,
            start,
            max_passes=max_passes,
            callback=lambda trial: callback(_Shown(trial.passes, trial.value)),
        )
    name = _strength_of(search.estimator)
    fitted = search.estimator.set_params(**{name: tuned.strengths[0]}).fit(search.X, search.Y)
    table = tuned.table.rename(columns={"strength_0": name, "value": "validation_loss"})
    return fitted, table


def _kept(folder: Path) -> str:
    count = len(list(folder.glob("*.safetensors")))
    return f"{count} finished fits are kept in {folder}; the same command goes on with them."


class _Shown(NamedTuple):
    """What the progress bar reads of a trial."""

    passes: float
    objective: float


def _splits(search: Search, folds: int) -> list[Split]:
    if folds == 1:
        splits = stratified_folds(search.Y, 4, search.seed)[:1]
    else:
        splits = stratified_folds(search.Y, folds, search.seed)
    names = search.estimator.label_names
    check_splits(search.Y, names, splits, option=f"--folds {folds}", counts=search.counts)
    return splits


def _candidates(search: Search, points: int) -> list[dict[str, float]]:
    if search.name not in BASELINES:
        return invariant_grid(geometric(*PRODUCTS, points), geometric(*RIDGES, points))
    problem = _problem(search, slice(None))
    upper = _upper(problem)
    ends = (upper, LOWEST * upper) if problem.terms else RIDGE_RANGE
    name = _strength_of(search.estimator)
    return [{name: strength} for strength in geometric(*ends, points)]


def _problem(search: Search, rows: Any) -> Problem:
    """The estimator's problem on some rows, at strength 1."""
    estimator = search.estimator
    features = _features(search, rows, fit_standardization(search.X[rows]))
    targets = Targets.from_labels(
        _signs(search.Y[rows]),
        class_weight=estimator.class_weight,
        reduction=estimator.reduction,
        like=features,
    )
    grouped = BASELINES[search.name].grouped
    n_tasks = targets.n_tasks
    groups = (
        resolve_groups(estimator.groups, n_tasks, estimator.label_names) if grouped else n_tasks
    )
    design = SharedDesign(features, intercept=estimator.fit_intercept)
    penalty = BASELINES[search.name].regularizer(groups, 1.0)
    return Problem(resolve_loss(estimator.loss), design, targets, penalty)


def _validation(search: Search, split: Split) -> Problem:
    """The mean loss of the rows held out, each attribute by itself; one class is enough here."""
    estimator = search.estimator
    features = _features(search, split.test, fit_standardization(search.X[split.train]))
    signs = torch.from_numpy(_signs(search.Y[split.test])).to(features)
    weights = (~signs.isnan()).to(features)
    if estimator.class_weight == "balanced":
        for own in (signs > 0, signs < 0):
            count = own.sum(0).clamp_min(1)
            weights = torch.where(own, weights / count, weights)
    weights = weights / weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    targets = Targets(signs.nan_to_num(1.0), weights, signs.shape[1])
    design = SharedDesign(features, intercept=estimator.fit_intercept)
    return Problem(resolve_loss(estimator.loss), design, targets)


def _features(search: Search, rows: Any, moments: Standardization) -> torch.Tensor:
    X = search.X[rows]
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float64)
    return torch.from_numpy(moments.apply(X) if search.estimator.standardize else X)


def _signs(Y: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 to +1, 0 and -1 to -1, NaN kept."""
    signs: NDArray[np.float64] = np.where(np.isnan(Y), np.nan, np.where(Y > 0, 1.0, -1.0))
    return signs


def _upper(problem: Problem) -> float:
    return problem.critical_strength() if problem.terms else RIDGE_RANGE[0]


def _strength_of(estimator: Any) -> str:
    return "l2_strength" if isinstance(estimator, SingleTaskClassifier) else "strength"
