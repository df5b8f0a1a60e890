"""The paper's model as a scikit-learn estimator."""

from __future__ import annotations

import math
from dataclasses import field, replace
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
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentResult
from proxmtl.latent import path as latent_path
from proxmtl.latent.model import Algorithm, Init
from proxmtl.latent.strengths import Relative, RelativeStrengths
from proxmtl.problem import Problem
from proxmtl.result import Status
from proxmtl.targets import Reduction
from proxmtl.wording import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAPERS = ("group_strength", "l1_strength", "frobenius_strength")
"""The strengths of the paper."""

__all__ = ["FactoredModel", "LatentMTLClassifier", "LatentMTLRegressor"]


class FactoredModel(TaskScores):
    """Base of models ``W = L S`` of given strengths; a subclass implements `_strengths`.

    A parameter ``groups`` of a subclass is heeded; without it each attribute is alone.
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
        """Go on from the present model on the next set of samples.

        The first call is `fit`. A later one solves the problem of the *new* set, started from the
        present L, S and intercepts, as the paper does for data that do not fit at once: the
        earlier sets are no longer in the objective, and what is kept of them is what the
        start and the budget (`max_passes`) keep. The standardisation and the groups stay those
        of the first set; strengths ``"auto"``, and units, are found in each.

        Parameters
        ----------
        X, y, sample_weight, callback
            As for `fit`, with the same features and attributes.
        classes
            The two label values, of the first set: labels with another value raise. By default
            those that it shows. Every set has labels of both classes of each attribute.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, and if features or attributes differ from those of the first set.
        """
        warm = hasattr(self, "L_")
        return self._fit(X, y, sample_weight, classes=classes, warm=warm, callback=callback)

    def _strengths(
        self, problem: Problem, sample_weight: NDArray[np.float64] | None
    ) -> dict[str, Any]:
        """Strengths of `LatentMTL` by name, for a problem without a penalty."""
        raise NotImplementedError

    def _groups_of(self, problem: Problem, sample_weight: NDArray[np.float64] | None) -> Groups:
        """Groups of the attributes; here each is alone."""
        return groups_for(None, problem, sample_weight, self.label_names_)

    def _init(self, problem: Problem, strengths: dict[str, Any]) -> Init:
        """Where a fit starts from: ``init`` of :class:`LatentMTL`."""
        del problem, strengths
        return self._given.init  # type: ignore[no-any-return]

    def _present_factors(self, *, own: bool) -> tuple[NDArray[Any] | None, ...]:
        """L, S, intercepts and V as they are solved for: where a warm start begins."""
        scale = self.scale_[:, np.newaxis]
        centre, unit = self._units()
        V = None
        if own:
            V = getattr(self, "V_", 0 * self.coef_.T) * scale / unit
        bias = (self.intercept_ + self.coef_ @ self.mean_ - centre) / unit
        return self.L_ * scale, self.S_ / unit, bias, V

    def _solve(
        self, X: Samples, labels: EncodedLabels, callback: Callback | None, *, warm: bool
    ) -> tuple[Array, Array]:
        given = self._given
        loss = resolve_loss(given.loss)
        design, targets, weights = X.posed(
            labels, intercept=given.fit_intercept, reduction=given.reduction
        )
        problem = Problem(loss, design, targets)
        if not (warm and hasattr(self, "groups_")):  # later sets are for the same model
            with problem.counts.limited(given.max_passes / 2):
                self.groups_ = self._groups_of(problem, weights)
                check_weighted(self.groups_)
        # in no budget, as the search of strengths by cross-validation is in none
        strengths = self._strengths(Problem(loss, design, targets), weights)
        self.strengths_ = strengths
        own = strengths["own_strength"] is not None
        init = self._present_factors(own=own) if warm else self._init(problem, strengths)
        spent = problem.counts.passes
        self._seed = seed_of(given.random_state)
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
        result = solver.solve(design, targets, callback=callback)
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

    def _warn(self, result: LatentResult) -> None:
        """Say that W = 0, or that the budget ended the descent."""
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
    """Strengths of shared and own parts in units of the data, or those of the paper."""

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
            own = math.inf  # the paper's model has none
        if papers:
            papers = {**{name: getattr(LatentMTL, name) for name in PAPERS}, **papers}
        relative = RelativeStrengths(given.shared_strength, own, papers)
        return relative.absolute(problem, self.groups_, sample_weight)

    def _papers(self) -> dict[str, float]:
        """The paper's strengths that are given."""
        given = {name: getattr(self._given, name) for name in PAPERS}
        return {name: value for name, value in given.items() if value is not None}

    def _init(self, problem: Problem, strengths: dict[str, Any]) -> Init:
        given, strength, own = self._given, strengths["group_strength"], strengths["own_strength"]
        found = None
        automatic = given.init == "auto" and given.n_latents is None and not self._papers()
        if automatic and strength is not None and own is not None:
            left = given.max_passes - problem.counts.passes
            found = latent_path.start_of(problem, self.groups_, strength, own, left)
        return given.init if found is None else found


