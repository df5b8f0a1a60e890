"""Cross-validation: every candidate on every split, a table, and a choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from proxmtl.latent import LatentMTL
from proxmtl.problem import Problem
from proxmtl.ranks import ALONE, Ranks
from proxmtl.selection.edges import Edge, EdgeWarning, edges_of
from proxmtl.selection.trainers import (
    CandidateTrainer,
    Cell,
    EstimatorTrainer,
    LatentTrainer,
    ProblemTrainer,
)
from proxmtl.selection.trials import Metric, Trials
from proxmtl.solvers.base import Solver
from proxmtl.stopping import Stop
from proxmtl.wording import warn

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from proxmtl.experiments import Split

__all__ = ["CrossValidation", "cross_validate", "invariant_grid", "mean_average_precision"]

Extend = Callable[[list[Any], int], Sequence[Any]]
Rule = Literal["best", "one_standard_error"]


def mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Mean over the attributes of the average precision; attributes without positives left out."""
    from proxmtl.experiments import attribute_metrics  # noqa: PLC0415 - imports pandas

    return float(attribute_metrics(scores, labels)["ap"].mean())


def invariant_grid(
    products: Sequence[float], ridges: Sequence[float], group_strength: float = 0.01
) -> list[dict[str, float]]:
    """Candidates for the latent model on a grid of its two effective hyperparameters.

    ``W = L S`` depends on the three strengths through ``mu gamma`` and ``mu^2 lambda`` only, since
    ``(a L, S / a)`` is the same W. A grid over three numbers would train every model many times.

    Parameters
    ----------
    products, ridges : sequence of float
        Values of ``mu gamma`` and of ``mu^2 lambda``, ``>= 0``.
    group_strength : float
        mu itself, ``> 0``: it sets the scale of L against S and changes no W, up to how far an
        unfinished solve got.

    Returns
    -------
    list of dict
        ``group_strength``, ``l1_strength``, ``frobenius_strength``: fields of :class:`LatentMTL`
        and parameters of the estimator alike.
    """
    if not group_strength > 0 or min([*products, *ridges], default=-1) < 0:
        raise ValueError(
            f"products, ridges, group_strength: got {list(products)}, {list(ridges)} and "
            f"{group_strength}; give values >= 0, at least one, and a group_strength > 0."
        )
    return [
        {
            "group_strength": group_strength,
            "l1_strength": product / group_strength,
            "frobenius_strength": ridge / group_strength**2,
        }
        for product in products
        for ridge in ridges
        if product > 0 or ridge > 0  # with neither the minimum is not attained
    ]


@dataclass(frozen=True)
class CrossValidation:
    """Result of :func:`cross_validate`.

    Attributes
    ----------
    table : pandas.DataFrame
        One line per (candidate, split): the candidate's parameters, ``score``, ``nonzeros`` (share
        of the parameter), ``status``, ``passes``.
    candidates : list
        As given, and those that the range was extended by.
    best : int
        Number of the candidate with the highest mean score.
    one_standard_error : int
        Number of the sparsest candidate whose mean score is within one standard error of the best.
    chosen : int
        The one of the two that was asked for.
    model : Result, LatentResult, estimator or None
        Trained on all rows with the chosen candidate; None without ``refit``.
    edges : list of Edge
        Hyperparameters of which the chosen candidate has the lowest or the highest value tried, or
        the only one: a better one may lie beyond.
    """

    table: pd.DataFrame
    candidates: list[Any]
    best: int
    one_standard_error: int
    chosen: int
    model: Any = field(repr=False)
    edges: list[Edge] = field(default_factory=list)

    @property
    def summary(self) -> pd.DataFrame:
        """One line per candidate: parameters, ``mean``, ``standard_error`` and ``nonzeros``."""
        return _summary(self.table)


