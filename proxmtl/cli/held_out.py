"""Scores of the rows held out, label by label: ``held_out.csv`` of a run folder."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from proxmtl.report.runs import HeldOut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxmtl.estimators.base import LinearModel

__all__ = ["HELD_OUT_FILE", "held_out_text", "parse_held_out"]

HELD_OUT_FILE = "held_out.csv"


def held_out_text(
    model: LinearModel,
    scores: NDArray[np.float64],
    labels: NDArray[np.float64],
    names: Sequence[str],
    rows: Sequence[Any],
    *,
    identified: bool,
) -> str:
    """One line a known label, in the long form that labels may have.

    Parameters
    ----------
    model
        Gives probabilities where it is calibrated.
    scores
        (N, M), above zero means yes.
    labels
        (N, M), positive above 0; NaN = missing.
    names
        Of the M attributes.
    rows
        Identifiers of the N rows, or their numbers.
    identified
        Whether they are identifiers.
    """
    known = ~np.isnan(labels)
    where, which = np.nonzero(known)
    columns = {
        "id" if identified else "row": np.asarray(rows, dtype=object)[where],
        "attribute": np.asarray(names, dtype=object)[which],
        "label": (labels[known] > 0).astype(np.int8),
        "score": scores[known],
    }
    if hasattr(model, "calibration_"):
        decisions = scores + model.decision_thresholds_
        columns["probability"] = expit(decisions * model.calibration_)[known]
    text: str = pd.DataFrame(columns).to_csv(index=False, float_format="%.8g")
    return text


def parse_held_out(content: bytes, names: Sequence[str]) -> HeldOut:
    """Read what `held_out_text` made, in the order of the attributes."""
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
        matrix("probability") if "probability" in table else None,
    )
