"""Regressors that choose their strengths, and whether to share, by cross-validation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from proxmtl.estimators.cross_validated import OwnSearch, SharedSearch
from proxmtl.estimators.labels import EncodedLabels, TargetUnits
from proxmtl.estimators.regressor import LinearAttributeRegressor
from proxmtl.estimators.scoring import REAL_SCORINGS, Score, Scoring, of_values, scoring_of

__all__ = ["SearchedRegressor", "SharedPlusOwnRegressorCV", "SingleTaskRegressorCV"]


class SearchedRegressor(LinearAttributeRegressor):
    """The labels' side of regressors with a search: their scores."""

    unit_own: ClassVar[bool] = False  # how strong a ridge is best depends on the noise
    flat: ClassVar[float] = (
        0.01  # without noise ever weaker ones gain a little, ever stronger on noise
    )

    scoring: str | Scoring = "r2"

    def _score_by(self) -> Score:
        scoring = scoring_of(self._given.scoring, REAL_SCORINGS)
        units = TargetUnits(self.target_mean_, self.target_scale_)
        return of_values(scoring, units if callable(self.scoring) else None)

    def _calibrate(
        self, held_out: NDArray[np.float32], labels: EncodedLabels, weights: NDArray[np.floating]
    ) -> float:
        del held_out, labels, weights
        return 0.0


class SingleTaskRegressorCV(SearchedRegressor, OwnSearch):
    r"""One ridge regression per attribute, the ridge chosen by cross-validation.

    For all attributes together the ridge of best mean score on held-out rows is taken from a path
    of strengths, which is continued where an end of it is best. The regression is then fitted on
    all rows, to a certified accuracy. The labels of each attribute are centred and divided by their
    standard deviation inside each fit.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        A number of folds balances over all attributes at once how many labels a fold has, and how
        many of them are above the median; a splitter of scikit-learn and row numbers are taken as
        they are.
    scoring : {"r2", "neg_mean_squared_error", "neg_mean_absolute_error"} or callable
        Unweighted score of one attribute on the rows held out, ``(labels, predictions) -> float``;
        the mean over folds, then over attributes, decides. Errors by name are in units of
        ``target_scale_``, so that attributes of different units count alike; a callable is given
        labels and predictions as they are.
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and has medians for units.
    fit_intercept, standardize : bool
        As for :class:`SharedPlusOwnRegressor`; moments are found inside each training part.
    one_standard_error, max_passes, tol, label_names, random_state
        As for :class:`SingleTaskClassifierCV`.

    Attributes
    ----------
    report_ : pandas.DataFrame
        One line per attribute: number of labels, score on held-out rows and its standard deviation
        over the folds, strengths in units of the loss on standardised features and labels. The
        folds that give the scores also made the choice, so the scores are a little too good.
    coef_, intercept_, target_mean_, target_scale_, mean_, scale_, label_names_, n_features_in_
        As for :class:`SingleTaskRegressor`.
    cv_results_, search_passes_, results_, result_
        As for :class:`SingleTaskClassifierCV`.

    Warns
    -----
    ConvergenceWarning, EdgeWarning
        As for :class:`SingleTaskClassifierCV`.
    """


class SharedPlusOwnRegressorCV(SearchedRegressor, SharedSearch):
    r"""Regressions that share where sharing helps: :class:`SharedPlusOwnRegressor`, tuned.

    Strengths are chosen, and compared with attributes alone, as in
    :class:`SharedPlusOwnClassifierCV`: what can be expected to get worse by sharing keeps a
    regression of its own. Parameters and attributes are those of :class:`SingleTaskRegressorCV`,
    and these:

    Parameters
    ----------
    groups, fallback
        As for :class:`SharedPlusOwnClassifierCV`.

    Attributes
    ----------
    sharing_, shared_coef_, shared_directions_, shared_loadings_, n_shared_, groups_
        As for :class:`SharedPlusOwnClassifierCV`, in the units of the labels as given.
    report_ : pandas.DataFrame
        One line per attribute: number of labels, whether it shares, score on held-out rows with its
        standard deviation, score alone, gain and the gain's standard error.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008.
    """
