"""Regressors that choose strengths, and whether attributes share, by cross-validation."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from proxmtl.estimators.calibration import Calibrations
from proxmtl.estimators.cross_validated import OwnSearch
from proxmtl.estimators.labels import EncodedLabels, TargetUnits
from proxmtl.estimators.regressor import LinearAttributeRegressor
from proxmtl.estimators.scoring import REAL_SCORINGS, Score, Scoring, of_values, scoring_of
from proxmtl.estimators.shared_search import TraceSearch

__all__ = ["SearchedRegressor", "SharedPlusOwnRegressorCV", "SingleTaskRegressorCV"]


class SearchedRegressor(LinearAttributeRegressor):
    """Base of regressors with a search: the scores of held-out rows."""

    unit_own: ClassVar[bool] = False  # how strong a ridge is best depends on the noise
    flat: ClassVar[float] = (
        0.01  # without noise ever weaker ones gain a little, ever stronger on noise
    )

    standardize: bool | Literal["search"] = "search"  # type: ignore[assignment]
    scoring: str | Scoring = "r2"

    def _score_by(self) -> Score:
        scoring = scoring_of(self._given.scoring, REAL_SCORINGS)
        units = TargetUnits(self.target_mean_, self.target_scale_)
        return of_values(scoring, units if callable(self.scoring) else None)

    def _calibrate(
        self, held_out: NDArray[np.float32], labels: EncodedLabels, calibrated: Calibrations
    ) -> float:
        del held_out, labels, calibrated
        return 0.0


class SingleTaskRegressorCV(SearchedRegressor, OwnSearch):
    r"""One ridge regression per attribute, the ridge chosen by cross-validation.

    All attributes have the same ridge and the same scaling of the features: those with the best
    mean score on held-out rows, from paths of strengths that are extended if an end is best. The
    regression is then fitted on all rows, to a certified accuracy. Each fit standardises the labels
    of each attribute.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        A number means folds that are balanced over all attributes at once, in the number of labels
        and of those above the median; a scikit-learn splitter or pairs of row indices are used as
        given.
    scoring : {"r2", "neg_mean_squared_error", "neg_mean_absolute_error"} or callable
        Unweighted score of one attribute on held-out rows, ``(labels, predictions) -> float``; it
        is averaged over folds, then over attributes. The named errors are in units of
        ``target_scale_``, so that attributes of different units count equally; a callable gets
        labels and predictions in their own units.
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and has medians for units.
    standardize : {"search", True, False}
        As for :class:`SingleTaskClassifierCV`.
    fit_intercept : bool
        As for :class:`SharedPlusOwnRegressor`.
    one_standard_error, max_passes, tol, label_names, random_state
        As for :class:`SingleTaskClassifierCV`.

    Attributes
    ----------
    report_ : pandas.DataFrame
        One row per attribute: number of labels, score on held-out rows and its standard deviation
        over the folds, scaling of the features, strengths in units of the loss on features so
        scaled and standardised labels. The scores are slightly optimistic, since the same folds
        determined the choice.
    coef_, intercept_, target_mean_, target_scale_, mean_, scale_, label_names_, n_features_in_
        As for :class:`SingleTaskRegressor`.
    cv_results_, search_passes_, feature_factors_, results_, result_
        As for :class:`SingleTaskClassifierCV`.

    Warns
    -----
    ConvergenceWarning, EdgeWarning
        As for :class:`SingleTaskClassifierCV`.
    """


class SharedPlusOwnRegressorCV(SearchedRegressor, TraceSearch):
    r"""Regressions that share where sharing helps: :class:`SharedPlusOwnRegressor`, tuned.

    Strengths are chosen, and compared with single-task regressions, as in
    :class:`SharedPlusOwnClassifierCV`: attributes that are expected to lose by sharing keep a
    single-task regression. Parameters and attributes are those of :class:`SingleTaskRegressorCV`,
    and these:

    Parameters
    ----------
    groups, relevance, fallback, keep_single_task
        As for :class:`SharedPlusOwnClassifierCV`.

    Attributes
    ----------
    single_task_, sharing_, shared_coef_, shared_directions_, shared_loadings_, n_shared_, groups_
        As for :class:`SharedPlusOwnClassifierCV`, in the units of the labels as given.
    report_ : pandas.DataFrame
        One row per attribute: number of labels, whether it shares, score on held-out rows with its
        standard deviation, single-task score, gain and its standard error.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008.
    """
