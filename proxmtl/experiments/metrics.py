r"""Scores of attribute predictors: average precision, accuracy, and their group means.

Average precision is the non-interpolated, tie-aware sum over distinct thresholds

.. math:: \mathrm{AP} = \sum_k (R_k - R_{k-1}) P_k ,

so constant scores give the prevalence for any order of the rows (a stable sort would give 1.0 if
the positives came first). The AP of an attribute without positives is NaN; means leave it out and
report the number of such attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from proxmtl.arrays import as_float_tensor, check_same_order
from proxmtl.experiments.labels import as_float_matrix, attribute_names, check_labels, group_members
from proxmtl.label_arrays import SparseLabels
from proxmtl.label_coding import signs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from proxmtl.groups import Groups

TOTAL = "Total"
"""Name of the row of :func:`group_means` that averages over all attributes."""

METRICS = ("ap", "auc", "f1", "accuracy", "majority", "prevalence")
"""Columns of :func:`attribute_metrics` that are averaged over groups and splits."""


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Non-interpolated average precision of one attribute.

    Parameters
    ----------
    scores
        (N,) real scores, larger means more likely positive.
    labels
        (N,) labels, 1 = positive, 0 or -1 = negative, NaN = missing (left out); or any two values,
        of which the greater one is positive.

    Returns
    -------
    float
        A value in (0, 1], or NaN if no observed label is positive.

    Raises
    ------
    ValueError
        If the lengths differ, a score isn't finite or a label has another value.
    """
    table = attribute_metrics(scores, labels)
    if len(table) != 1:
        raise ValueError(f"scores are of {len(table)} attributes; give those of one.")
    return float(table["ap"].iloc[0])


