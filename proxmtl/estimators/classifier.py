"""Base of the classifiers: binary labels, decisions and accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from proxmtl.arrays import as_python, check_same_order
from proxmtl.estimators.base import LinearModel
from proxmtl.estimators.inputs import checked, each_task, stacked
from proxmtl.estimators.label_encoding import check_both_classes, encode_targets, stored_signs
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.weights import class_factors, pair_weights, score_weights
from proxmtl.label_arrays import SparseLabels, is_sparse
from proxmtl.label_coding import signs_of

__all__ = ["LinearAttributeClassifier"]

Array = NDArray[Any]


class LinearAttributeClassifier(ClassifierMixin, LinearModel):  # type: ignore[misc]  # no stubs
    """Base of linear classifiers of several binary attributes with missing labels.

    Parameters
    ----------
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute.

    Attributes
    ----------
    label_values_ : ndarray of shape (2,)
        The two label values, negative first.
    classes_ : ndarray
        For scikit-learn. Several attributes: their indices 0 .. M - 1, as in other multilabel
        classifiers. One attribute: its two label values.
    """

    class_weight: Any = None

    label_values_: Array = field(init=False)

    def _read(
        self, y: Any, names: Sequence[str] | None, *, classes: Any, warm: bool
    ) -> EncodedLabels:
        known = self.label_values_ if warm else classes
        labels = encode_targets(y, classes=known, names=names)
        assert labels.classes is not None
        weight = class_factors(as_python(self.class_weight), labels.classes)
        return replace(labels, class_weight=weight)

    def _check(self, labels: EncodedLabels, names: Sequence[str] | None) -> None:
        check_both_classes(labels.numbers, names)

    def _posed(self, labels: EncodedLabels, *, warm: bool) -> EncodedLabels:
        if not warm and labels.classes is not None:
            self.label_values_ = labels.classes
        return labels

    @property
    def classes_(self) -> Array:
        """Indices of the attributes, or the two label values of a single attribute."""
        check_is_fitted(self)
        n_attributes = len(self.coef_)
        return self.label_values_ if n_attributes == 1 else np.arange(n_attributes)

    @each_task
    def decision_function(self, X: Any) -> Array:
        """Linear scores; positive if the attribute is predicted to be present.

        Parameters
        ----------
        X
            Features (N, D), dense or sparse; or a list with such a matrix for each of M tasks.

        Returns
        -------
        numpy.ndarray or list of numpy.ndarray
            Shape (N, M), or (N,) if the labels were a vector. For a list of matrices, a list of M
            vectors (N_m,), the scores of each matrix for its own task.

        Raises
        ------
        ValueError
            If features are not finite, or so large that scores overflow.
        """
        return self._scores(X)

    @property
    def decision_thresholds_(self) -> Array:
        """Decision values above which `predict` is positive, (M,): 0 unless thresholds are set."""
        check_is_fitted(self)
        return np.zeros(len(self.coef_))

    def _predicted(self, X: Any) -> NDArray[np.bool_]:
        scores = self.decision_function(X)
        cuts = self.decision_thresholds_
        above: NDArray[np.bool_] = scores > (cuts[0] if scores.ndim == 1 else cuts)
        return above

    @each_task
    def predict(self, X: Any) -> Array:
        """Predicted labels, in the coding of the labels of `fit` and the shape of the scores."""
        places = self._predicted(X).astype(np.intp)
        predicted: Array = self.label_values_[places]
        return predicted

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy on the observed labels, averaged over the attributes.

        For mean average precision, pass ``scoring=proxmtl.experiments.mean_ap`` to scikit-learn's
        searches.

        Parameters
        ----------
        X
            Features as for `fit`.
        y
            Labels as for `fit`; attributes with a single class or without labels are allowed.
        sample_weight
            Weights as for `fit`.

        Raises
        ------
        ValueError
            If `y` has another shape than the predictions, a value that `fit` has not seen, or no
            label to score, or the weights are not valid for `fit`.
        """
        y, sample_weight = stacked(X, y, sample_weight)
        check_same_order(X, y=y, sample_weight=sample_weight)
        if is_sparse(y):
            pairs = stored_signs(y)
            if pairs is not None:
                return self._accuracy_of_pairs(X, pairs, sample_weight)
            y = y.astype(np.int8).toarray()
        predicted = self._predicted(checked(self, X))
        signs = signs_of(y, self.label_values_)
        if signs.shape != predicted.shape:
            raise ValueError(
                f"y has shape {signs.shape} and the predictions {predicted.shape}; "
                "give labels of the attributes that the model was fitted on."
            )
        signs, predicted = signs.reshape(len(signs), -1), predicted.reshape(len(signs), -1)
        weights = score_weights(~np.isnan(signs), sample_weight)
        total = weights.sum(axis=0)
        right = (weights * (predicted == (signs > 0))).sum(axis=0)
        return float(np.mean(right[total > 0] / total[total > 0]))

    def pair_scores(self, X: Any, pairs: SparseLabels) -> Array:
        """Scores of some pairs of a row and an attribute, without those of all others.

        Parameters
        ----------
        X
            Features (N, D), dense, or rows in files.
        pairs
            Which pairs, of N rows and M attributes.

        Returns
        -------
        numpy.ndarray of shape (E,)
            `decision_function` less the thresholds: above zero means yes.

        Raises
        ------
        ValueError
            If rows or attributes are not those of the model, or features are sparse.
        """
        return self._pair_scores(X, pairs) - self.decision_thresholds_[pairs.tasks]

    def _accuracy_of_pairs(self, X: Any, pairs: SparseLabels, sample_weight: Any) -> float:
        weights = pair_weights(pairs, sample_weight)
        above = self.pair_scores(X, pairs) > 0
        total = pairs.sums(weights)
        right = pairs.sums(weights * (above == (pairs.values > 0)))
        return float(np.mean(right[total > 0] / total[total > 0]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.multi_label = True
        return tags
