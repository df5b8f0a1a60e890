"""Estimators that choose their strengths, and whether to share, by cross-validation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning

from proxmtl.arrays import as_float_tensor
from proxmtl.designs import SharedDesign
from proxmtl.estimators.base import LinearAttributeClassifier
from proxmtl.estimators.convex import minimised
from proxmtl.estimators.grouping import resolve_groups
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.paths import alone_beside, followed
from proxmtl.estimators.search import (
    Fold,
    Searched,
    folds_of,
    given_splits,
    joined,
    scoring_of,
    search,
)
from proxmtl.estimators.seeds import seed_of
from proxmtl.estimators.shared_plus_own import (
    StrengthUnits,
    part_of,
    shared_plus_own,
    strength_units,
)
from proxmtl.estimators.verdict import (
    Pair,
    best_of,
    beyond_the_end,
    calibration,
    ends,
    report,
    sharing,
    table,
)
from proxmtl.experiments import stratified_folds
from proxmtl.groups import Groups
from proxmtl.latent import LatentResult
from proxmtl.problem import Problem
from proxmtl.regularizers import SharedPlusOwn
from proxmtl.result import Result
from proxmtl.selection.edges import EdgeWarning
from proxmtl.targets import ClassWeight, Reduction, Targets
from proxmtl.wording import counted

__all__ = ["SharedPlusOwnClassifierCV", "SingleTaskClassifierCV"]

Array = NDArray[Any]
OWN = tuple(10 ** (1 - k / 2) for k in range(9))
"""Ridges of attributes alone, from 10 to 0.001."""
SHARED = (0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
"""Strengths of the shared part, beside own parts of unit ridge."""
EXTENSIONS = 2
"""How often a path of which an end is best goes on beyond it."""


class SingleTaskClassifierCV(LinearAttributeClassifier):
    r"""One ridge-penalised classifier per attribute, the ridge chosen by cross-validation.

    For all attributes together the ridge of best mean score on held-out rows is taken from a path
    of strengths, which is continued where an end of it is best. The classifier is then fitted on
    all rows, to a certified accuracy, and its scores are calibrated by those of the rows held out.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        A number of folds stratifies over all labels at once (missing ones count as neither);
        a splitter of scikit-learn and row numbers are taken as they are.
    scoring : {"average_precision", "roc_auc", "neg_log_loss"} or callable
        Unweighted score of one attribute on the rows held out, ``(labels in {0, 1}, decision
        values) -> float``; the mean over folds, then over attributes, decides. Where labels of one
        class were collected with preference, take ``"roc_auc"``, which prevalence does not move.
    loss : {"logistic", "squared_hinge", "squared", "smoothed_hinge", "huber"}
        Loss of a label.
    fit_intercept, standardize : bool
        As for :class:`SharedPlusOwnClassifier`; moments are found inside each training part.
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute. Probabilities and decisions are those of
        a population with these weights, and with the sample weights.
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

    reduction: ClassVar[Reduction] = "mean"

    cv: Any = 5
    scoring: str | Callable[[Array, Array], float] = "average_precision"
    loss: str = "logistic"
    max_passes: int = 1000
    tol: float = 1e-4
    random_state: Any = None

    report_: pd.DataFrame = field(init=False)
    cv_results_: pd.DataFrame = field(init=False)
    result_: Result[torch.Tensor] | LatentResult = field(init=False)
    n_shared_: int = field(init=False)
    _shared: Any = field(init=False)  # what the final fit of those that share has in common
    results_: list[Result[torch.Tensor] | LatentResult] = field(init=False)

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the positive class, by a sigmoid fitted to held-out scores.

        Parameters
        ----------
        X
            Features (N, D).

        Returns
        -------
        numpy.ndarray
            Shape (N, M), as of scikit-learn's multilabel classifiers; (N, 2) for one attribute, a
            column for each class.
        """
        values = self.decision_function(X)
        probabilities: Array = expit(values * self.calibration_)
        if len(self.coef_) == 1:
            positive = probabilities.reshape(-1)
            return np.stack([1 - positive, positive], axis=1)
        return probabilities

    # ------------------------------------------------------------------ the search

    def _paths(self) -> list[list[Pair]]:
        """Candidates at first, as paths to be followed with warm starts."""
        return [[(math.inf, own) for own in OWN]]

    def _resolve_groups(self, n_attributes: int) -> Groups:
        given = getattr(self, "groups", None)  # of those that can share
        if given is None:
            return Groups.single(n_attributes)
        return resolve_groups(given, n_attributes, self.label_names_)

    def _solve(
        self,
        X: Array,
        signs: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        class_weight: ClassWeight,
        callback: Callable[[Any], None] | None,
        *,
        warm: bool,
    ) -> tuple[Array, Array]:
        del warm
        given = self._given
        scoring = scoring_of(given.scoring)
        groups = self._resolve_groups(signs.shape[1])
        self._seed = seed_of(given.random_state)
        splits = self._splits(signs)
        options: dict[str, Any] = {
            "loss": resolve_loss(given.loss),
            "fit_intercept": given.fit_intercept,
            "reduction": self.reduction,
            "class_weight": class_weight,
        }

        def run(paths: list[list[Pair]]) -> Searched:
            folds = folds_of(X, signs, weights, splits, standardize=given.standardize, **options)
            return search(
                folds,
                signs,
                lambda fold, kept: self._points(fold, paths, kept, groups),
                scoring,
                n_folds=len(splits),
                path_of=np.repeat(np.arange(len(paths)), [len(path) for path in paths]),
            )

        paths = self._paths()
        candidates = [pair for path in paths for pair in path]
        found = run(paths)
        for _ in range(EXTENSIONS):
            further = beyond_the_end(candidates, found.means)
            if not further:
                break
            candidates += [pair for path in further for pair in path]
            found = joined(found, run(further))
        for edge in ends(candidates, found.means):
            warnings.warn(f"{type(self).__name__}: {edge}", EdgeWarning, stacklevel=5)
        features = as_float_tensor("X", X)
        targets = Targets.from_labels(
            signs,
            sample_weight=weights,
            class_weight=class_weight,
            reduction=self.reduction,
            like=features,
        )
        design = SharedDesign(features, intercept=given.fit_intercept)
        problem = Problem(options["loss"], design, targets)
        units = self._units(problem, groups, weights)
        alone, shared = (best_of(candidates, found.means, shared=kind) for kind in (False, True))
        assert alone is not None
        self.sharing_ = sharing(found, alone, shared)
        chosen = np.full(signs.shape[1], alone, dtype=np.intp)
        if shared is not None:
            chosen[self.sharing_] = shared
        self.groups_ = groups
        coef, intercept = np.zeros((X.shape[1], len(chosen))), np.zeros(len(chosen))
        self._shared = None
        self.results_, strengths = [], np.empty((len(chosen), 2))
        for number in np.unique(chosen):
            pair = candidates[number][0] * units.shared, candidates[number][1] * units.own
            mine = chosen == number
            fitted = self._refit(problem, pair, groups, callback)
            for all_of_them, own in zip((coef, intercept), fitted, strict=True):
                all_of_them[..., mine] = own[..., mine]
            strengths[mine] = pair
        # what shares comes last, and stands for the whole unless another fit ended early
        self.result_ = min(reversed(self.results_), key=lambda result: result.status.ok)
        self._set_parts(coef)
        held_out = np.take_along_axis(found.held_out, chosen[None, None, :], axis=0)[0]
        self.calibration_, shift = calibration(held_out, signs, targets.weights.numpy())
        lines = report(found, (alone, shared), self.sharing_, signs)
        lines["shared_strength"], lines["own_strength"] = strengths.T
        names = self.label_names_ if self.label_names_ is not None else range(signs.shape[1])
        self.report_ = lines.set_index(pd.Index(names, name="attribute"))
        self.cv_results_ = table(candidates, found)
        self.search_passes_ = found.passes
        return coef, intercept + shift

    def _units(
        self, problem: Problem, groups: Groups, sample_weight: NDArray[np.float64] | None
    ) -> StrengthUnits:
        """What strengths of 1 mean, in units of the loss of a problem without a penalty."""
        return strength_units(problem, groups, sample_weight)

    def _points(
        self, fold: Fold, paths: list[list[Pair]], kept: NDArray[np.bool_], groups: Groups
    ) -> Iterator[torch.Tensor]:
        """Solutions of the candidates kept on a fold, in its units; sharing goes on from alone."""
        part = part_of(groups, fold.columns)
        units = self._units(fold.problem, part, fold.sample_weight)
        numbers = iter(kept.tolist())
        wanted = {path[0][1] for path in paths if math.isfinite(path[0][0])}
        alone: dict[float, torch.Tensor] = {}
        for path in paths:
            left = [pair for pair in path if next(numbers)]
            own, shares = path[0][1], math.isfinite(path[0][0])
            if shares and own not in alone:
                ridge = self._followed(fold.problem, [(math.inf, own * units.own)], part, None)
                alone[own] = next(ridge)
            pairs = [(a * units.shared, v * units.own) for a, v in left]
            points = self._followed(fold.problem, pairs, part, alone[own] if shares else None)
            for (_, v), point in zip(left, points, strict=True):
                if not shares and v in wanted:
                    alone[v] = point
                yield point

    def _followed(
        self, problem: Problem, path: Sequence[Pair], groups: Groups, alone: torch.Tensor | None
    ) -> Iterator[torch.Tensor]:
        """Solutions along a path of strengths in units of the loss."""
        return followed(problem, [shared_plus_own(*pair, groups) for pair in path], alone)

    def _refit(
        self, problem: Problem, pair: Pair, groups: Groups, callback: Callable[[Any], None] | None
    ) -> tuple[Array, Array]:
        """Coefficients (D, M) and intercepts (M,) at the strengths chosen, in units of the loss."""
        penalty, before = shared_plus_own(*pair, groups), problem.counts.passes
        start = alone_beside(problem, penalty, self._given.max_passes)
        spent = problem.counts.passes - before
        result = minimised(
            problem.with_regularizers(penalty),
            tol=self._given.tol,
            max_passes=self._given.max_passes - spent,
            callback=callback,
            start=start,
        )
        self._keep(replace(result, state=None, passes=result.passes + spent))  # type: ignore[arg-type]
        coef, intercept = problem.design.split(result.solution)
        if isinstance(penalty, SharedPlusOwn):
            self._shared = penalty.split(coef)[0].numpy(), penalty.rank(coef)
        bias = coef.new_zeros(coef.shape[1]) if intercept is None else intercept
        return coef.numpy(), bias.numpy()

    def _keep(self, result: Result[torch.Tensor] | LatentResult) -> None:
        """Keep the result of a final fit, and warn where it ended early."""
        self.results_.append(result)
        if not result.status.ok:
            ended = result.status.advice(result.certificate)
            warnings.warn(
                f"{type(self).__name__}: {ended} ({result.certificate}.)",
                ConvergenceWarning,
                stacklevel=8,
            )

    def _set_parts(self, coef: Array) -> None:
        """Set what is shared of the coefficients (D, M) on standardised features."""
        nothing: tuple[Array, int] = 0 * coef, 0
        shared, self.n_shared_ = self._shared or nothing
        shared = np.where(self.sharing_, shared, 0.0)
        self.shared_coef_ = np.ascontiguousarray((shared / self.scale_[:, np.newaxis]).T)
        self._shared = None

    def _splits(self, signs: NDArray[np.float64]) -> list[tuple[Array, Array]]:
        """Splits of the rows that are fitted, as numbers of the training part and of the rest."""
        cv = 5 if self.cv is None else self._given.cv
        if isinstance(cv, int) and not isinstance(cv, bool):
            n = len(signs)  # two at least: every attribute has both classes
            if not 2 <= cv <= n:
                most = f" to {n}" if n > 2 else ""
                raise ValueError(f"cv: got {counted(cv, 'fold')} for {n} rows; give 2{most}.")
            return list(stratified_folds(signs, cv, self._seed))
        return given_splits(cv, signs, self._rows, self._n_given)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")


class SharedPlusOwnClassifierCV(SingleTaskClassifierCV):
    r"""Attributes that share where sharing helps: :class:`SharedPlusOwnClassifier`, tuned.

    Cross-validation compares attributes alone, on a path of ridges, with attributes that share,
    on a path of the shared part's strength. If sharing has the better mean score on held-out rows,
    it is taken, but for attributes that it can be expected to make worse: these keep a classifier
    of their own. What can be expected of an attribute is its gain on held-out rows, drawn towards
    the mean gain of all as far as the folds disagree (empirical Bayes). Parameters and attributes
    are those of :class:`SingleTaskClassifierCV`, and these:

    Parameters
    ----------
    groups : Groups, dict, list of lists or None
        As for :class:`SharedPlusOwnClassifier`.

    Attributes
    ----------
    sharing_ : ndarray of bool, shape (M,)
        The attributes that share.
    shared_coef_ : ndarray of shape (M, D)
        The shared part of ``coef_``; 0 for an attribute alone.
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

    groups: Any = None

    sharing_: NDArray[np.bool_] = field(init=False)
    shared_coef_: Array = field(init=False)
    groups_: Groups = field(init=False)

    def _paths(self) -> list[list[Pair]]:
        return [*super()._paths(), [(a, 1.0) for a in SHARED]]