def attribute_metrics(
    scores: ArrayLike, Y: ArrayLike | SparseLabels, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Metrics of each attribute on its observed labels.

    Parameters
    ----------
    scores
        (N, M) scores, or (N,) of one attribute; a score above zero predicts the positive class.
    Y
        (N, M) labels in {0, 1} or {-1, 1}, or booleans; NaN, None and ``pandas.NA`` = missing. One
        attribute may have any two values, and shape (N,); the greater one is then positive. Or
        labels -1 and +1 of E pairs of a row and an attribute; scores are then (E,).
    names
        M attribute names, the index of the result; default ``"0"``, ``"1"``, ...

    Returns
    -------
    pandas.DataFrame
        One line per attribute: ``ap``; ``auc`` (area under the ROC curve, NaN with one class);
        ``f1`` (of the prediction ``1[score > 0]``; 0 where no prediction and no label is positive);
        ``accuracy`` (fraction of ``1[score > 0]`` that is right); ``majority`` (accuracy of the
        constant prediction that is best on these labels); ``prevalence`` (fraction of
        positives); ``n_observed``. Metrics of an attribute without observed labels are NaN.

    Raises
    ------
    ValueError
        If the shapes differ, a score isn't finite, or a label isn't 0/1, -1/1 or NaN.
    """
    if isinstance(Y, SparseLabels):
        n_attributes, pairs = Y.shape[1], _of_pairs(scores, Y)
    else:
        labels = check_labels(Y)
        n_attributes, pairs = labels.shape[1], zip(_matrix(scores, labels).T, labels.T, strict=True)
    index = pd.Index(attribute_names(names, n_attributes), name="attribute")
    records = [_one_attribute(z, y) for z, y in pairs]
    return pd.DataFrame.from_records(records, index=index)


def _matrix(scores: ArrayLike, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores (N, M) for dense labels; raises as :func:`attribute_metrics`."""
    values = as_float_matrix(_as_column(scores), "scores")
    if values.shape != labels.shape:
        msg = f"scores has shape {values.shape} and Y {labels.shape}; give one score per label."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        column = int(np.flatnonzero(~np.isfinite(values).all(axis=0))[0])
        msg = f"scores contains NaN or infinite values (first in column {column}); check the fit."
        raise ValueError(msg)
    return values


def _of_pairs(scores: ArrayLike, labels: SparseLabels) -> Iterator[tuple[Any, Any]]:
    """Scores and labels of each attribute, of those of some pairs of a row and an attribute."""
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (labels.size,):
        msg = f"scores has shape {values.shape} for {labels.size} pairs; give one score a pair."
        raise ValueError(msg)
    if not np.isfinite(values).all():
        raise ValueError("scores contains NaN or infinite values; check the fit.")
    order = np.argsort(labels.tasks, kind="stable")
    ends = np.cumsum(np.bincount(labels.tasks, minlength=labels.shape[1]))[:-1]
    signs = labels.values  # noqa: PD011 - no data frame
    return zip(*(np.split(each[order], ends) for each in (values, signs)), strict=True)


def _as_column(scores: Any) -> Any:
    """Scores of one attribute as a matrix."""
    return scores if np.ndim(scores) != 1 else as_float_tensor("scores", scores)[:, None]


def _one_attribute(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    seen = ~np.isnan(labels)
    z, y = scores[seen], labels[seen] > 0
    n = int(seen.sum())
    positives = int(y.sum())
    if n == 0:
        return {**dict.fromkeys(METRICS, float("nan")), "n_observed": 0}
    prevalence = positives / n
    return {
        "ap": float(average_precision_score(y, z)) if positives else float("nan"),
        "auc": float(roc_auc_score(y, z)) if 0 < positives < n else float("nan"),
        "f1": float(f1_score(y, z > 0, zero_division=0.0)),
        "accuracy": float(np.mean((z > 0) == y)),
        "majority": max(prevalence, 1 - prevalence),
        "prevalence": prevalence,
        "n_observed": n,
    }


def group_means(
    table: pd.DataFrame, groups: Groups | Mapping[str, Sequence[str]] | None = None
) -> pd.DataFrame:
    """Unweighted means over the attributes of each group, and over all attributes.

    Parameters
    ----------
    table
        Result of :func:`attribute_metrics`.
    groups
        A :class:`proxmtl.Groups` over the same attributes in the same order, or a mapping from
        group name to attribute names, or ``None``. Attributes in no group count in the total.

    Returns
    -------
    pandas.DataFrame
        One line per group and the line ``"Total"``: the mean over *attributes*, not over groups.
        Columns: the metrics, ``n_attributes``, and ``n_without_ap``, the number of attributes
        that had no positive and are left out of the mean AP.

    Raises
    ------
    ValueError
        If a group names an unknown attribute, or is itself called ``"Total"``.
    """
    names = [str(name) for name in table.index]
    members = group_members(groups, names)
    if TOTAL in members:
        msg = f'groups has a group called "{TOTAL}", the name of the overall mean; rename it.'
        raise ValueError(msg)
    columns = [name for name in METRICS if name in table.columns]
    lists = [*members.values(), list(range(len(names)))]
    sizes = np.array([len(items) for items in lists])
    items = np.fromiter((item for items in lists for item in items), np.intp, sizes.sum())
    group_of = np.repeat(np.arange(len(lists)), sizes)
    index = pd.Index([*members, TOTAL], name="group")
    means = pd.DataFrame(index=index)
    for column in columns:
        values = table[column].to_numpy(np.float64)[items]
        known = ~np.isnan(values)
        counts = np.bincount(group_of[known], minlength=len(lists))
        sums = np.bincount(group_of[known], values[known], minlength=len(lists))
        means[column] = np.divide(sums, counts, out=np.full(len(lists), np.nan), where=counts > 0)
    lacking = table["ap"].isna().to_numpy()[items]
    means["n_attributes"] = sizes
    means["n_without_ap"] = np.bincount(group_of[lacking], minlength=len(lists))
    return means


def mean_ap(estimator: object, X: ArrayLike, Y: ArrayLike) -> float:
    """Mean AP over attributes, as a scikit-learn scorer (``GridSearchCV(scoring=mean_ap)``).

    Parameters
    ----------
    estimator
        A fitted estimator with ``decision_function(X) -> (N, M)``, or ``(N,)`` of one attribute.
    X
        (N, D) features.
    Y
        Labels as its ``fit`` takes them: (N, M), or (N,) of one attribute; NaN = missing.

    Returns
    -------
    float
        Mean over the attributes that have a positive label in ``Y``; NaN if none has.
    """
    check_same_order(X, Y=Y)
    scores = _as_column(estimator.decision_function(X))  # type: ignore[attr-defined]
    values = getattr(estimator, "label_values_", None)
    if values is None and np.shape(scores)[1] == 1:  # scikit-learn's of binary labels
        values = getattr(estimator, "classes_", None)
    labels = Y if values is None or len(values) != 2 else signs_of(Y, values)
    return float(attribute_metrics(scores, labels)["ap"].mean())
