"""The paper's model as scikit-learn estimators."""

from __future__ import annotations

import math
from dataclasses import field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from proxmtl.estimators.base import Array, Callback
from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.clusters import groups_for
from proxmtl.estimators.grouping import check_weighted
from proxmtl.estimators.labels import EncodedLabels
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.regressor import LinearAttributeRegressor
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.scores import TaskScores
from proxmtl.estimators.seeds import seed_of
from proxmtl.estimators.watch import Watch
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentResult
from proxmtl.latent import path as latent_path
from proxmtl.latent.model import Algorithm, Init
from proxmtl.latent.strengths import Relative, RelativeStrengths
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError
from proxmtl.result import Status
from proxmtl.targets import Reduction
from proxmtl.wording import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAPERS = ("group_strength", "l1_strength", "frobenius_strength")
"""Names of the paper's strengths."""

__all__ = ["FactoredModel", "LatentMTLClassifier", "LatentMTLRegressor"]


class FactoredModel(TaskScores):
    """Base of factored models ``W = L S`` with given strengths; subclasses implement `_strengths`.

    By default each attribute is a group of its own; subclasses may override `_groups_of`.
    """

    n_latents: int | Literal["auto"] | None = None
    loss: str = "squared_hinge"
    algorithm: Algorithm = "auto"
    init: Init = "auto"
    reduction: Reduction = "mean"
    max_passes: int = 1000
    tol: float = 1e-3
    random_state: Any = 0

    result_: LatentResult = field(init=False)
    groups_: Groups = field(init=False)
    strengths_: dict[str, Any] = field(init=False)

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        classes: Any = None,
        callback: Callback | None = None,
    ) -> Self:
        """Update the model on the next chunk of samples.

        The first call is the same as `fit`. Later calls solve the problem of the *new* chunk,
        warm-started from the current L, S and intercepts, as in the paper for data that do not fit
        into memory. Earlier chunks are not part of the objective; they influence the result through
        the start only. The standardisation and the groups are those of the first chunk; strengths
        ``"auto"``, and the units of strengths, are computed for each.

        Parameters
        ----------
        X, y, sample_weight, callback
            As for `fit`, with the same features and attributes.
        classes
            The two label values, for the first chunk; other values raise. Default: those that
            occur in it. Every chunk must have labels of both classes of each attribute.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, and if features or attributes differ from those of the first chunk.
        """
        warm = hasattr(self, "L_")
        return self._fit(X, y, sample_weight, classes=classes, warm=warm, callback=callback)

    def _check_form(self, X: Samples) -> None:
        if X.streamed and self._given.algorithm == "gram":
            raise UnsupportedError(
                f"{type(self).__name__}: algorithm='gram' takes rows that are in memory; give "
                "'auto' or 'panoc', or more memory to the rows."
            )

    def _strengths(
        self, problem: Problem, sample_weight: NDArray[np.float64] | None
    ) -> dict[str, Any]:
        """Strengths of `LatentMTL` by name, for a problem without a penalty."""
        raise NotImplementedError

    def _groups_of(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> Groups:
        """Groups of the attributes; here each is a group of its own."""
        return groups_for(None, problem, sample_weight, self.label_names_)

    def _start(self, problem: Problem, strengths: dict[str, Any]) -> tuple[Any, ...] | None:
        """Start of a fit in place of ``init``, if there is one."""
        del problem, strengths
        return None

    def _present_factors(self, *, own: bool) -> tuple[NDArray[Any] | None, ...]:
        """L, S, intercepts and V in the units of the solve, for a warm start."""
        scale = self.scale_[:, np.newaxis]
        centre, unit = self._units()
        V = None
        if own:
            V = getattr(self, "V_", 0 * self.coef_.T) * scale / unit
        bias = (self.intercept_ + self.coef_ @ self.mean_ - centre) / unit
        return self.L_ * scale, self.S_ / unit, bias, V

    def _solve(
        self, X: Samples, labels: EncodedLabels, watch: Watch, *, warm: bool
    ) -> tuple[Array, Array]:
        given = self._given
        loss = resolve_loss(given.loss)
        design, targets, weights = X.posed(
            labels, intercept=given.fit_intercept, reduction=given.reduction
        )
        problem = Problem(loss, design, targets)

        begun = watch.kept("start", problem, partial(self._begun, problem, weights, warm=warm))
        self.groups_, self.strengths_ = Groups(**begun["groups"]), begun["strengths"]
        strengths, spent = self.strengths_, begun["passes"]
        init = given.init if begun["start"] is None else begun["start"]
        if warm:
            init = self._present_factors(own=strengths["own_strength"] is not None)
        self._seed = seed_of(given.random_state, X.ranks)
        solver = LatentMTL(
            self.groups_,
            n_latents=given.n_latents,
            **strengths,
            loss=loss,
            algorithm=given.algorithm,
            init=init,
            max_passes=given.max_passes - spent,
            tol=given.tol,
            random_state=self._seed,
        )
        result = solver.solve(design, targets, **watch.solve("solve"))
        # The state is for resuming the run; it holds arrays as large as the scores.
        self.result_ = replace(
            result,
            state=None,  # type: ignore[arg-type]
            passes=result.passes + spent,
            budget=given.max_passes,
        )
        self._warn(self.result_)
        scale = self.scale_[:, np.newaxis]
        self.L_, self.S_ = self.result_.L.numpy() / scale, self.result_.S.numpy()
        if self.result_.own is not None:
            self.V_ = self.result_.own.numpy() / scale
        elif hasattr(self, "V_"):
            del self.V_
        return self.result_.coef.numpy(), self.result_.intercept.numpy()

    def _begun(
        self, problem: Problem, sample_weight: NDArray[np.float64] | None, *, warm: bool
    ) -> dict[str, Any]:
        """Groups, strengths, the start in place of ``init``, and the passes that they took."""
        most = self._given.max_passes
        if not (warm and hasattr(self, "groups_")):  # later chunks keep the groups of the first
            with problem.counts.limited(most / 2):
                self.groups_ = self._groups_of(problem, sample_weight)
                check_weighted(self.groups_)
        # not part of the budget, like a search of strengths by cross-validation
        apart = Problem(problem.loss, problem.design, problem.targets)
        strengths = self._strengths(apart, sample_weight)
        start = None if warm else self._start(problem, strengths)
        return {
            "groups": {each.name: getattr(self.groups_, each.name) for each in fields(Groups)},
            "strengths": strengths,
            "start": start,
            "passes": problem.counts.passes,
        }

    def _warn(self, result: LatentResult) -> None:
        """Warn if W = 0, or if the budget ended the descent."""
        if not result.collapsed:
            self._warn_of(result)
        elif result.status is Status.BUDGET:
            warn(
                f"{type(self).__name__}: W = 0 is lower than what {result.passes:g} passes of "
                "descent have reached, and is the model: raise max_passes.",
                ConvergenceWarning,
            )
        else:
            warn(f"{type(self).__name__}: {Status.COLLAPSED.value}", UserWarning)


class LatentTasks(FactoredModel):
    """Base of models with strengths relative to the data, or with the paper's strengths."""

    groups: Any = None
    shared_strength: Relative = "auto"
    own_strength: Relative = "auto"
    group_strength: float | None = None
    l1_strength: float | None = None
    frobenius_strength: float | None = None

    def _check_parameters(self) -> None:
        super()._check_parameters()
        given, papers = self._given, self._papers()
        RelativeStrengths(given.shared_strength, given.own_strength)
        if papers and given.shared_strength != "auto":
            raise ValueError(
                f"shared_strength, {', '.join(papers)}: the first stands for the others; give one "
                "or the other."
            )

    def _groups_of(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> Groups:
        return groups_for(self.groups, problem, sample_weight, self.label_names_, together=True)

    def _strengths(
        self, problem: Problem, sample_weight: NDArray[np.float64] | None
    ) -> dict[str, Any]:
        given, papers = self._given, self._papers()
        own = given.own_strength
        if own == "auto" and given.algorithm == "paper":
            own = math.inf  # the paper's model has no own parts
        if papers:
            papers = {**{name: getattr(LatentMTL, name) for name in PAPERS}, **papers}
        relative = RelativeStrengths(given.shared_strength, own, papers)
        return relative.absolute(problem, self.groups_, sample_weight)

    def _papers(self) -> dict[str, float]:
        """Those of the paper's strengths that are given."""
        given = {name: getattr(self._given, name) for name in PAPERS}
        return {name: value for name, value in given.items() if value is not None}

    def _start(self, problem: Problem, strengths: dict[str, Any]) -> tuple[Any, ...] | None:
        given, strength, own = self._given, strengths["group_strength"], strengths["own_strength"]
        automatic = given.init == "auto" and given.n_latents is None and not self._papers()
        if automatic and strength is not None and own is not None:
            left = given.max_passes - problem.counts.passes
            return latent_path.start_of(problem, self.groups_, strength, own, left)
        return None


class LatentMTLClassifier(LinearAttributeClassifier, LatentTasks):
    r"""Attributes that share latent tasks, with parts of their own: ``W = L S + V``.

    .. math:: \min_{L, S, V, b} \; \frac{1}{n} \sum_m \sum_i c_{mi}\, \tfrac12
              \max(0, 1 - y_{mi} (x_i^\top (L s_m + v_m) + b_m))^2
              + \mu \sum_k \sum_g w_g \|s_k^g\|_2 + \gamma \|L\|_1 + \lambda \|L\|_F^2
              + \nu \|V\|_F^2

    n is the total sample weight of the observed labels of all attributes. The own parts V model
    what an attribute does not have in common with others; the paper's model has none. The problem
    is not convex: the result is a local minimum, or the point that the budget has reached;
    ``result_`` tells which.

    By default, the strengths are derived from the data. Without an L1 norm, W depends on
    :math:`\mu^2 \lambda` only, so a single strength :math:`\mu = \lambda` replaces both.
    :class:`LatentMTLClassifierCV` finds strengths by cross-validation, in the same units.

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto", "singletons" or None
        Groups of attributes that select latent tasks together: a dict of group name -> attribute
        names (or column indices), a list of lists of them, or `Groups`. ``"auto"``: clusters of
        attributes with similar labels and classifiers
        (:func:`~proxmtl.estimators.cluster_attributes`). None: all attributes are one group.
        ``"singletons"``: each is a group. Attributes in no group form groups of their own.
    n_latents : int, "auto" or None
        K, an upper bound: unneeded latents become zero. ``"auto"``: the rank of the best of the
        approximate trace-norm solutions at several strengths, at a cost of at most 40 passes; if
        ``init`` computes these anyway (as by default with own parts), the rank of the start, at
        about 130 passes and at most half of ``max_passes``. None: min(M, D).
    shared_strength : float or "auto"
        :math:`\mu = \lambda` with :math:`\gamma = 0`, as a fraction of the critical strength, at
        which a first latent task no longer lowers the objective without own parts. ``"auto"``: the
        strength at which a latent task of pure noise no longer does
        (:class:`~proxmtl.latent.strengths.RelativeStrengths`).
    own_strength : float or "auto"
        :math:`\nu`, in units of the mean squared norm of the (standardised) features over the
        number of labels; ``inf``: no own parts. The smaller, the less is shared. ``"auto"``: from
        the leave-one-out errors of single-task ridges; ``inf`` with the paper's strengths or its
        algorithm.
    group_strength : float, optional
        The paper's :math:`\mu > 0`, which makes S sparse over (latent, group) blocks, in units of
        the loss. This and the next two replace `shared_strength`; those of the three that are not
        given have the defaults of :class:`proxmtl.LatentMTL`.
    l1_strength : float, optional
        The paper's :math:`\gamma \ge 0`, which makes L sparse.
    frobenius_strength : float, optional
        The paper's :math:`\lambda \ge 0`, the ridge on L. One of the two must be positive.
    loss : {"squared_hinge", "logistic", "squared", "smoothed_hinge", "huber"}
        Loss of a label; the formula above has the squared hinge, the paper's loss.
    algorithm : {"auto", "gram", "panoc", "palm", "paper"}
        ``"paper"`` is Algorithm 1; ``"gram"`` converges in the fewest passes, for up to some
        hundreds of features; ``"auto"`` switches to it when that is worthwhile; see
        :class:`proxmtl.LatentMTL`.
    init : {"auto", "best", "trace", "svd", "zero", "paper"} or tuple of arrays
        ``"svd"`` starts from single-task solutions, ``"trace"`` from trace-norm solutions,
        ``"best"`` from the better of the two. ``"auto"`` starts from trace-norm solutions as the
        search of :class:`LatentMTLClassifierCV` does; but with the paper's strengths or a given
        number of latents, it is ``"best"`` with own parts and ``"svd"`` without. Others as for
        :class:`proxmtl.LatentMTL`. A tuple holds L, S and optionally intercepts and V, on
        standardised features.
    fit_intercept : bool
        Fit an unpenalised intercept per attribute.
    standardize : bool
        Centre features and scale them to unit variance before the penalty.
    reduction : {"mean", "sum", "task_mean"}
        Divide the loss by the number of labels; do not divide it (as in the paper); or divide each
        attribute's loss by its own number. Absolute strengths scale accordingly.
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute.
    max_passes : int
        Budget in passes over the features; relative strengths take at most eight more.
    tol : float
        Tolerance on the KKT residual, relative to the gradients of the loss.
    random_state : int, RandomState, Generator or None
        Seed of the random parts of the initialisation, or generator from which each fit draws one;
        None: NumPy's global generator, as in scikit-learn.
    label_names : sequence of str, optional
        Attribute names, to which the names in `groups` refer; default: the columns of Y if it is a
        data frame.

    Attributes
    ----------
    coef_ : ndarray of shape (M, D)
        ``(L_ @ S_ + V_).T``, on the features as given.
    intercept_ : ndarray of shape (M,)
        Intercepts.
    L_ : ndarray of shape (D, K)
        Latent tasks, on the features as given (``result_.L`` is on standardised ones).
    S_ : ndarray of shape (K, M)
        Weights of the latent tasks in each attribute.
    V_ : ndarray of shape (D, M)
        The attributes' own parts, on the features as given; absent without own parts.
    strengths_ : dict
        :math:`\mu, \gamma, \lambda, \nu` in units of the loss on standardised features, by their
        names in :class:`proxmtl.LatentMTL`.
    groups_ : Groups
        Groups used in the fit.
    result_ : LatentResult
        Status, certificate and history of the solver.
    label_values_, classes_, mean_, scale_, n_features_in_
        As for :class:`LassoClassifier`.

    Warns
    -----
    ConvergenceWarning
        If the budget was used up before the residual reached ``tol``.
    UserWarning
        If the model collapsed to W = 0: the penalties are too strong.
    """


class LatentMTLRegressor(LinearAttributeRegressor, LatentTasks):
    r"""Regressions that share latent tasks, with parts of their own: ``W = L S + V``.

    .. math:: \min_{L, S, V, b} \; \frac{1}{n} \sum_m \sum_i c_{mi}\, \tfrac12
              (y_{mi} - x_i^\top (L s_m + v_m) - b_m)^2
              + \mu \sum_k \sum_g w_g \|s_k^g\|_2 + \gamma \|L\|_1 + \lambda \|L\|_F^2
              + \nu \|V\|_F^2

    on labels that are standardised for each attribute. The model is that of
    :class:`LatentMTLClassifier`, whose parameters and attributes it has, except those that concern
    classes, and in addition:

    Parameters
    ----------
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and their units are median
        deviations.

    Attributes
    ----------
    L_ : ndarray of shape (D, K)
        Latent tasks, on the features as given.
    S_ : ndarray of shape (K, M)
        Weights of the latent tasks in each attribute, in the units of the labels as given.
    target_mean_, target_scale_
        Centre and unit of the labels, as for :class:`SingleTaskRegressor`.
    """