def cross_validate(
    model: Problem | LatentMTL | Any,
    candidates: Sequence[Any],
    splits: Sequence[Split] | int,
    X: Any = None,
    Y: Any = None,
    *,
    metric: Metric = mean_average_precision,
    rule: Rule = "best",
    refit: bool = True,
    sample_weight: Any = None,
    stop: Stop | None = None,
    solver: Solver[Problem, Any, Tensor] | None = None,
    folder: str | Path | None = None,
    progress: Callable[[int, int], object] | None = None,
    extend: Extend | None = None,
    ranks: Ranks = ALONE,
) -> CrossValidation:
    """Choose strengths by their score on held-out rows.

    Parameters
    ----------
    model : Problem, LatentMTL or estimator
        A convex problem brings its own data, and all strengths and folds are solved in batches
        (:func:`solve_batch`). An estimator has ``fit`` and ``decision_function``.
    candidates : sequence
        For a problem: strengths (a number for its non-smooth penalty, or one for each penalty).
        Otherwise: dictionaries of parameters, for the latent model from :func:`invariant_grid`.
    splits : sequence of Split, or int
        A number of folds cuts the rows at random (``sample_folds(n, splits)``). Better made by
        :func:`sample_folds`, :func:`stratified_folds`, :func:`class_folds` or
        :func:`random_splits`. Rows of a final test belong in none of them.
    X, Y : arrays (N, D) and (N, M), optional
        Data of the latent model or of an estimator.
    metric : callable
        ``(scores, labels) -> float`` on the rows held out, labels with NaN; higher is better.
    rule : "best" or "one_standard_error"
        The second takes the sparsest candidate within one standard error of the best (with one
        split, for which there is no standard error, the best).
    refit : bool
        Train the chosen candidate on all rows.
    sample_weight : array, optional
        For the latent model.
    stop : Stop, optional
        For problems, as in :func:`minimize`.
    solver : Solver, optional
        For problems that FISTA does not take, such as those of MCP and SCAD: they are then solved
        one by one.
    folder : path, optional
        Every finished training is saved here at once, and found again by a later call with the
        same data, candidates and splits.
    progress : callable, optional
        Called with the numbers of finished and of all trainings.
    extend : callable, optional
        Called with all candidates so far and the number of the chosen one; returns further
        candidates to try, none to end. So a range can be extended where its edge is chosen.
    ranks : Ranks
        Processes that are called with the same arguments and have all of the data: each trains some
        of the candidates on some of the splits, alone, and all return the same. What one has
        trained is in its ``folder``. They wait for one another, so ``ProcessRanks.join(minutes=)``
        must allow for the longest trainings.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ValueError
        Without candidates or splits, if a split is not one of these rows, if no candidate has a
        score on every split, or if ranks are given different things.

    Warns
    -----
    EdgeWarning
        If the chosen candidate lies at an edge of the range tried, or is the only one.

    References
    ----------
    Breiman, Friedman, Olshen, Stone, "Classification and regression trees", 1984 (one standard
    error).
    """
    from proxmtl.experiments import sample_folds  # noqa: PLC0415 - imports pandas
    from proxmtl.experiments.splits import checked_splits  # noqa: PLC0415

    if rule not in ("best", "one_standard_error"):
        raise ValueError(f"rule: got {rule!r}; use 'best' or 'one_standard_error'.")
    if isinstance(model, Problem):
        if X is not None or Y is not None or sample_weight is not None:
            raise ValueError("X, Y, sample_weight: a Problem has its own data; leave them out.")
        trainer: CandidateTrainer = ProblemTrainer(model, stop, solver)
    else:
        trainer = _trainer(model, X, Y, sample_weight)
    given = list(candidates)
    n = len(trainer.labels)
    parts = checked_splits(sample_folds(n, splits) if isinstance(splits, int) else splits, n)
    labels = np.asarray(trainer.labels, dtype=np.float64)
    if metric is mean_average_precision and len(np.unique(labels[~np.isnan(labels)])) > 2:
        raise ValueError(
            "metric: mean average precision needs labels of two values, and these have more; give "
            "another metric, such as lambda scores, labels: -np.nanmean((scores - labels) ** 2)."
        )
    if not given:
        raise ValueError("candidates: empty; give at least one.")
    trials = Trials.of(trainer, given, parts, metric, folder=folder, progress=progress, ranks=ranks)
    begin = time.perf_counter()
    more = given
    while more:
        records = trials.run(given, first=len(given) - len(more))
        table = _table(trainer, given, records)
        best, sparse = _choices(_summary(table))
        chosen = best if rule == "best" else sparse
        more = [] if extend is None else list(extend(given, chosen))
        given = [*given, *more]
    table.attrs["seconds"] = time.perf_counter() - begin
    edges = edges_of([trainer.parameters(candidate) for candidate in given], chosen)
    for edge in edges:
        warn(f"cross_validate: {edge}", EdgeWarning)
    fitted = trainer.refit(given[chosen]) if refit else None
    return CrossValidation(table, given, best, sparse, chosen, fitted, edges)


def _trainer(model: Any, X: Any, Y: Any, sample_weight: Any) -> CandidateTrainer:
    if X is None or Y is None:
        raise ValueError(f"X, Y: {type(model).__name__} has no data of its own; give both.")
    if isinstance(model, LatentMTL):
        return LatentTrainer(model, X, Y, sample_weight)
    if not (hasattr(model, "fit") and hasattr(model, "decision_function")):
        raise ValueError(
            f"model: got {type(model).__name__}; give a Problem, a LatentMTL, or an estimator with "
            "fit and decision_function."
        )
    if sample_weight is not None:
        raise ValueError("sample_weight: estimators are trained without; give a LatentMTL.")
    return EstimatorTrainer(model, X, Y)


def _table(
    trainer: CandidateTrainer, candidates: list[Any], records: Mapping[Cell, Mapping[str, Any]]
) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - heavy

    return pd.DataFrame(
        [
            {**cell._asdict(), **trainer.parameters(candidates[cell.candidate]), **record}
            for cell, record in records.items()
        ]
    )


def _summary(table: pd.DataFrame) -> pd.DataFrame:
    figures = ["split", "score", "nonzeros", "status", "passes"]
    by_candidate = table.groupby("candidate", sort=True)
    summary = by_candidate.first().drop(columns=figures)
    scores = by_candidate["score"]
    count = by_candidate.size()
    complete = scores.count() == count  # a candidate without a score somewhere has no mean
    summary["mean"] = scores.mean().where(complete)
    summary["standard_error"] = (scores.std(ddof=1) / np.sqrt(count)).where(complete)
    summary["nonzeros"] = by_candidate["nonzeros"].mean()
    summary["passes"] = by_candidate["passes"].sum()
    return summary


def _choices(summary: pd.DataFrame) -> tuple[int, int]:
    """Numbers of the best candidate and of the sparsest one that is as good."""
    means: NDArray[np.float64] = summary["mean"].to_numpy()
    if np.isnan(means).all():
        raise ValueError(
            "metric: no candidate has a score on every split; look at the metric and at the labels "
            "of the rows held out."
        )
    best = int(np.nanargmax(means))
    error = float(summary["standard_error"].iloc[best])
    if np.isnan(error):
        return best, best
    good = np.flatnonzero(means >= means[best] - error)
    nonzeros = summary["nonzeros"].to_numpy()[good]
    sparsest = good[nonzeros == np.nanmin(nonzeros)] if not np.isnan(nonzeros).all() else good
    return best, int(sparsest[np.argmax(means[sparsest])])
