"""Base of the cross-validated estimators: search of strengths, and of whether to share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import field, replace
from typing import Any, ClassVar
from zlib import crc32

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
from proxmtl.estimators.refits import Refit, Strengths, of_each
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.scales import AS_GIVEN, PARETO, UNIT, Scale, Training
from proxmtl.estimators.scores import shared_part
from proxmtl.estimators.scoring import Score
from proxmtl.estimators.search import (
    Fold,
    GroupsOfFolds,
    Searched,
    folds_of,
    given_splits,
    search,
)
from proxmtl.estimators.seeds import seed_of
from proxmtl.estimators.shared_plus_own import shared_plus_own
from proxmtl.estimators.stages import Stage, in_stages
from proxmtl.estimators.verdict import (
    Candidate,
    best_of,
    ends,
    report,
    said_of,
    sharing,
    table,
)
from proxmtl.estimators.watch import Watch
from proxmtl.experiments import stratified_folds
from proxmtl.groups import Groups
from proxmtl.latent import LatentResult
from proxmtl.latent.strengths import StrengthUnits, strength_units
from proxmtl.problem import Problem
from proxmtl.result import Result
from proxmtl.selection.edges import EdgeWarning
from proxmtl.targets import Reduction
from proxmtl.wording import counted, warn

__all__ = ["OwnSearch"]

OWN = tuple(10 ** (1 - k / 2) for k in range(9))
"""Candidate ridges of single-task models, from 10 to 0.001."""


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
    feature_factors_: NDArray[np.float64] = field(init=False)
    result_: Result[torch.Tensor] | LatentResult = field(init=False)
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

    def _evidence(self, held_out: NDArray[np.float32], calibrated: Calibrations) -> float:  # noqa: ARG002
        """How well the scores of held-out rows tell the labels, where candidates score alike."""
        return 0.0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        given = self._given.standardize
        if not (isinstance(given, bool) or given == "search"):
            raise ValueError(f"standardize: got {given!r}; give 'search', True or False.")

    def _scales(self) -> list[Scale]:
        """Scales of the features, without relevance."""
        given = self._given.standardize
        return [UNIT, PARETO, AS_GIVEN] if given == "search" else [UNIT if given else AS_GIVEN]

    def _paths(self, best: Candidate | None) -> list[list[Candidate]]:  # noqa: ARG002
        """Candidates of the first stage, as paths to be followed with warm starts."""
        return [[Candidate(math.inf, own, scale) for own in OWN] for scale in self._scales()]

    def _shared_stages(self) -> list[Stage]:
        """Stages of candidates whose attributes share; none by default."""
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
            "spread": self.scale_ if given.standardize else None,
            "loss": resolve_loss(given.loss),
            "fit_intercept": given.fit_intercept,
            "reduction": self.reduction,
        }

        groups_in = GroupsOfFolds(groups)
        known: list[dict[Scale, NDArray[np.float64] | None]] = [{} for _ in splits]
        fallback = getattr(given, "fallback", True)

        def run(paths: list[list[Candidate]], leader: NDArray[np.float64] | None) -> Searched:
            races = [0 if math.isinf(path[0].shared) else 1 + k for k, path in enumerate(paths)]
            return search(
                folds_of(X, labels, splits, known=known, **options),
                labels,
                lambda fold, kept: self._points(fold, paths, kept, groups_in(fold)),
                score,
                n_folds=len(splits),
                race_of=np.repeat(races, [len(path) for path in paths]),
                rival=leader if fallback else None,  # else the best that shares is looked for
                watch=watch,
                name=f"search-{crc32(repr(paths).encode()):08x}",  # of these candidates
            )

        stages = [self._paths, *(self._shared_stages() if n_attributes > 1 else [])]
        candidates, found = in_stages(stages, run, self.flat)
        for edge in ends(candidates, found.means, self.flat):
            warn(f"{type(self).__name__}: {said_of(edge)}", EdgeWarning)
        training = Training(X, labels, None, **options)
        if groups is None:
            groups = groups_for("auto", training.problem, training.sample_weight, self.label_names_)
        calibrated = Calibrations(labels.numbers, X.label_weights(training.posed))
        deciding: dict[str, Any] = {
            "one_standard_error": given.one_standard_error,
            "evidence": lambda held_out: self._evidence(held_out, calibrated),
        }
        alone = best_of(candidates, found, among=Candidate.is_alone, **deciding)
        assert alone is not None
        if fallback:
            deciding["over"] = alone
        kind = Candidate.shares if fallback else Candidate.has_part
        shared = best_of(candidates, found, among=kind, **deciding)
        self.sharing_ = sharing(found, alone, shared, fallback=fallback)
        chosen = np.full(n_attributes, alone, dtype=np.intp)
        if shared is not None:
            chosen[self.sharing_] = shared
        self.groups_ = groups
        fits = self._refits(training, candidates, chosen, groups, watch)
        taken = fits.get(-1 if shared is None else shared)
        by_relevance = shared is not None and candidates[shared].scale.relevance > 0
        if taken is not None and not by_relevance and not self._has_shared_part(taken):
            self.sharing_[:] = False  # at the chosen strength, nothing is shared in the final fit
            chosen[:], taken = alone, None
            fits = self._refits(training, candidates, chosen, groups, watch)
        coef, intercept = of_each(fits, chosen)
        self.results_ = [fitted.result for fitted in fits.values()]
        # the fit of the sharing attributes comes last; it represents all unless another ended early
        self.result_ = min(reversed(self.results_), key=lambda result: result.status.ok)
        factors = (taken or fits[alone]).factors
        self.feature_factors_ = np.ones(len(coef)) if factors is None else factors
        self._set_parts(coef, taken)
        held_out = np.take_along_axis(found.held_out, chosen[None, None, :], axis=0)[0]
        shift = self._calibrate(held_out, labels, calibrated)
        lines = report(found, (alone, shared), self.sharing_, labels)
        strengths = np.array([fits[number].strengths for number in chosen.tolist()])
        lines["shared_strength"], lines["own_strength"] = strengths.T
        lines["scaling"] = [str(candidates[number].scale) for number in chosen.tolist()]
        names = self.label_names_ if self.label_names_ is not None else range(n_attributes)
        self.report_ = lines.set_index(pd.Index(names, name="attribute"))
        self.cv_results_ = table(candidates, found)
        self.search_passes_ = (
            found.passes
            + training.problem.counts.passes
            - sum(fitted.counted for fitted in fits.values())
        )
        if getattr(given, "keep_single_task", False):
            fitted = fits.get(alone) or self._refit(
                training, candidates[alone], groups, watch, f"solve-{alone}"
            )
            self.single_task_ = without_sharing(
                self,
                fitted,
                found.held_out[alone],
                labels=labels,
                calibrated=calibrated,
                scaling=str(candidates[alone].scale),
                report=report(found, (alone, shared), np.zeros_like(self.sharing_), labels),
            )
        return coef, intercept + shift

    def _strength_units(
        self, problem: Problem, groups: Groups, sample_weight: NDArray[np.float64] | None
    ) -> StrengthUnits:
        """Units of relative strengths, for an unpenalised problem."""
        return strength_units(problem, groups, sample_weight)

    def _points(
        self, fold: Fold, paths: list[list[Candidate]], kept: NDArray[np.bool_], part: Groups
    ) -> Iterator[torch.Tensor]:
        """Solutions of the kept candidates on a fold, on its features as they are."""
        numbers = iter(kept.tolist())
        left = [[each for each in path if next(numbers)] for path in paths]
        for scale, group in itertools.groupby(filter(None, left), key=lambda path: path[0].scale):
            at = fold.training.at(scale)
            units = self._strength_units(at.problem, part, fold.training.sample_weight)
            yield from map(at.point, self._points_at(at.problem, units, list(group), part))
            del at  # its features, before those of another scale are made

    def _points_at(
        self, problem: Problem, units: StrengthUnits, paths: list[list[Candidate]], part: Groups
    ) -> Iterator[torch.Tensor]:
        """Solutions on features of one scale; those without a shared part start the paths of it."""
        wanted = {path[0].own for path in paths if math.isfinite(path[0].shared)}
        alone: dict[float, torch.Tensor] = {}
        for path in paths:
            own, shares = path[0].own, math.isfinite(path[0].shared)
            if shares and own not in alone:
                ridge = self._followed(problem, [Strengths(math.inf, own * units.own)], part, None)
                alone[own] = next(ridge)
            strengths = [Strengths(a * units.shared, v * units.own) for a, v, _ in path]
            points = self._followed(problem, strengths, part, alone[own] if shares else None)
            for each, point in zip(path, points, strict=True):
                if not shares and each.own in wanted:
                    alone[each.own] = point
                yield point

    def _followed(
        self,
        problem: Problem,
        path: Sequence[Strengths],
        groups: Groups,
        alone: torch.Tensor | None,
    ) -> Iterator[torch.Tensor]:
        """Approximate solutions along a path of absolute strengths."""
        return followed(problem, [shared_plus_own(*each, groups) for each in path], alone)

    def _refit(
        self, training: Training, candidate: Candidate, groups: Groups, watch: Watch, name: str
    ) -> Refit:
        """Fit all rows at a candidate; warns if the fit ends early."""
        accuracy = {"tol": self._given.tol, "max_passes": self._given.max_passes}
        at = training.at(candidate.scale, **accuracy, **watch.solve(f"{name}-relevance"))
        units = self._strength_units(at.problem, groups, training.sample_weight)
        strengths = Strengths(candidate.shared * units.shared, candidate.own * units.own)
        before = at.problem.counts.passes
        solved = self._solved(at.problem, strengths, groups, watch, name)
        self._warn_of(solved.result)
        counted = at.problem.counts.passes - before
        fitted = solved._replace(factors=at.factors, counted=counted)
        return fitted._replace(coef=fitted.weights(solved.coef))

    def _solved(
        self, problem: Problem, strengths: Strengths, groups: Groups, watch: Watch, name: str
    ) -> Refit:
        """Solve a problem at absolute strengths, on its features, to the accuracy asked for."""
        penalty, before = shared_plus_own(*strengths, groups), problem.counts.passes
        start = alone_beside(problem, penalty, self._given.max_passes)
        spent = problem.counts.passes - before
        result = minimised(
            problem.with_regularizers(penalty),
            tol=self._given.tol,
            max_passes=self._given.max_passes - spent,
            start=start,
            **watch.solve(name),
        )
        coef, intercept = problem.design.split(result.solution)
        part = shared_part(penalty, coef) if math.isfinite(strengths[0]) else None
        bias = coef.new_zeros(coef.shape[1]) if intercept is None else intercept
        result = replace(result, state=None, passes=result.passes + spent)  # type: ignore[arg-type]
        return Refit(coef.numpy(), bias.numpy(), result, strengths, part)

    def _refits(
        self,
        training: Training,
        candidates: Sequence[Candidate],
        chosen: NDArray[np.intp],
        groups: Groups,
        watch: Watch,
    ) -> dict[int, Refit]:
        """Fits of all rows at the candidates that were chosen, by their numbers."""
        return {
            number: self._refit(training, candidates[number], groups, watch, f"solve-{number}")
            for number in np.unique(chosen).tolist()
        }

    def _has_shared_part(self, fitted: Refit) -> bool:  # noqa: ARG002
        """Whether the shared part of a fit is non-zero."""
        return False

    def _set_parts(self, coef: Array, fitted: Refit | None) -> None:
        """Set the shared part of a fit, and coefficients (D, M), on standardised features."""

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
