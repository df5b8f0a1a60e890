"""Rows that a run was fitted and scored on: ``split.csv`` and ``predictions.csv`` in its folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from proxmtl.label_arrays import SparseLabels
from proxmtl.report.runs import HeldOut
from proxmtl.text_tables import table_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["parse_predictions", "predictions_text", "probabilities_of", "split_text"]


def probabilities_of(model: Any, scores: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Probabilities of yes, (N, M); None where the model is not calibrated."""
    if not hasattr(model, "calibration_"):
        return None
    probabilities: NDArray[np.float64] = expit(
        (scores + model.decision_thresholds_) * model.calibration_
    )
    return probabilities


def predictions_text(
    scores: NDArray[np.floating],
    labels: NDArray[np.float64] | SparseLabels,
    names: Sequence[str],
    rows: Sequence[Any],
    *,
    identified: bool,
    probabilities: NDArray[np.float64] | None = None,
    alone: NDArray[np.float64] | None = None,
) -> str:
    """Scores of the rows held out: a line for each known label, in the long form of labels.

    Parameters
    ----------
    scores
        (N, M), above zero means yes; or (E,), of the pairs that have a label.
    labels
        (N, M), positive above 0; NaN = missing. Or those of E pairs of a row and an attribute.
    names
        Of the M attributes.
    rows
        Identifiers of the N rows, or their numbers.
    identified
        Whether they are identifiers.
    probabilities
        (N, M), of a calibrated model.
    alone
        (N, M), scores of the single-task model beside one whose attributes share.
    """
    known: Any = slice(None)
    if isinstance(labels, SparseLabels):
        where, which = labels.rows, labels.tasks
        values: NDArray[Any] = labels.values  # noqa: PD011 - no data frame
    else:
        known = ~np.isnan(labels)
        (where, which), values = np.nonzero(known), labels[known]
    columns = {
        "id" if identified else "row": np.asarray(rows, dtype=object)[where],
        "attribute": np.asarray(names, dtype=object)[which],
        "label": (values > 0).astype(np.int8),
        "score": scores[known],
    }
    if probabilities is not None:
        columns["probability"] = probabilities[known]
    if alone is not None:
        columns["score_alone"] = alone[known]
    text: str = pd.DataFrame(columns).to_csv(index=False, float_format="%.8g")
    return text


def parse_predictions(content: bytes, names: Sequence[str]) -> HeldOut:
    """Read what `predictions_text` made, in the order of the attributes."""
    text = {"id": str, "row": str, "attribute": str}
    table = pd.read_csv(io.BytesIO(content), dtype=text, keep_default_na=False, na_values=[])
    rows, places = np.unique(table.iloc[:, 0].to_numpy(dtype=str), return_inverse=True)
    column = {name: number for number, name in enumerate(names)}
    which = np.array([column[name] for name in table["attribute"]], dtype=np.intp)

    def matrix(name: str) -> NDArray[np.float64]:
        values = np.full((len(rows), len(names)), np.nan)
        values[places, which] = table[name].to_numpy(dtype=float)
        return values

    return HeldOut(
        tuple(rows.tolist()),
        matrix("score"),
        matrix("label"),
        *(matrix(name) if name in table else None for name in ("probability", "score_alone")),
    )


def split_text(
    ids: Sequence[str] | None,
    n_rows: int,
    fitted: NDArray[np.intp],
    held_out: NDArray[np.intp],
    validated: NDArray[np.intp] | None = None,
) -> str:
    """Which rows were fitted on and which were held out, in the order of the features.

    Parameters
    ----------
    ids
        Identifiers of the rows; None: they have numbers.
    n_rows
        Number of rows.
    fitted, held_out, validated
        Numbers of rows; the last ones chose the epoch.
    """
    part = np.full(n_rows, "", dtype=object)
    part[fitted] = "fitted"
    if validated is not None:
        part[validated] = "validated"
    part[held_out] = "held_out"
    name, rows = ("row", range(n_rows)) if ids is None else ("id", ids)
    lines = [(name, "part"), *zip(map(str, rows), part, strict=True)]
    return "".join(map(table_line, lines))
