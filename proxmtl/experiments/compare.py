"""Fit several estimators on the same splits and tabulate their metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from proxmtl.experiments.labels import attribute_names, check_labels
from proxmtl.experiments.metrics import METRICS, attribute_metrics, group_means
from proxmtl.experiments.splits import checked_splits, one_class_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import ArrayLike

    from proxmtl.groups import Groups


class FitProgress(NamedTuple):
    """Progress of a comparison after a fit: row, split, number of fits done and in total."""

    row: str
    split: int
    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class Fit:
    """One fitted estimator of a comparison.

    Attributes
    ----------
    row, split
        Name of the row, index of the split.
    estimator
        The fitted clone.
    seconds
        Wall time of ``fit``.
    report
        JSON-able: ``params`` (chosen by an inner search, if there was one), ``status``,
        ``advice``, ``certificate``, ``passes``, ``iterations``, ``sparsity``; only what the
        estimator offers.
    """

    row: str
    split: int
    estimator: Any = field(repr=False)
    seconds: float
    report: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`compare`.

    Attributes
    ----------
    per_attribute
        One line per (row, split, attribute): the columns of :func:`attribute_metrics`.
    per_group
        One line per (row, split, group), with the group ``"Total"``: see :func:`group_means`.
    fits
        The fitted estimators, with status, certificate and sparsity.
    """

    per_attribute: pd.DataFrame
    per_group: pd.DataFrame
    fits: list[Fit]

    @property
    def mean(self) -> pd.DataFrame:
        """Mean over splits, indexed by (row, group), in the order of the rows and groups."""
        return self._over_splits().mean()

    @property
    def std(self) -> pd.DataFrame:
        """Standard deviation over splits (n - 1 in the denominator; NaN for one split)."""
        return self._over_splits().std(ddof=1)

    @property
    def summary(self) -> pd.DataFrame:
        """Mean and std side by side: columns ``(metric, "mean" | "std")``."""
        joined = pd.concat({"mean": self.mean, "std": self.std}, axis=1).swaplevel(axis=1)
        order = [(metric, part) for metric in METRICS for part in ("mean", "std")]
        return joined[order]

    def _over_splits(self) -> Any:
        return self.per_group.groupby(["row", "group"], sort=False)[list(METRICS)]

    def table(self, metric: str = "accuracy", scale: float = 100.0) -> pd.DataFrame:
        """Text table of one metric: rows × groups, cells ``mean ± std``.

        Parameters
        ----------
        metric
            A name in :data:`proxmtl.experiments.metrics.METRICS`.
        scale
            Factor on the numbers, 100 for per cent.
        """
        if metric not in METRICS:
            msg = f"metric={metric!r} is unknown; choose one of {', '.join(METRICS)}."
            raise ValueError(msg)
        text = [
            f"{scale * mean:.2f}" if np.isnan(std) else f"{scale * mean:.2f} ± {scale * std:.2f}"
            for mean, std in zip(self.mean[metric], self.std[metric], strict=True)
        ]
        cells = self.mean.index.to_frame(index=False).assign(text=text)
        groups = list(dict.fromkeys(cells["group"]))
        rows = list(dict.fromkeys(cells["row"]))
        return cells.pivot_table("text", "row", "group", aggfunc="first").loc[rows, groups]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able record: metrics of each group and split, and the report of each fit."""
        lines = self.per_group.astype(object).where(self.per_group.notna(), None)
        fits = [
            {"row": fit.row, "split": fit.split, "seconds": fit.seconds, **fit.report}
            for fit in self.fits
        ]
        return {"per_group": lines.to_dict(orient="records"), "fits": fits}


def compare(  # noqa: PLR0917 - the data of one experiment, in its natural order
    rows: Mapping[str, Any],
    X: Any,
    Y: ArrayLike,
    groups: Groups | Mapping[str, Sequence[str]] | None,
    names: Sequence[str] | None,
    splits: Sequence[tuple[ArrayLike, ArrayLike]],
    progress: Callable[[FitProgress], None] | None = None,
) -> Comparison:
    """Fit each row on the training part of each split, score it on the test part.

    Parameters
    ----------
    rows
        Name of the row -> estimator with ``fit(X, Y)`` and ``decision_function(X) -> (N, M)``;
        :func:`proxmtl.estimators.baseline_estimator` makes those of the paper's comparison.
        Estimators are cloned, so the ones given stay unfitted.
    X
        (N, D) features: anything that NumPy-style row indexing works on.
    Y
        (N, M) labels in {0, 1} or {-1, 1}; NaN = missing.
    groups
        Groups of attributes for the means, as in :func:`group_means`.
    names
        M attribute names; default ``"0"``, ``"1"``, ...
    splits
        Pairs (training rows, test rows), for example from :func:`random_splits`.
    progress
        Called after each fit.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        Before any fit: no row, no split, ``X`` and ``Y`` of different length,
        wrong labels or groups, a row number out of range or in both parts of a split, or an
        attribute with a single class in a training part.
    """
    labels = check_labels(Y)
    known = attribute_names(names, labels.shape[1])
    if not rows:
        msg = "rows is empty; give at least one named estimator."
        raise ValueError(msg)
    if len(X) != len(labels):
        msg = f"X has {len(X)} rows and Y has {len(labels)}; they must describe the same samples."
        raise ValueError(msg)
    parts = checked_splits(splits, len(labels))
    for number, (train, _) in enumerate(parts):
        lacking = one_class_attributes(labels, train, known)
        if lacking:
            msg = (
                f"in the training part of split {number} the attributes {lacking[:5]} have a "
                "single class; draw splits with random_splits(..., Y=Y) or drop them."
            )
            raise ValueError(msg)
    # a dry run, so that invalid groups raise before the first fit
    group_means(attribute_metrics(np.zeros_like(labels), labels, known), groups)
    for estimator in rows.values():
        clone(estimator)

    attribute_lines, group_lines, fits = [], [], []
    total = len(rows) * len(parts)
    for number, (train, test) in enumerate(parts):
        for name, estimator in rows.items():
            model = clone(estimator)
            start = time.perf_counter()
            model.fit(X[train], labels[train])
            seconds = time.perf_counter() - start
            scores = np.asarray(model.decision_function(X[test]))
            table = attribute_metrics(scores.reshape(len(test), -1), labels[test], known)
            attribute_lines.append(_tagged(table, name, number))
            group_lines.append(_tagged(group_means(table, groups), name, number))
            fits.append(Fit(name, number, model, seconds, fit_report(model)))
            if progress is not None:
                progress(FitProgress(name, number, len(fits), total, seconds))
    return Comparison(
        pd.concat(attribute_lines, ignore_index=True),
        pd.concat(group_lines, ignore_index=True),
        fits,
    )


def fit_report(model: Any) -> dict[str, Any]:
    """JSON-able status, certificate, budget and sparsity of a fitted estimator.

    The report contains what the estimator provides; ``sparsity`` is the fraction of exact zeros of
    ``coef_``, ``L_`` and ``S_``. For a search, the report is that of its ``best_estimator_``, with
    the chosen parameters in ``params``.
    """
    report: dict[str, Any] = {}
    if hasattr(model, "best_estimator_"):
        report["params"] = {key: _plain(value) for key, value in model.best_params_.items()}
        model = model.best_estimator_
    result = getattr(model, "result_", None)
    status, certificate = (getattr(result, name, None) for name in ("status", "certificate"))
    if status is not None:
        report["status"], report["advice"] = status.name, status.advice(certificate)
    if certificate is not None:
        report["certificate"] = certificate.to_dict()
    for key in ("iterations", "passes", "live_latents", "own_share", "solver", "solver_reason"):
        value = getattr(result, key, None)
        if value not in (None, ""):
            report[key] = _plain(value)
    arrays = {key: getattr(model, f"{key}_", None) for key in ("coef", "L", "S")}
    report["sparsity"] = {
        key: float(np.mean(np.asarray(value) == 0))
        for key, value in arrays.items()
        if value is not None and np.size(value)
    }
    return report


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and np.ndim(value) == 0 else value


def _tagged(table: pd.DataFrame, row: str, split: int) -> pd.DataFrame:
    tagged = table.reset_index()
    tagged.insert(0, "row", row)
    tagged.insert(1, "split", split)
    return tagged
