"""Classifiers that choose their strengths, and whether to share, by cross-validation."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted

from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.cross_validated import OwnSearch, SharedSearch
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.samples import each_task
from proxmtl.estimators.scoring import SCORINGS, Score, Scoring, of_classes, scoring_of
from proxmtl.estimators.thresholds import check_threshold, chosen_thresholds, cut_of
from proxmtl.estimators.verdict import calibration

__all__ = ["SearchedClassifier", "SharedPlusOwnClassifierCV", "SingleTaskClassifierCV"]

Array = NDArray[Any]


class SearchedClassifier(LinearAttributeClassifier):
    """The labels' side of classifiers with a search: scores, probabilities and thresholds."""

    scoring: str | Scoring = "average_precision"
    loss: str = "logistic"
    threshold: str | float = "probability"

    calibration_: Array = field(init=False)
    thresholds_: Array = field(init=False)

    def _score_by(self) -> Score:
        check_threshold(self._given.threshold)
        return of_classes(scoring_of(self._given.scoring, SCORINGS))

    def _calibrate(
        self, held_out: NDArray[np.float32], labels: EncodedLabels, weights: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        self.calibration_, shift = calibration(held_out, labels.numbers, weights)
        self.thresholds_ = chosen_thresholds(
            self._given.threshold, held_out + shift, labels, self.calibration_
        )
        return shift

    @property
    def decision_thresholds_(self) -> Array:
        """Decision values at which the probabilities are ``thresholds_``, (M,)."""
        check_is_fitted(self)
        return cut_of(self.thresholds_, self.calibration_)

    @each_task
    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the positive class, by a sigmoid fitted to held-out scores.

        Features are those of `decision_function`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            Shape (N, M), as of scikit-learn's multilabel classifiers; (N, 2) for one attribute, a
            column for each class. For a list of matrices one of M vectors (N_m,).
        """
        values = self.decision_function(X)
        probabilities: Array = expit(values * self.calibration_)
        if len(self.coef_) == 1:
            positive = probabilities.reshape(-1)
            return np.stack([1 - positive, positive], axis=1)
        return probabilities


class SingleTaskClassifierCV(SearchedClassifier, OwnSearch):
    r"""One ridge-penalised classifier per attribute, the ridge chosen by cross-validation.

    For all attributes together the ridge of best mean score on held-out rows is taken from a path
    of strengths, which is continued where an end of it is best. The classifier is then fitted on
    all rows, to a certified accuracy, and its scores are calibrated by those of the rows held out.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        A number of folds stratifies over all labels at once (missing ones count as neither);
        a splitter of scikit-learn and row numbers are taken as they are. Rows of tasks that have
        samples of their own count one task after the other.
    scoring : {"average_precision", "roc_auc", "neg_log_loss"} or callable
        Unweighted score of one attribute on the rows held out, ``(labels in {0, 1}, decision
        values) -> float``; the mean over folds, then over attributes, decides. Where labels of one
        class were collected with preference, take ``"roc_auc"``, which prevalence does not move.
    loss : {"logistic", "squared_hinge", "squared", "smoothed_hinge", "huber"}
        Loss of a label.
    threshold : {"probability", "f1", "balanced_accuracy"} or float
        What `predict` takes for a yes: a probability above 1/2, above a number, or above a
        threshold of each attribute, chosen so that the scores of rows held out give the best F1 or
        balanced accuracy. Where a false yes costs a and a false no b, give ``a / (a + b)``.
    fit_intercept, standardize : bool
        As for :class:`SharedPlusOwnClassifier`; moments are found inside each training part.
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute. Probabilities and decisions are those of
        a population with these weights, and with the sample weights.
    one_standard_error : bool
        Take the strongest penalty that is no further behind the best one than the standard error of
        its score over the folds: a simpler model, as good as far as they tell.
    max_passes, tol
        Budget and relative duality gap of the final fit.
    label_names : sequence of str, optional
        Attribute names; by default the columns of Y where it is a data frame.
    random_state : int, RandomState or None
        Of the folds, where ``cv`` is a number.

    Attributes
    ----------
    coef_ : ndarray of shape (M, D)
        Coefficients on the features as given.
    intercept_ : ndarray of shape (M,)
        Intercepts, calibrated (also with ``fit_intercept=False``): a decision value is positive
        where the probability is above 1/2.
    calibration_ : ndarray of shape (M,)
        Slopes of the sigmoids that make probabilities of decision values.
    thresholds_ : ndarray of shape (M,)
        Probabilities above which `predict` says yes. A threshold lies in the middle between the two
        held-out probabilities that it separates, and counts sample weights but no class weights; of
        equally good ones it is that nearest to 1/2. Attributes with fewer than ten labels of their
        rarer class, whose best cut is a matter of chance, get the threshold of the best expected
        score under their calibrated probabilities, with the class weights taken out of these.
    report_ : pandas.DataFrame
        One line per attribute: number of labels and of positives, score on held-out rows and its
        standard deviation over the folds, strengths in units of the loss on standardised features.
        The folds that give the scores also made the choice, so the scores are a little too good.
    cv_results_ : pandas.DataFrame
        One line per candidate: its strengths, the number of folds that it was solved on, mean score
        and standard error. What the first folds show to be clearly behind is not solved on the
        others: it has no mean, and is not chosen.
    search_passes_ : float
        Passes over the data that the search took. It keeps the decision values of each candidate
        for all rows in float32: 4 N M bytes for each of some 20 candidates.
    classes_, mean_, scale_, label_names_, n_features_in_
        As for :class:`SharedPlusOwnClassifier`.
    results_ : list of Result
        Status, certificate and history of the final fits: of attributes alone, of those that share.
    result_ : Result
        One of them: a fit that ended early, else that of the attributes that share.

    Warns
    -----
    ConvergenceWarning
        If the final fit ended by its budget.
    EdgeWarning
        If the best candidate is the last of an extended path.
    """


class SharedPlusOwnClassifierCV(SearchedClassifier, SharedSearch):
    r"""Attributes that share where sharing helps: :class:`SharedPlusOwnClassifier`, tuned.

    Cross-validation compares attributes alone, on a path of ridges, with attributes that share,
    on a path of the shared part's strength. If sharing has the better mean score on held-out rows,
    it is taken, but for attributes that it can be expected to make worse: these keep a classifier
    of their own. What can be expected of an attribute is its gain on held-out rows, drawn towards
    the mean gain of all as far as the folds disagree (empirical Bayes). Parameters and attributes
    are those of :class:`SingleTaskClassifierCV`, and these:

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto" or None
        As for :class:`SharedPlusOwnClassifier`; clusters are found inside each training part.
    fallback : bool
        Let an attribute that sharing can be expected to make worse keep a classifier of its own;
        False: all attributes share, at the best strength for it, unless that leaves nothing shared.

    Attributes
    ----------
    sharing_ : ndarray of bool, shape (M,)
        The attributes that share.
    shared_coef_ : ndarray of shape (M, D)
        The shared part of ``coef_``; 0 for an attribute alone.
    shared_directions_ : ndarray of shape (D, K)
        Directions of the features that attributes share, of which `transform` gives the scores.
    shared_loadings_ : ndarray of shape (K, M)
        How the attributes combine them: ``shared_coef_`` is
        ``(shared_directions_ @ shared_loadings_).T``.
    n_shared_ : int
        Rank of the shared part of the fit.
    report_ : pandas.DataFrame
        One line per attribute: number of labels and of positives, whether it shares, score on
        held-out rows with its standard deviation, score alone, gain and the gain's standard error.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008; Jalali, Ravikumar,
    Sanghavi, Ruan, "A dirty model for multi-task learning", 2010.
    """
