"""The two searches of ``tune``: a grid of fits, and hypergradients of one convex problem."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from proxmtl.baselines import BASELINES
from proxmtl.cli.console import fit_progress, keeping, say_note, step_progress
from proxmtl.cli.fitted_attributes import check_splits
from proxmtl.estimators import LatentMTLClassifier
from proxmtl.estimators.baselines import baseline_estimator
from proxmtl.estimators.inputs import samples_of
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.standardize import Standardization
from proxmtl.experiments import Split, stratified_folds
from proxmtl.io import InputError
from proxmtl.latent.strengths import Relative
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE, Ranks
from proxmtl.result import Status
from proxmtl.row_sources import FeatureRows, rows_of
from proxmtl.selection import cross_validate, invariant_grid
from proxmtl.selection import tune as descend
from proxmtl.selection.edges import Edge, EdgeWarning, edges_of
from proxmtl.selection.storage import SETTINGS
from proxmtl.selection.strengths import geometric
from proxmtl.targets import Targets
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from proxmtl.groups import Groups

__all__ = ["Chosen", "Search", "by_grid", "by_hypergradient", "make_model"]

PRODUCTS = (1e-9, 1e-5)
"""Range of mu gamma, for the mean loss and standardised features."""
RIDGES = (1e-10, 1e-6)
"""Range of mu^2 lambda."""
LOWEST = 1e-3
"""Lowest strength of a norm, over the critical one."""
RIDGE_RANGE = (10.0, 1e-4)


RIDGES_ALONE = ("ridge", "logistic-ridge", "s-extract")
EXTENSIONS = 4
"""Steps by which a range is extended at most, where its edge is chosen."""


class Chosen(NamedTuple):
    """The estimator fitted with what was chosen, all trials, and edges at which it lies."""

    model: Any
    trials: pd.DataFrame
    edges: list[Edge]


class Search(NamedTuple):
    """An estimator to choose strengths for, by its name, and the rows to do it with."""

    estimator: Any
    name: str
    X: Any
    Y: NDArray[np.float64]
    seed: int
    counts: NDArray[np.intp]
    """Rows with yes or with no of each attribute, whichever are fewer, the ones held out too."""


def make_model(
    name: str,
    groups: Groups | None,
    labels: Sequence[str],
    *,
    n_latents: int | None,
    own_strength: Relative = "auto",
    balanced: bool,
    standardize: bool = True,
    max_passes: int,
    seed: int,
) -> Any:
    """Make the estimator of a name, its strengths still to be chosen."""
    shared: dict[str, Any] = {
        "class_weight": "balanced" if balanced else None,
        "max_passes": max_passes,
        "label_names": labels,
        "standardize": standardize,
    }
    if name in BASELINES:
        for option, given in (
            ("n-latents", n_latents is not None),
            ("own-strength", own_strength != "auto"),
        ):
            if given:
                raise ValueError(f"{option}: {name} has no latents; leave it out.")
        return baseline_estimator(name, groups, **shared)
    return LatentMTLClassifier(
        groups="singletons" if groups is None else groups,
        n_latents=n_latents,
        own_strength=own_strength,
        random_state=seed,
        **shared,
    )


def by_grid(
    search: Search,
    *,
    points: int,
    folds: int,
    sparsest: bool,
    folder: Path | None,
    ranks: Ranks = ALONE,
) -> Chosen:
    """Fit every candidate, score it by its mean average precision; refit the chosen one.

    Ranks share the fits; each has all of the rows, and all end with the same model.
    A range of at least three points is extended by its own steps where the chosen candidate lies at
    its edge.
    """
    candidates = _candidates(search, points)
    splits = _splits(search, folds)
    kept = keeping(lambda end: _kept(folder, end)) if folder else contextlib.nullcontext()
    total = len(candidates) * len(splits)
    with kept, _once(), step_progress("Fitting", total) as advance:
        found = cross_validate(
            search.estimator,
            candidates,
            splits,
            search.X,
            search.Y,
            rule="one_standard_error" if sparsest else "best",
            folder=folder,
            progress=lambda done, total: advance(f"{done} of {total} fits"),
            extend=_Extension(search, points) if points >= 3 else None,
            ranks=ranks,
        )
    return Chosen(found.model, found.table, found.edges)


class _Extension:
    """Further candidates where the chosen one lies at an edge, at most :data:`EXTENSIONS` times.

    One step of the grid beyond the edge, beside the chosen value and the neighbours of the other
    hyperparameter. The critical strength is no edge: above it all weights are zero.
    """

    def __init__(self, search: Search, points: int) -> None:
        self.convex = search.name in BASELINES
        norm = self.convex and search.name not in RIDGES_ALONE
        low, high = ((LOWEST, 1.0) if norm else RIDGE_RANGE[::-1]) if self.convex else PRODUCTS
        self.factor = (high / low) ** (1 / (points - 1))
        self.bounded = norm
        self.left = EXTENSIONS

    def __call__(self, candidates: list[dict[str, float]], chosen: int) -> list[dict[str, float]]:
        numbers = [_axes(candidate) for candidate in candidates]
        edges = [
            edge
            for edge in edges_of(numbers, chosen)
            if not (self.bounded and edge.side == "highest")
        ]
        if self.left == 0 or not edges:
            return []
        self.left -= 1
        new: list[dict[str, float]] = []
        for edge in edges:
            step = self.factor if edge.side == "highest" else 1 / self.factor
            beyond = {**numbers[chosen], edge.name: step * edge.value}
            new += [beyond, *self._beside(beyond, edge.name)]
        known = [tuple(number.values()) for number in numbers]
        fresh = [n for n in new if not _among(tuple(n.values()), known)]
        unique = {tuple(f"{value:.6g}" for value in n.values()): n for n in fresh}
        return [_candidate(number, candidates[chosen]) for number in unique.values()]

    def _beside(self, at: dict[str, float], moved: str) -> list[dict[str, float]]:
        others = [name for name in at if name != moved]
        return [
            {**at, name: factor * at[name]}
            for name in others
            for factor in (1 / self.factor, self.factor)
        ]


def _axes(candidate: dict[str, float]) -> dict[str, float]:
    """The hyperparameters that a grid is over."""
    if "l1_strength" not in candidate:
        return candidate
    mu = candidate["group_strength"]
    return {
        "mu_gamma": mu * candidate["l1_strength"],
        "mu2_lambda": mu**2 * candidate["frobenius_strength"],
    }


def _candidate(numbers: dict[str, float], like: dict[str, float]) -> dict[str, float]:
    if "mu_gamma" not in numbers:
        return numbers
    products, ridges = [numbers["mu_gamma"]], [numbers["mu2_lambda"]]
    return invariant_grid(products, ridges, like["group_strength"])[0]


def _among(numbers: tuple[float, ...], known: list[tuple[float, ...]]) -> bool:
    return any(np.allclose(numbers, other, rtol=1e-6, atol=0) for other in known)


@contextlib.contextmanager
def _once() -> Iterator[None]:
    """Say once how many fits of a search collapsed or ran out of passes.

    What is at an edge is said with the choice; other warnings are given at the end.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:  # also of a search that is interrupted
        _say_once(caught)


