"""Base of the cross-validated estimators: search of strengths, and of whether to share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from proxmtl.estimators.alone import without_sharing
from proxmtl.estimators.base import Array, LinearModel
from proxmtl.estimators.calibration import Calibrations
from proxmtl.estimators.clusters import groups_for, is_auto
from proxmtl.estimators.convex import minimised
from proxmtl.estimators.grouping import resolve_groups
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.paths import alone_beside, followed
from proxmtl.estimators.refits import Refit, of_each
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.scores import SharedPart, SharedScores, shared_part
from proxmtl.estimators.scoring import Score
from proxmtl.estimators.search import (
    Fold,
    GroupsOfFolds,
    Searched,
    folds_of,
    given_splits,
    joined,
    search,
)
from proxmtl.estimators.seeds import seed_of
from proxmtl.estimators.shared_plus_own import shared_plus_own
from proxmtl.estimators.verdict import (
    Pair,
    best_of,
    beyond_the_end,
    ends,
    leading,
    report,
    sharing,
    table,
)
from proxmtl.estimators.watch import Watch
from proxmtl.experiments import stratified_folds
from proxmtl.groups import Groups
from proxmtl.latent import LatentResult
from proxmtl.latent.strengths import StrengthUnits, strength_units
from proxmtl.problem import Problem
from proxmtl.regularizers import SquaredFrobenius
from proxmtl.result import Result
from proxmtl.selection.edges import Edge, EdgeWarning
from proxmtl.targets import Reduction
from proxmtl.wording import counted, warn

__all__ = ["OwnSearch", "SharedSearch"]

OWN = tuple(10 ** (1 - k / 2) for k in range(9))
"""Candidate ridges of single-task models, from 10 to 0.001."""
SHARED = (0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08)
"""Candidate strengths of the shared part, relative to the critical one."""
EXTENSIONS = 2
"""Maximum number of extensions of a path whose end is best."""


class OwnSearch(LinearModel):
    """Base of single-task estimators with a ridge chosen by cross-validation.

    The classifier or regressor base implements `_score_by` and `_calibrate`. Subclasses with a
    shared part add paths of candidates.
    """

    reduction: ClassVar[Reduction] = "mean"
    unit_own: ClassVar[bool] = True
    """Whether a unit ridge on own parts is suitable: losses of classes fix the scale of scores."""
    flat: ClassVar[float] = 0.0
    """A path is not extended if its last step gained at most this fraction of the path's range."""

    cv: Any = 5
    one_standard_error: bool = False
    max_passes: int = 1000
    tol: float = 1e-4
    random_state: Any = None

    report_: pd.DataFrame = field(init=False)
    cv_results_: pd.DataFrame = field(init=False)
    result_: Result[torch.Tensor] | LatentResult = field(init=False)
    _shared: Any = field(init=False)  # shared part of the final fit
    single_task_: Any = field(init=False)  # where single-task models are kept
    results_: list[Result[torch.Tensor] | LatentResult] = field(init=False)

    def _score_by(self) -> Score:
        """Score of held-out rows; implemented by the classifier or regressor base."""
        raise NotImplementedError

    def _calibrate(
        self, held_out: NDArray[np.float32], labels: EncodedLabels, calibrated: Calibrations
    ) -> Any:
        """Calibrate on the scores of held-out rows, (N, M); return shifts of the intercepts.

        Implemented by the classifier or regressor base.
        """
        raise NotImplementedError

    def _evidence(self, held_out: NDArray[np.float32], calibrated: Calibrations) -> float:
        """How well the scores of held-out rows tell the labels, where candidates score alike."""
        del held_out, calibrated
        return 0.0

    def _paths(self) -> list[list[Pair]]:
        """Initial candidates, as paths to be followed with warm starts."""
        alone = [(math.inf, own) for own in OWN]
        return [alone, *(self._shared_paths(1.0) if self.unit_own else [])]

    def _beyond(self, candidates: Sequence[Pair], found: Searched) -> list[list[Pair]]:
        return beyond_the_end(candidates, found.means, self.flat)

    def _beyond_shared(self, candidates: Sequence[Pair], found: Searched) -> list[list[Pair]]:
        shared = math.isfinite(candidates[leading(found.means)][0])
        return self._beyond(candidates, found) if shared else []

    def _beside_the_best(self, candidates: Sequence[Pair], found: Searched) -> list[list[Pair]]:
        """Paths of shared parts, with own parts at the best single-task ridge and at ten times it.

        The more is shared, the less own parts have to model. None for a single attribute.
        """
        if found.scores.shape[2] == 1:
            return []
        _, own = candidates[leading(found.means)]
        return [*self._shared_paths(own), *self._shared_paths(10 * own)]

    def _shared_paths(self, own: float) -> list[list[Pair]]:
        """Candidates with a shared part, for a ridge on own parts; none by default."""
        del own
        return []

    def _given_groups(self, n_attributes: int) -> Groups | None:
        """The given groups of attributes; None if each training part is clustered."""
        given = getattr(self, "groups", None)
        if given is None:
            return Groups.single(n_attributes)
        return None if is_auto(given) else resolve_groups(given, n_attributes, self.label_names_)

    def _solve(
        self, X: Samples, labels: EncodedLabels, watch: Watch, *, warm: bool
    ) -> tuple[Array, Array]:
        del warm
        self.__dict__.pop("single_task_", None)  # of an earlier fit
        given = self._given
        score = self._score_by()
        n_attributes = labels.numbers.shape[1]
        groups = self._given_groups(n_attributes)
        self._seed = seed_of(given.random_state, X.ranks)
        splits = self._splits(labels)
        options: dict[str, Any] = {
            "loss": resolve_loss(given.loss),
            "fit_intercept": given.fit_intercept,
            "reduction": self.reduction,
        }

        groups_in, searches = GroupsOfFolds(groups), itertools.count()

        def run(paths: list[list[Pair]]) -> Searched:
            folds = folds_of(X, labels, splits, standardize=given.standardize, **options)
            return search(
                folds,
                labels,
                lambda fold, kept: self._points(fold, paths, kept, groups_in(fold)),
                score,
                n_folds=len(splits),
                path_of=np.repeat(np.arange(len(paths)), [len(path) for path in paths]),
                watch=watch,
                name=f"search-{next(searches)}",
            )

        paths = self._paths()
        candidates = [pair for path in paths for pair in path]
        found = run(paths)
        steps = [self._beyond] * EXTENSIONS
        if not self.unit_own:
            steps += [self._beside_the_best, *[self._beyond_shared] * EXTENSIONS]
        for step in steps:
            further = step(candidates, found)
            if further:
                candidates += [pair for path in further for pair in path]
                found = joined(found, run(further))
        for edge in ends(candidates, found.means, self.flat):
            warn(f"{type(self).__name__}: {_at_an_edge(edge)}", EdgeWarning)
        posed = X.posed(labels, intercept=given.fit_intercept, reduction=self.reduction)
        problem = Problem(options["loss"], posed.design, posed.targets)
        if groups is None:
            groups = groups_for("auto", problem, posed.sample_weight, self.label_names_)
        passes = found.passes + problem.counts.passes
        units = self._strength_units(problem, groups, posed.sample_weight)
        calibrated = Calibrations(labels.numbers, X.label_weights(posed))
        deciding: dict[str, Any] = {
            "one_standard_error": given.one_standard_error,
            "evidence": lambda held_out: self._evidence(held_out, calibrated),
        }
        alone, shared = (
            best_of(candidates, found, shared=kind, **deciding) for kind in (False, True)
        )
        assert alone is not None
        self.sharing_ = sharing(found, alone, shared, fallback=getattr(given, "fallback", True))
        chosen = np.full(n_attributes, alone, dtype=np.intp)
        if shared is not None:
            chosen[self.sharing_] = shared
        self.groups_ = groups
        pairs = [(a * units.shared, own * units.own) for a, own in candidates]
        fits = self._refits(problem, pairs, chosen, groups, watch)
        if self.sharing_.any() and not self._something_is_shared():
            self.sharing_[:] = False  # at the chosen strength, nothing is shared in the final fit
            chosen[:] = alone
            fits = self._refits(problem, pairs, chosen, groups, watch)
        coef, intercept = of_each(fits, chosen)
        strengths = np.array(pairs)[chosen]
        # the fit of the sharing attributes comes last; it represents all unless another ended early
        self.result_ = min(reversed(self.results_), key=lambda result: result.status.ok)
        self._set_parts(coef)
        held_out = np.take_along_axis(found.held_out, chosen[None, None, :], axis=0)[0]
        shift = self._calibrate(held_out, labels, calibrated)
        lines = report(found, (alone, shared), self.sharing_, labels)
        lines["shared_strength"], lines["own_strength"] = strengths.T
        names = self.label_names_ if self.label_names_ is not None else range(n_attributes)
        self.report_ = lines.set_index(pd.Index(names, name="attribute"))
        self.cv_results_ = table(candidates, found)
        self.search_passes_ = passes
        if getattr(given, "keep_single_task", False):
            fitted = fits.get(alone) or self._refit(
                problem, pairs[alone], groups, watch, f"solve-{alone}"
            )
            self.single_task_ = without_sharing(
                self,
                fitted,
                found.held_out[alone],
                labels=labels,
                calibrated=calibrated,
                strengths=pairs[alone],
                report=report(found, (alone, shared), np.zeros_like(self.sharing_), labels),
            )
        return coef, intercept + shift

    def _strength_units(
        self, problem: Problem, groups: Groups, sample_weight: NDArray[np.float64] | None
    ) -> StrengthUnits:
        """Units of relative strengths, for an unpenalised problem."""
        return strength_units(problem, groups, sample_weight)

    def _points(
        self, fold: Fold, paths: list[list[Pair]], kept: NDArray[np.bool_], part: Groups
    ) -> Iterator[torch.Tensor]:
        """Solutions of the kept candidates on a fold; single-task solutions start shared paths."""
        units = self._strength_units(fold.problem, part, fold.sample_weight)
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
        """Approximate solutions along a path of absolute strengths."""
        return followed(problem, [shared_plus_own(*pair, groups) for pair in path], alone)

    def _refit(
        self, problem: Problem, pair: Pair, groups: Groups, watch: Watch, name: str
    ) -> Refit:
        """Fit all rows at the chosen absolute strengths; warns if the fit ends early."""
        penalty, before = shared_plus_own(*pair, groups), problem.counts.passes
        start = alone_beside(problem, penalty, self._given.max_passes)
        spent = problem.counts.passes - before
        result = minimised(
            problem.with_regularizers(penalty),
            tol=self._given.tol,
            max_passes=self._given.max_passes - spent,
            start=start,
            **watch.solve(name),
        )
        result = replace(result, state=None, passes=result.passes + spent)  # type: ignore[arg-type]
        self._warn_of(result)
        coef, intercept = problem.design.split(result.solution)
        if math.isfinite(pair[0]):
            self._shared = shared_part(penalty, coef)
        bias = coef.new_zeros(coef.shape[1]) if intercept is None else intercept
        return Refit(coef.numpy(), bias.numpy(), result)

    def _refits(
        self,
        problem: Problem,
        pairs: Sequence[Pair],
        chosen: NDArray[np.intp],
        groups: Groups,
        watch: Watch,
    ) -> dict[int, Refit]:
        """Fits of all rows at the pairs of strengths that were chosen, by their numbers."""
        self._shared = None
        fits = {
            number: self._refit(problem, pairs[number], groups, watch, f"solve-{number}")
            for number in np.unique(chosen).tolist()
        }
        self.results_ = [fitted.result for fitted in fits.values()]
        return fits

    def _something_is_shared(self) -> bool:
        """Whether the shared part of the final fit is non-zero."""
        return False

    def _set_parts(self, coef: Array) -> None:
        """Set the shared part, from coefficients (D, M) on standardised features."""

    def _splits(self, labels: EncodedLabels) -> list[tuple[Array, Array]]:
        """Splits of the fitted rows, as pairs of indices (training part, held-out part)."""
        cv = 5 if self.cv is None else self._given.cv
        if isinstance(cv, int) and not isinstance(cv, bool):
            n = len(labels.numbers)
            if n < 2:
                raise ValueError(
                    "cv: 1 sample can't be held out and learnt from; give two or more."
                )
            if not 2 <= cv <= n:
                most = f" to {n}" if n > 2 else ""
                raise ValueError(f"cv: got {counted(cv, 'fold')} for {n} rows; give 2{most}.")
            return list(stratified_folds(labels.strata, cv, self._seed))
        return given_splits(cv, labels.numbers, self._rows, self._n_given)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")


