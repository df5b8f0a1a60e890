"""The paper's model as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.clusters import groups_for
from proxmtl.estimators.grouping import check_weighted
from proxmtl.estimators.labels import Labels
from proxmtl.estimators.losses import resolve_loss
from proxmtl.estimators.regressor import LinearAttributeRegressor
from proxmtl.estimators.samples import Samples
from proxmtl.estimators.scores import TaskScores
from proxmtl.estimators.seeds import seed_of
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentResult
from proxmtl.latent.model import Algorithm, Init
from proxmtl.problem import Problem
from proxmtl.result import Status
from proxmtl.targets import Reduction
from proxmtl.wording import warn

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        classes: Any = None,
        callback: Callable[[Any], None] | None = None,
    ) -> Self:
        """Go on from the present model on the next set of samples.

        The first call is `fit`. A later one solves the problem of the *new* set, started from the
        present L, S and intercepts, as the paper does for data that do not fit at once: the
        earlier sets are no longer in the objective, and what is kept of them is what the
        start and the budget (`max_passes`) keep. The standardisation stays that of the first set.

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

    def _strengths(self) -> dict[str, Any]:
        """Strengths of `LatentMTL` by name."""
        raise NotImplementedError

    def _present_factors(self) -> tuple[NDArray[Any] | None, ...]:
        """L, S, intercepts and V as they are solved for: where a warm start begins."""
        scale = self.scale_[:, np.newaxis]
        centre, unit = self._units()
        V = None
        if self._strengths()["own_strength"] is not None:
            V = getattr(self, "V_", 0 * self.coef_.T) * scale / unit
        bias = (self.intercept_ + self.coef_ @ self.mean_ - centre) / unit
        return self.L_ * scale, self.S_ / unit, bias, V

    def _solve(
        self,
        X: Samples,
        labels: Labels,
        callback: Callable[[Any], None] | None,
        *,
        warm: bool,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        given = self._given
        loss, groups = resolve_loss(given.loss), getattr(self, "groups", None)
        design, targets, weights = X.posed(
            labels, intercept=given.fit_intercept, reduction=given.reduction
        )
        problem = Problem(loss, design, targets)
        with problem.counts.limited(given.max_passes / 2):
            self.groups_ = groups_for(groups, problem, weights, self.label_names_)
        spent = problem.counts.passes
        check_weighted(self.groups_)
        self._seed = seed_of(given.random_state)
        solver = LatentMTL(
            self.groups_,
            n_latents=given.n_latents,
            **self._strengths(),
            loss=loss,
            algorithm=given.algorithm,
            init=self._present_factors() if warm else given.init,
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
        if self.result_.collapsed:
            why: str = Status.COLLAPSED.value
            kind: type[Warning] = UserWarning
            if self.result_.status is Status.BUDGET:
                kind = ConvergenceWarning
                why = (
                    f"W = 0 is lower than what {self.result_.passes:g} passes of descent have "
                    "reached, and is the model: raise max_passes."
                )
            warn(f"{type(self).__name__}: {why}", kind)
        scale = self.scale_[:, np.newaxis]
        self.L_, self.S_ = self.result_.L.numpy() / scale, self.result_.S.numpy()
        if self.result_.own is not None:
            self.V_ = self.result_.own.numpy() / scale
        elif hasattr(self, "V_"):
            del self.V_
        return self.result_.coef.numpy(), self.result_.intercept.numpy()


class LatentTasks(FactoredModel):
    """The strengths of the paper's model, and its groups."""

    groups: Any = None
    group_strength: float = 1e-3
    l1_strength: float = 1e-4
    frobenius_strength: float = 1e-4
    own_strength: float | None = None

    def _strengths(self) -> dict[str, Any]:
        return {
            "group_strength": self.group_strength,
            "l1_strength": self.l1_strength,
            "frobenius_strength": self.frobenius_strength,
            "own_strength": self.own_strength,
        }


class LatentMTLClassifier(LinearAttributeClassifier, LatentTasks):
    r"""Attributes that share latent tasks, ``W = L S``, chosen group by group.

    .. math:: \min_{L, S, b} \; \frac{1}{n} \sum_m \sum_i c_{mi}\, \tfrac12
              \max(0, 1 - y_{mi} (x_i^\top L s_m + b_m))^2
              + \mu \sum_k \sum_g w_g \|s_k^g\|_2 + \gamma \|L\|_1 + \lambda \|L\|_F^2

    n is the number of observed labels of all attributes, counted with their sample weights. With
    `own_strength` each attribute also has a part of its own, for what it does not have in common
    with others: ``W = L S + V``, and :math:`+ \nu \|V\|_F^2`. The problem is not convex: the
    result is a local minimum or what the budget reached, and ``result_`` tells which.

    Parameters
    ----------
    groups : Groups, dict, list of lists, "auto", "singletons" or None
        Groups of attributes: a dict of group name -> attribute names (or column numbers), a list
        of lists of them, or `Groups`. ``"auto"``: clusters of attributes with like labels and like
        classifiers (:func:`~proxmtl.estimators.cluster_attributes`). None and ``"singletons"``: no
        groups, every attribute chooses its latent tasks alone. Attributes in no group form groups
        of their own.
    n_latents : int, "auto" or None
        K, an upper bound: latents that are not needed die. ``"auto"``: the rank of the best
        of the trace norm's solutions at several strengths, roughly solved for at most 40 passes, or
        those of the start where ``init`` follows them anyway, as by default with own parts: about
        130 passes, at most half of ``max_passes``. None: min(M, D).
    group_strength : float
        :math:`\mu > 0`, the sparsity of S over (latent, group) blocks.
    l1_strength : float
        :math:`\gamma \ge 0`, the sparsity of L.
    frobenius_strength : float
        :math:`\lambda \ge 0`, the ridge on L. One of the two must be positive.
    own_strength : float, optional
        :math:`\nu > 0`, the ridge on own parts V, in units of the loss as the other strengths;
        None: there are none. The smaller, the less is shared.
    loss : {"squared_hinge", "logistic", "squared", "smoothed_hinge", "huber"}
        Loss of a label; the formula is with the first, the paper's.
    algorithm : {"auto", "gram", "panoc", "palm", "paper"}
        ``"paper"`` is Algorithm 1 to the letter; ``"gram"`` converges in the fewest passes, on up
        to some hundreds of features; ``"auto"`` turns to it where that pays; as for
        :class:`proxmtl.LatentMTL`.
    init : {"auto", "best", "trace", "svd", "zero", "paper"} or tuple of arrays
        ``"svd"`` starts from single-task solutions, ``"trace"`` from those of the trace norm,
        ``"best"`` from the lower of the two; ``"auto"`` is the last with own parts, else the first.
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
        Budget in passes over the features.
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
        The attributes' own parts, on the features as given; only with `own_strength`.
    groups_ : Groups
        The groups that were used.
    label_values_ : ndarray of shape (2,)
        The two label values, negative first.
    classes_ : ndarray
        For scikit-learn: the numbers of the attributes, 0 .. M - 1; of a single attribute its two
        label values.
    mean_, scale_ : ndarray of shape (D,)
        The standardisation that was folded into the coefficients.
    result_ : LatentResult
        Status, certificate and history of the solver.
    n_features_in_ : int
        D.

    Warns
    -----
    UserWarning
        If the model collapsed to W = 0: the penalties are too strong.
    """


class LatentMTLRegressor(LinearAttributeRegressor, LatentTasks):
    r"""Regressions that share latent tasks, ``W = L S``, chosen group by group.

    .. math:: \min_{L, S, b} \; \frac{1}{n} \sum_m \sum_i c_{mi}\, \tfrac12
              (y_{mi} - x_i^\top L s_m - b_m)^2
              + \mu \sum_k \sum_g w_g \|s_k^g\|_2 + \gamma \|L\|_1 + \lambda \|L\|_F^2

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
    target_mean_, target_scale_ : ndarray of shape (M,)
        Centre and unit of the labels. An attribute whose labels are all the same has the unit 0,
        and is predicted to be that label.
    """
