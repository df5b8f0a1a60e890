"""Classifiers that choose strengths, and whether attributes share, by cross-validation."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted

from proxmtl.estimators.calibration import Calibrations
from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.cross_validated import OwnSearch
from proxmtl.estimators.inputs import each_task
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.scoring import SCORINGS, Score, Scoring, of_classes, scoring_of
from proxmtl.estimators.shared_search import TraceSearch
from proxmtl.estimators.thresholds import check_threshold, chosen_thresholds, cut_of

__all__ = ["SearchedClassifier", "SharedPlusOwnClassifierCV", "SingleTaskClassifierCV"]

Array = NDArray[Any]


class SearchedClassifier(LinearAttributeClassifier):
    """Base of classifiers with a search: scores, calibrated probabilities and thresholds."""

    standardize: bool | Literal["search"] = "search"  # type: ignore[assignment]
    scoring: str | Scoring = "average_precision"
    loss: str = "logistic"
    threshold: str | float = "probability"

    calibration_: Array = field(init=False)
    thresholds_: Array = field(init=False)

    def _score_by(self) -> Score:
        check_threshold(self._given.threshold)
        return of_classes(scoring_of(self._given.scoring, SCORINGS))

    def _calibrate(
        self, held_out: NDArray[np.float32], labels: EncodedLabels, calibrated: Calibrations
    ) -> NDArray[np.float64]:
        self.calibration_, shift, _ = calibrated(held_out)
        self.thresholds_ = chosen_thresholds(
            self._given.threshold, held_out + shift, labels, self.calibration_
        )
        return shift

    def _evidence(self, held_out: NDArray[np.float32], calibrated: Calibrations) -> float:
        return calibrated(held_out).log_evidence

    @property
    def decision_thresholds_(self) -> Array:
        """Decision values at which the probabilities are ``thresholds_``, (M,)."""
        check_is_fitted(self)
        return cut_of(self.thresholds_, self.calibration_)

    @each_task
    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the positive class, by a sigmoid fitted to held-out scores.

        Features are as for `decision_function`.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            Shape (N, M), as for scikit-learn's multilabel classifiers; for one attribute (N, 2), a
            column for each class. For a list of matrices, a list of M vectors (N_m,).
        """
        values = self.decision_function(X)
        probabilities: Array = expit(values * self.calibration_)
        if len(self.coef_) == 1:
            positive = probabilities.reshape(-1)
            return np.stack([1 - positive, positive], axis=1)
        return probabilities


class SingleTaskClassifierCV(SearchedClassifier, OwnSearch):
    r"""One ridge-penalised classifier per attribute, the ridge chosen by cross-validation.

    All attributes have the same ridge and the same scaling of the features: those with the best
    mean score on held-out rows, from a path of strengths for each scaling that is extended if one
    of its ends is best. The classifier is then fitted on all rows, to a certified accuracy, and
    calibrated on the scores of held-out rows.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        A number means folds that are stratified over all labels at once (a missing label counts for
        neither class); a scikit-learn splitter or pairs of row indices are used as given. With a
        list of matrices, rows are numbered consecutively over the tasks.
    scoring : {"average_precision", "roc_auc", "neg_log_loss"} or callable
        Unweighted score of one attribute on held-out rows, ``(labels in {0, 1}, decision values) ->
        float``; it is averaged over folds, then over attributes. If one class was sampled
        preferentially, use ``"roc_auc"``, which does not depend on the prevalence.
    loss : {"logistic", "squared_hinge", "squared", "smoothed_hinge", "huber"}
        Loss of a label.
    threshold : {"probability", "f1", "balanced_accuracy"} or float
        When `predict` is positive: if the probability is above 1/2, above the given number, or
        above a threshold of each attribute that maximises F1 or balanced accuracy on held-out rows.
        If a false positive costs a and a false negative b, use ``a / (a + b)``.
    standardize : {"search", True, False}
        ``"search"``: the scaling of features is chosen, too. It is that to unit variance (which
        suits features of different units), division by the square root of the standard deviation
        ("Pareto scaling"), or that of the features as given (which suits features whose scale says
        how much they tell, such as principal components and outputs of networks). True: unit
        variance. False: as given. Moments are those of each training part.
    fit_intercept : bool
        As for :class:`SharedPlusOwnClassifier`.
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute. Probabilities and decisions are those of
        a population with these weights, and with the sample weights.
    one_standard_error : bool
        One-standard-error rule: choose the strongest penalty whose score is within one standard
        error (over the folds) of the best one.
    max_passes, tol
        Budget and relative duality gap of the final fit.
    label_names : sequence of str, optional
        Attribute names; default: the columns of Y if it is a data frame.
    random_state : int, RandomState or None
        Seed of the folds, if ``cv`` is a number.

    Attributes
    ----------
    coef_ : ndarray of shape (M, D)
        Coefficients on the features as given.
    intercept_ : ndarray of shape (M,)
        Calibrated intercepts (also with ``fit_intercept=False``): a decision value is positive if
        the probability is above 1/2.
    calibration_ : ndarray of shape (M,)
        Slopes of the sigmoids that map decision values to probabilities.
    thresholds_ : ndarray of shape (M,)
        Probabilities above which `predict` is positive. A threshold is the midpoint of the two
        held-out probabilities that it separates; it takes account of sample weights but not of
        class weights, and of equally good ones it is the nearest to 1/2. Attributes with fewer than
        ten labels of the rarer class get the threshold of the best expected score under their
        calibrated probabilities (corrected for class weights), since their best empirical threshold
        would be mere chance.
    report_ : pandas.DataFrame
        One row per attribute: number of labels and of positives, score on held-out rows and its
        standard deviation over the folds, scaling of the features, strengths in units of the loss
        on features so scaled (``feature_factors_`` times the standardised ones). The scores are
        slightly optimistic, since the same folds determined the choice.
    cv_results_ : pandas.DataFrame
        One row per candidate: strengths, scaling of the features, number of folds on which it was
        solved, mean score and standard error. Candidates that are clearly worse after the first
        folds are dropped; they have no mean and are not chosen.
    search_passes_ : float
        Passes over the data in the search. The search stores decision values of each candidate for
        all rows in float32: 4 N M bytes for each of some 30 candidates.
    feature_factors_ : ndarray of shape (D,)
        Factors of the standardised features in the final fit.
    classes_, mean_, scale_, label_names_, n_features_in_
        As for :class:`SharedPlusOwnClassifier`.
    results_ : list of Result
        Status, certificate and history of the final fits: of single attributes, and of those that
        share.
    result_ : Result
        One of ``results_``: a fit that ended early, else that of the attributes that share.

    Warns
    -----
    ConvergenceWarning
        If the budget ended the final fit.
    EdgeWarning
        If the best candidate is at the end of an extended path.
    """


