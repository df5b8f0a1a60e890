"""The paper's model with own parts, tuned by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.estimators.classifiers_cv import SearchedClassifier
from proxmtl.estimators.refits import Refit, Strengths
from proxmtl.estimators.regressors_cv import SearchedRegressor
from proxmtl.estimators.scores import TaskScores
from proxmtl.estimators.shared_search import SharingSearch
from proxmtl.estimators.watch import Watch
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL
from proxmtl.latent import path as latent_path
from proxmtl.latent.strengths import StrengthUnits, latent_units
from proxmtl.problem import Problem

__all__ = ["LatentMTLClassifierCV", "LatentMTLRegressorCV"]

Array = NDArray[Any]
LATENT = (0.85, 0.7, 0.5, 0.35, 0.24, 0.16, 0.11)
"""Strengths of latent tasks, relative to the critical one; the largest leave few or no latents."""


class LatentSearch(TaskScores, SharingSearch):
    """Base of the search for the paper's model with own parts."""

    shares = LATENT

    max_passes: int = 500
    tol: float = 1e-3

    @property
    def n_latents_(self) -> int:
        """Number of latent tasks in use."""
        return int(self.L_.shape[1])

    def _strength_units(
        self, problem: Problem, groups: Groups, sample_weight: NDArray[np.float64] | None
    ) -> StrengthUnits:
        return latent_units(problem, groups, sample_weight)

    def _followed(
        self,
        problem: Problem,
        path: Sequence[Strengths],
        groups: Groups,
        alone: torch.Tensor | None,
    ) -> Iterator[torch.Tensor]:
        if math.isinf(path[0].shared):
            yield from super()._followed(problem, path, groups, alone)
            return
        for posed, blocks in latent_path.followed(
            problem,
            groups,
            [each.shared for each in path],
            path[0].own,
        ):
            yield posed.weights(blocks)

    def _solved(
        self, problem: Problem, strengths: Strengths, groups: Groups, watch: Watch, name: str
    ) -> Refit:
        strength, own = strengths
        if math.isinf(strength):
            return super()._solved(problem, strengths, groups, watch, name)
        most, before = self._given.max_passes, problem.counts.passes
        init: Any = latent_path.start_of(problem, groups, strength, own, most) or "trace"
        spent = problem.counts.passes - before
        solver = LatentMTL(
            groups,
            group_strength=strength,
            l1_strength=0.0,
            frobenius_strength=strength,
            own_strength=own,
            init=init,
            loss=problem.loss,
            max_passes=most - spent,
            tol=self._given.tol,
        )
        result = solver.solve(problem.design, problem.targets, **watch.solve(name))
        spent += result.passes
        if not result.live_latents and most - spent >= 1:
            # a minimum without latents: there may be a lower one from trace-norm solutions
            again = replace(solver, init="trace", max_passes=most - spent)
            second = watch.solve(f"{name}-again")
            other = again.solve(problem.design, problem.targets, **second)
            spent += other.passes
            result = min(result, other, key=lambda each: each.certificate.objective)
        result = replace(result, state=None, passes=spent, budget=most)  # type: ignore[arg-type]
        part = result.L.numpy(), result.S.numpy()
        return Refit(result.coef.numpy(), result.intercept.numpy(), result, strengths, part)

    def _has_shared_part(self, fitted: Refit) -> bool:
        if fitted.part is None:
            return False
        L, S = fitted.part
        return bool((S.any(axis=1) & L.any(axis=0)).any())

    def _set_parts(self, coef: Array, fitted: Refit | None) -> None:
        D, M = coef.shape
        L, S = np.zeros((D, 0)), np.zeros((0, M))
        if fitted is not None and fitted.part is not None:
            L, S = fitted.weights(fitted.part[0]), fitted.part[1]
        S = np.where(self.sharing_, S, 0.0)
        used = S.any(axis=1) & L.any(axis=0)
        L, S = L[:, used].astype(np.float64), S[used]
        scale = self.scale_[:, np.newaxis]
        self.L_, self.S_ = L / scale, S
        self.V_ = (coef - L @ S) / scale


class LatentMTLClassifierCV(SearchedClassifier, LatentSearch):
    r"""Attributes that share latent tasks where sharing helps: ``W = L S + V``, tuned.

    The model of :class:`LatentMTLClassifier` with own parts. Strengths are chosen, and compared
    with single-task classifiers, as in :class:`SharedPlusOwnClassifierCV`: attributes that are
    expected to lose by sharing keep a single-task classifier. The strength of sharing,
    :math:`\mu = \lambda`, is a fraction of the critical one, at which a first latent task no longer
    lowers the objective without own parts; own parts have a unit ridge. On each training part,
    descents start from trace-norm solutions. The problem is not convex: results are local minima.

    Parameters and attributes are those of :class:`SingleTaskClassifierCV`, and these:

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto" or None
        Groups of attributes that select latent tasks together; they may overlap. An attribute in no
        group is a group of one. ``"auto"``: clusters of attributes with similar labels and
        classifiers, found in each training part. None: one group of all attributes.
    relevance, fallback, keep_single_task : bool
        As for :class:`SharedPlusOwnClassifierCV`.
    max_passes, tol
        Budget of the final fit, and its tolerance: on the relative duality gap of single-task
        classifiers, and on the relative KKT residual of attributes that share.

    Attributes
    ----------
    sharing_ : ndarray of bool, shape (M,)
        The attributes that share, latent tasks or by relevance.
    coef_ : ndarray of shape (M, D)
        ``(L_ @ S_ + V_).T``, on the features as given.
    L_ : ndarray of shape (D, K)
        Latent tasks in use, on the features as given.
    S_ : ndarray of shape (K, M)
        Weights of the latent tasks in each attribute; zero for one that does not share.
    V_ : ndarray of shape (D, M)
        The attributes' own parts; for an attribute that does not share, its coefficients.
    n_latents_ : int
        K; 0 if no latent task is used.
    single_task_ : LatentMTLClassifierCV
        As for :class:`SharedPlusOwnClassifierCV`.
    report_ : pandas.DataFrame
        As for :class:`SharedPlusOwnClassifierCV`; ``shared_strength`` is :math:`\mu = \lambda`.

    References
    ----------
    Abdulnabi, Wang, Lu, Jia, "Multi-task CNN model for attribute prediction", 2015.
    """


class LatentMTLRegressorCV(SearchedRegressor, LatentSearch):
    r"""Regressions that share latent tasks where sharing helps: ``W = L S + V``, tuned.

    The model of :class:`LatentMTLRegressor` with own parts, strengths chosen as in
    :class:`LatentMTLClassifierCV`. Parameters and attributes are those of
    :class:`SingleTaskRegressorCV`, and these:

    Parameters
    ----------
    groups, relevance, fallback, keep_single_task, max_passes, tol
        As for :class:`LatentMTLClassifierCV`.

    Attributes
    ----------
    single_task_, sharing_, L_, S_, V_, n_latents_, groups_
        As for :class:`LatentMTLClassifierCV`; ``S_`` and ``V_`` in the units of the labels.
    """