def _say_once(caught: Iterable[warnings.WarningMessage]) -> None:
    collapsed = unfinished = 0
    others: dict[tuple[str, type[Warning]], warnings.WarningMessage] = {}
    for each in caught:
        if issubclass(each.category, EdgeWarning):
            continue
        if issubclass(each.category, ConvergenceWarning):
            unfinished += 1
        elif Status.COLLAPSED.value in str(each.message):
            collapsed += 1
        else:
            others[str(each.message), each.category] = each
    for each in others.values():
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if collapsed:
        say_note(
            f"{counted(collapsed, 'fit')} of the search collapsed to W = 0, because of too strong "
            "penalties; they count with the scores of such a model."
        )
    if unfinished:
        say_note(
            f"{counted(unfinished, 'fit')} of the search ended before convergence, because of the "
            "budget of passes; raise --max-passes if scores of neighbours in trials.csv differ "
            "erratically."
        )


def by_hypergradient(search: Search, *, max_passes: int) -> Chosen:
    """Descend the loss of a validation part; fit on all rows with the best strength."""
    split = _splits(search, 1)[0]
    problem, moments = _posed(search, split.train)
    validation = _validation(search, split.test, moments)
    start = [0.1 * _upper(problem)] if problem.terms else [1e-2]
    with _once(), fit_progress("Tuning", max_passes) as callback:
        tuned = descend(
            problem,
            validation.smooth_value_and_grad,
            start,
            max_passes=max_passes,
            callback=lambda trial: callback(_Shown(trial.passes, trial.value)),
        )
    name = search.estimator.strength_name
    fitted = search.estimator.set_params(**{name: tuned.strengths[0]}).fit(search.X, search.Y)
    table = tuned.table.rename(columns={"strength_0": name, "value": "validation_loss"})
    return Chosen(fitted, table, [edge._replace(name=name) for edge in tuned.edges])


def _kept(folder: Path, end: BaseException) -> str:
    """What is in the folder of trials; nothing where that was not taken for one of this search."""
    if isinstance(end, InputError) and end.source in (folder, folder / SETTINGS):
        return ""
    count = len(list(folder.glob("*.safetensors")))
    if not count:
        return "No fit was finished."
    return (
        f"{counted(count, 'finished fit')} {agree(count, 'is', 'are')} kept in {folder}; the same "
        f"command goes on with {agree(count, 'it', 'them')}."
    )


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
    problem, _ = _posed(search, slice(None))
    upper = _upper(problem)
    ends = (upper, LOWEST * upper) if problem.terms else RIDGE_RANGE
    name = search.estimator.strength_name
    return [{name: strength} for strength in geometric(*ends, points)]


def _posed(search: Search, rows: Any) -> tuple[Problem, Standardization]:
    """The estimator's problem on some rows, at strength 1, and the moments of their features."""
    unit = clone(search.estimator).set_params(**{search.estimator.strength_name: 1.0})
    posed: tuple[Problem, Standardization] = unit.pose(rows_of(search.X, rows), search.Y[rows])
    return posed


def _validation(search: Search, rows: Any, moments: Standardization) -> Problem:
    """The mean loss of the rows held out, each attribute by itself; one class is enough here."""
    estimator = search.estimator
    X = rows_of(search.X, rows)
    samples = samples_of(X) if isinstance(X, FeatureRows) else Samples(X)
    samples = samples.standardized(moments)
    design = samples.shared_design(intercept=estimator.fit_intercept)
    signs = torch.from_numpy(2 * search.Y[rows] - 1).to(design.dtype)
    weights = (~signs.isnan()).to(signs)
    if estimator.class_weight == "balanced":
        for own in (signs > 0, signs < 0):
            count = own.sum(0).clamp_min(1)
            weights = torch.where(own, weights / count, weights)
    weights = weights / weights.sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
    targets = Targets(signs.nan_to_num(1.0), weights, signs.shape[1])
    return Problem(resolve_loss(estimator.loss), design, targets)


def _upper(problem: Problem) -> float:
    return problem.critical_strength() if problem.terms else RIDGE_RANGE[0]
