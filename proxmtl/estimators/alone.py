"""The single-task model beside one whose attributes share, of the same search."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from proxmtl.estimators.standardize import Standardization

if TYPE_CHECKING:
    import pandas as pd

    from proxmtl.estimators.calibration import Calibrations
    from proxmtl.estimators.labels import EncodedLabels
    from proxmtl.estimators.refits import Refit

__all__ = ["without_sharing"]


def without_sharing(
    model: Any,
    fitted: Refit,
    held_out: NDArray[np.float32],
    *,
    labels: EncodedLabels,
    calibrated: Calibrations,
    scaling: str,
    report: pd.DataFrame,
) -> Any:
    """Copy an estimator with a shared part, as it is where no attribute shares.

    Parameters
    ----------
    model
        An estimator whose search is done.
    fitted
        The fit of attributes alone.
    held_out
        Scores of held-out rows by the single-task candidate, (N, M), which calibrate it.
    labels, calibrated
        Labels of the rows, and calibrations on them.
    scaling
        Of the features in that fit.
    report
        Its `report_` but for these, a row per attribute in order.
    """
    alone = copy.copy(model)
    alone.result_, alone.results_ = fitted.result, [fitted.result]
    alone.sharing_ = np.zeros_like(model.sharing_)
    factors = fitted.factors
    alone.feature_factors_ = np.ones(len(fitted.coef)) if factors is None else factors
    shift = alone._calibrate(held_out, labels, calibrated)  # noqa: SLF001 - same package
    alone._set_parts(fitted.coef, None)  # noqa: SLF001
    moments = Standardization(model.mean_, model.scale_)
    coef, alone.intercept_ = moments.fold(fitted.coef, fitted.intercept + shift)
    alone.coef_ = np.ascontiguousarray(coef.T)
    report["shared_strength"], report["own_strength"] = fitted.strengths
    report["scaling"] = scaling
    alone.report_ = report.set_index(model.report_.index)
    alone._restore()  # noqa: SLF001
    return alone
