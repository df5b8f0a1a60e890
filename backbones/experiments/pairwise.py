"""A pairwise model of attributes on the scores of each: a conditional random field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from proxmtl.backbones.experiments.protocol import Array
from proxmtl.backbones.experiments.selection import OneByOne
from proxmtl.experiments import stratified_folds

__all__ = ["PairwiseField"]

FOLDS = 4
"""Of the rows to learn from: a score that a pair is learnt from is of a row that was left out."""
SWEEPS = 100
DAMPING = 0.5
CONVERGED = 1e-6


class PairwiseField:
    r"""Attributes that depend on their own score and on each other.

    .. math:: \log \frac{P(y_m = 1 \mid y_{-m}, x)}{P(y_m = -1 \mid y_{-m}, x)}
              = a_m z_m(x) + b_m + \sum_{k \ne m} J_{mk} y_k , \qquad J = J^\top ,

    where :math:`z_m` is the score of a classifier of attribute m alone. The parameters maximise the
    pseudo-likelihood, one logistic regression for each attribute; J is the mean of the two weights
    of a pair. Marginals are those of the mean field. A label that is missing counts as its expected
    value under the attribute's own score.

    Parameters
    ----------
    make
        Makes an estimator of one attribute from the number of its labels.
    CN
        C of the logistic regressions of pairs, times the number of labels.
    seed
        Of the folds.

    References
    ----------
    Besag, "Statistical analysis of non-lattice data", 1975.
    """

    def __init__(self, make: Callable[[int], Any], CN: float, seed: int) -> None:
        self.make, self.CN, self.seed = make, CN, seed

    def fit(self, X: Array, Y: Array) -> PairwiseField:
        """Fit the classifiers of single attributes, then the pairs; Y (n, M) in 0, 1 and NaN."""
        scores = np.zeros(Y.shape)
        for fold in stratified_folds(Y, FOLDS, self.seed):
            alone = OneByOne(self.make).fit(X[fold.train], Y[fold.train])
            scores[fold.test] = alone.decision_function(X[fold.test])
        self.alone = OneByOne(self.make).fit(X, Y)
        M = Y.shape[1]
        self.slopes, self.shifts, self.pairs = np.ones(M), np.zeros(M), np.zeros((M, M))
        spins = np.where(np.isnan(Y), 2 * expit(scores) - 1, 2 * Y - 1)
        for m in range(M):
            seen, others = ~np.isnan(Y[:, m]), np.arange(M) != m
            labels = Y[seen, m]
            if len(np.unique(labels)) < 2:
                continue
            design = np.column_stack([scores[seen, m], spins[seen][:, others]])
            model = LogisticRegression(C=self.CN / len(labels), max_iter=1000).fit(design, labels)
            self.slopes[m], self.shifts[m] = model.coef_[0, 0], model.intercept_[0]
            self.pairs[m, others] = model.coef_[0, 1:]
        self.pairs = (self.pairs + self.pairs.T) / 2
        return self

    def decision_function(self, X: Array) -> Array:
        """Log-odds of the marginals, (n, M)."""
        field = self.slopes * self.alone.decision_function(X) + self.shifts
        log_odds = field
        for _ in range(SWEEPS):
            step = field + np.tanh(log_odds / 2) @ self.pairs - log_odds
            log_odds = log_odds + DAMPING * step
            if np.abs(step).max(initial=0.0) < CONVERGED:
                break
        found: Array = log_odds
        return found