class SharedSearch(SharedScores, OwnSearch):
    """Base of estimators that search over a shared part with a trace norm."""

    groups: Any = None
    fallback: bool = True
    keep_single_task: bool = False

    sharing_: NDArray[np.bool_] = field(init=False)
    groups_: Groups = field(init=False)

    def _shared_paths(self, own: float) -> list[list[Pair]]:
        return [[(a, own) for a in SHARED]]

    def _something_is_shared(self) -> bool:
        return self._shared is not None and self._shared.rank > 0

    def _set_parts(self, coef: Array) -> None:
        part = self._shared or shared_part(SquaredFrobenius(1.0), torch.from_numpy(coef))
        loadings = np.where(self.sharing_, part.loadings, 0.0)
        used = loadings.any(axis=1)
        self.n_shared_ = part.rank
        self._keep_shared(
            SharedPart(
                np.where(self.sharing_, part.coef, 0.0),
                part.directions[:, used],
                loadings[used],
                part.rank,
            )
        )
        self._shared = None


def _at_an_edge(edge: Edge) -> str:
    """Say that the best candidate is the last one tried, and what the last step gained."""
    gained = ""
    if math.isfinite(edge.gain):
        gained = (
            f" The last step gained {edge.gain:.2g} of the mean score: where as much again would "
            "not matter, nothing need be done."
        )
    # in quotes: it is a column of the table, and no option that could be given
    return (
        f"the best '{edge.name}', {edge.value:.4g}, is the {edge.side} of {edge.tried} values "
        f"tried, to which the search has extended its path.{gained} All steps are in the table of "
        "candidates (cv_results_, in a run folder candidates.csv)."
    )