class LatentMTLClassifier(LinearAttributeClassifier, LatentTasks):
    r"""Attributes that share latent tasks, with parts of their own: ``W = L S + V``.

    .. math:: \min_{L, S, V, b} \; \frac{1}{n} \sum_m \sum_i c_{mi}\, \tfrac12
              \max(0, 1 - y_{mi} (x_i^\top (L s_m + v_m) + b_m))^2
              + \mu \sum_k \sum_g w_g \|s_k^g\|_2 + \gamma \|L\|_1 + \lambda \|L\|_F^2
              + \nu \|V\|_F^2

    n is the number of observed labels of all attributes, counted with their sample weights. Own
    parts V take what an attribute does not have in common with others; the paper's model has none.
    The problem is not convex: the result is a local minimum or what the budget reached, and
    ``result_`` tells which.

    By default the data say how strong the penalties are, and without an L1 norm one strength stands
    for :math:`\mu = \lambda`: only :math:`\mu^2 \lambda` matters for W.
    :class:`LatentMTLClassifierCV` finds strengths by cross-validation, in the same units.

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto", "singletons" or None
        Groups of attributes that choose latent tasks together: a dict of group name -> attribute
        names (or column numbers), a list of lists of them, or `Groups`. ``"auto"``: clusters of
        attributes with like labels and like classifiers
        (:func:`~proxmtl.estimators.cluster_attributes`). None: all attributes are one group.
        ``"singletons"``: each chooses alone. Attributes in no group form groups of their own.
    n_latents : int, "auto" or None
        K, an upper bound: latents that are not needed die. ``"auto"``: the rank of the best
        of the trace norm's solutions at several strengths, roughly solved for at most 40 passes, or
        those of the start where ``init`` follows them anyway, as by default with own parts: about
        130 passes, at most half of ``max_passes``. None: min(M, D).
    shared_strength : float or "auto"
        :math:`\mu = \lambda` with :math:`\gamma = 0`, as a fraction of the one from which on a
        first latent task does not pay without own parts. ``"auto"``: the one from which on a latent
        task of noise alone does not pay (:class:`~proxmtl.latent.strengths.RelativeStrengths`).
    own_strength : float or "auto"
        :math:`\nu`, in units of the mean squared norm of the (standardised) features over the
        number of labels; ``inf``: there are no own parts. The smaller, the less is shared.
        ``"auto"``: from the error of single-task ridges on labels that are left out; ``inf`` with
        the paper's strengths, or its algorithm.
    group_strength : float, optional
        The paper's :math:`\mu > 0`, the sparsity of S over (latent, group) blocks, in units of the
        loss. With the next two in place of `shared_strength`; those of the three that are not
        given are then as in :class:`proxmtl.LatentMTL`.
    l1_strength : float, optional
        The paper's :math:`\gamma \ge 0`, the sparsity of L.
    frobenius_strength : float, optional
        The paper's :math:`\lambda \ge 0`, the ridge on L. One of the two must be positive.
    loss : {"squared_hinge", "logistic", "squared", "smoothed_hinge", "huber"}
        Loss of a label; the formula is with the first, the paper's.
    algorithm : {"auto", "gram", "panoc", "palm", "paper"}
        ``"paper"`` is Algorithm 1 to the letter; ``"gram"`` converges in the fewest passes, on up
        to some hundreds of features; ``"auto"`` turns to it where that pays; as for
        :class:`proxmtl.LatentMTL`.
    init : {"auto", "best", "trace", "svd", "zero", "paper"} or tuple of arrays
        ``"svd"`` starts from single-task solutions, ``"trace"`` from those of the trace norm,
        ``"best"`` from the lower of the two. ``"auto"`` follows the trace norm's as the search of
        :class:`LatentMTLClassifierCV` does; with the paper's strengths or a number of latents it is
        ``"best"`` with own parts, ``"svd"`` without.
        Others as for :class:`proxmtl.LatentMTL`. Or L, S and optionally intercepts and V, on
        standardised features.
    fit_intercept : bool
        Fit an unpenalised intercept per attribute.
    standardize : bool
        Centre features and scale them to unit variance before the penalty.
    reduction : {"mean", "sum", "task_mean"}
        Divide the loss by the number of labels, do not (as the paper), or divide each attribute's
        loss by its own number. The strengths scale along.
    class_weight : None, "balanced" or dict of class -> weight
        Weights of the two classes, within each attribute.
    max_passes : int
        Budget in passes over the features; strengths in units of the data take some more, at most
        eight.
    tol : float
        The solver stops when the KKT residual, relative to the gradients of the loss, is at most
        this.
    random_state : int, RandomState, Generator or None
        Seed of what is random in the initialisation, or where to draw it from at each fit; None:
        from NumPy's global generator, as in scikit-learn.
    label_names : sequence of str, optional
        Attribute names, to which the names in `groups` refer; by default the columns of Y where it
        is a data frame.

    Attributes
    ----------
    coef_ : ndarray of shape (M, D)
        ``(L_ @ S_ + V_).T``, on the features as given.
    intercept_ : ndarray of shape (M,)
        Intercepts.
    L_ : ndarray of shape (D, K)
        Latent tasks, on the features as given (``result_.L`` is on standardised ones).
    S_ : ndarray of shape (K, M)
        How the attributes combine them.
    V_ : ndarray of shape (D, M)
        The attributes' own parts, on the features as given; absent without them.
    strengths_ : dict
        :math:`\mu, \gamma, \lambda, \nu` in units of the loss on standardised features, by their
        names in :class:`proxmtl.LatentMTL`.
    groups_ : Groups
        The groups that were used.
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

    on labels that are centred and divided by their standard deviation, attribute by attribute. Else
    it is :class:`LatentMTLClassifier` with real labels, whose parameters and attributes it has but
    for those of classes, and:

    Parameters
    ----------
    loss : {"squared", "huber"}
        Loss of a label; Huber's is linear beyond one unit of the labels, and has medians for units.

    Attributes
    ----------
    L_ : ndarray of shape (D, K)
        Latent tasks, on the features as given.
    S_ : ndarray of shape (K, M)
        How the attributes combine them, in the units of the labels as given.
    target_mean_, target_scale_
        Centre and unit of the labels, as for :class:`SingleTaskRegressor`.
    """