class SharedPlusOwnClassifierCV(SearchedClassifier, TraceSearch):
    r"""Attributes that share where sharing helps: :class:`SharedPlusOwnClassifier`, tuned.

    Cross-validation compares single-task classifiers, on paths of ridges, with attributes that
    share: features count by their *relevance* to all attributes, or there is a shared part, on a
    path of its strengths, or both. Of these, the candidate with the largest mean gain on held-out
    rows over the best single-task classifiers, less the standard error of the gain over the
    attributes, is used if that is positive, except for attributes that are expected to lose by it:
    these keep a single-task classifier. The expected gain of an attribute is its gain on held-out
    rows, shrunk towards the mean gain by empirical Bayes (the more, the more the folds disagree).
    Parameters and attributes are those of :class:`SingleTaskClassifierCV`, and these:

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto" or None
        As for :class:`SharedPlusOwnClassifier`; clusters are found inside each training part.
    relevance : bool
        Whether features of unit variance are also tried multiplied by :math:`a_d = (\sigma_d
        \|w_d\|_2)^{r/2}`, r = 1 or 2, where :math:`\sigma_d` is the standard deviation of feature d
        and :math:`w_d` are its coefficients for all attributes, in the best single-task
        classifiers: what serves several attributes is shrunk less in each. It is found inside each
        training part.
    fallback : bool
        Whether attributes that are expected to lose by sharing keep a single-task classifier.
        False: all attributes have a shared part, at the best strength for that, unless it is zero.
    keep_single_task : bool
        Whether the best single-task classifiers of the search are fitted and kept, too, to compare
        decisions with theirs.

    Attributes
    ----------
    single_task_ : SharedPlusOwnClassifierCV
        With ``keep_single_task``: this model as it is where no attribute shares. It is not saved by
        :func:`proxmtl.estimators.save_model`.
    sharing_ : ndarray of bool, shape (M,)
        The attributes that share, by a shared part or by relevance.
    feature_factors_ : ndarray of shape (D,)
        Factors of the standardised features in the fit of the attributes that share, or without any
        in that of all attributes.
    shared_coef_ : ndarray of shape (M, D)
        The shared part of ``coef_``; 0 for an attribute that does not share.
    shared_directions_ : ndarray of shape (D, K)
        Feature directions that the attributes share; `transform` returns their scores.
    shared_loadings_ : ndarray of shape (K, M)
        Weights of the directions in each attribute: ``shared_coef_`` is
        ``(shared_directions_ @ shared_loadings_).T``.
    n_shared_ : int
        Rank of the shared part of the fit.
    report_ : pandas.DataFrame
        One row per attribute: number of labels and of positives, whether it shares, score on
        held-out rows with its standard deviation, single-task score, gain and its standard error.

    References
    ----------
    Argyriou, Evgeniou, Pontil, "Convex multi-task feature learning", 2008; Jalali, Ravikumar,
    Sanghavi, Ruan, "A dirty model for multi-task learning", 2010; Grandvalet, "Least absolute
    shrinkage is equivalent to quadratic penalization", 1998 (reweighted ridges); van den Berg et
    al., "Centering, scaling, and transformations", 2006 (Pareto scaling).
    """
