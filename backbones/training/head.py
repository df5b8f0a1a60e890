"""What stands on the features: heads that are solved on all of them, and give gradients back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from proxmtl.designs import SharedDesign, TaskDesign
from proxmtl.latent import LatentMTL
from proxmtl.losses import Loss, SquaredHinge
from proxmtl.minimize import minimize
from proxmtl.nn.score_loss import score_loss
from proxmtl.problem import Problem
from proxmtl.regularizers import SquaredFrobenius
from proxmtl.solvers import FISTA
from proxmtl.stopping import MaxPasses, RelativeGap
from proxmtl.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmtl.designs import Design
    from proxmtl.result import Certificate

__all__ = ["Head", "LatentHead", "SingleTaskHead", "Solved"]


@dataclass(frozen=True)
class Solved:
    """A solved head.

    Attributes
    ----------
    factors
        What the next solve starts from: ``L``, ``S``, ``intercept``, or ``W``, ``intercept``.
    coef, intercept
        W (D, M) and b (M,).
    objective
        The joint objective, measured at this point.
    report
        Plain values: status, passes, certificate.
    """

    factors: dict[str, Tensor]
    coef: Tensor
    intercept: Tensor
    objective: float
    report: dict[str, Any] = field(repr=False)


class Head(ABC):
    """One linear score an attribute, solved by the engine on the features of all images.

    Features are (M, N, D), one matrix an attribute, or (N, D) where the networks share all stages;
    labels are (N, M) of -1, +1, and NaN for missing ones.
    """

    @property
    @abstractmethod
    def loss(self) -> Loss:
        """Loss of a score and its label."""

    @abstractmethod
    def targets(self, labels: Tensor) -> Targets:
        """Labels with the weights of the objective, (N, M)."""

    @abstractmethod
    def solve(
        self,
        features: Tensor,
        labels: Tensor,
        previous: dict[str, Tensor] | None = None,
        callback: Callable[[Any], bool | None] | None = None,
    ) -> Solved:
        """Solve on all features, starting from the factors of the previous solve."""

    def backward(self, features: Tensor, solved: Solved, targets: Targets, rows: Tensor) -> float:
        """Send the gradient of the data term into the features of some images.

        With W and b held fixed this is the gradient of the optimal value in the features (envelope
        theorem): ``dV/dX_m = r_m w_m'`` with ``r_m`` the loss's derivatives in the scores. Scaled
        by ``M N / (B sum of all weights)``: an unbiased estimate of the sum over attributes of mean
        losses, whatever the reduction, so that learning rates carry over.

        Parameters
        ----------
        features
            (M, B, D) or (B, D), with the graph behind them.
        solved
            The head at its optimum.
        targets
            Of all N images.
        rows
            (B,), which of them these are.

        Returns
        -------
        float
            The estimate.
        """
        features = features.to(torch.promote_types(features.dtype, torch.float32))
        coef, intercept = solved.coef.to(features), solved.intercept.to(features)
        scores = score(features, coef, intercept)
        n_all, n_tasks = targets.labels.shape
        scale = n_tasks * n_all / (len(rows) * float(targets.weights.sum()))
        weights = targets.weights[rows].to(scores) * scale
        labels = targets.labels[rows].to(scores)
        value = score_loss(self.loss, scores, labels, weights)
        value.backward()  # type: ignore[no-untyped-call]
        return float(value.detach())


def score(features: Tensor, coef: Tensor, intercept: Tensor) -> Tensor:
    """Scores (N, M) of features (M, N, D) or (N, D)."""
    if features.ndim == 2:
        return features @ coef + intercept
    return torch.bmm(features, coef.T[:, :, None])[:, :, 0].T + intercept


class _Centred:
    """Features minus their means: the same model, its intercept apart, but better conditioned.

    As the networks move, the means of their features drift, and directions that all images share
    come to dominate the curvature. An intercept takes the means up exactly:
    ``X W + b = (X - 1 m') W + (b + m' W)``.
    """

    def __init__(self, features: Tensor, *, wanted: bool = True) -> None:
        self.mean = features.mean(-2) * float(wanted)
        self.features = features - self.mean[..., None, :]

    def inside(self, coef: Tensor, intercept: Tensor) -> Tensor:
        """The intercept for the centred features."""
        return intercept + self._shift(coef)

    def outside(self, coef: Tensor, intercept: Tensor) -> Tensor:
        """The intercept for the features as they were."""
        return intercept - self._shift(coef)

    def _shift(self, coef: Tensor) -> Tensor:
        return self.mean @ coef if self.mean.ndim == 1 else (self.mean * coef.T).sum(1)


@dataclass(frozen=True)
class LatentHead(Head):
    """Latent tasks shared by all attributes, ``W = L S`` (:class:`~proxmtl.LatentMTL`).

    With groups this is the paper's MG-CNN, without them its M-CNN.

    Parameters
    ----------
    model
        Its ``init`` is used for the first solve only; from then on each solve starts from the last
        factors, unless these had collapsed to zero, from where no solve escapes.
    """

    model: LatentMTL = field(default_factory=LatentMTL)

    @property
    def loss(self) -> Loss:
        return self.model.loss

    def targets(self, labels: Tensor) -> Targets:
        return Targets.from_labels(
            labels,
            class_weight=self.model.class_weight,
            reduction=self.model.reduction,
            like=labels,
        )

    def solve(
        self,
        features: Tensor,
        labels: Tensor,
        previous: dict[str, Tensor] | None = None,
        callback: Callable[[Any], bool | None] | None = None,
    ) -> Solved:
        model = self.model
        centred = _Centred(features, wanted=model.fit_intercept)
        if previous is not None and bool((previous["L"] @ previous["S"]).any()):
            L, S, b = (previous[name].to(features) for name in ("L", "S", "intercept"))
            model = replace(model, init=(L, S, centred.inside(L @ S, b)), n_latents=None)
        result = model.solve(centred.features, labels, callback=callback)
        intercept = centred.outside(result.coef, result.intercept)
        return Solved(
            {"L": result.L, "S": result.S, "intercept": intercept},
            result.coef,
            intercept,
            result.certificate.objective,
            {
                **_report(result.status.name, result.passes, result.certificate),
                "live_latents": result.live_latents,
            },
        )


@dataclass(frozen=True)
class SingleTaskHead(Head):
    """Each attribute alone, with a ridge: the paper's S-CNN.

    ``min_W sum_m mean_i loss(x_mi' w_m + b_m) + strength ||W||_F^2``, convex, with a certified gap.

    Parameters
    ----------
    l2_strength
        > 0.
    data_loss
        Squared hinge by default; :class:`~proxmtl.Logistic` for the paper's softmax of two classes.
    class_weight
        ``"balanced"``, (weight of -1, weight of +1) or None.
    max_passes, tol
        Budget, and the relative gap at which it is solved.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    l2_strength: float = 1e-2
    data_loss: Loss = field(default_factory=SquaredHinge)
    class_weight: Any = None
    max_passes: float = 2000
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if not (0 < self.l2_strength < float("inf") and self.max_passes > 0 and self.tol >= 0):
            msg = (
                f"l2_strength, max_passes, tol: got {self.l2_strength}, {self.max_passes}, "
                f"{self.tol}; use > 0, > 0 and >= 0."
            )
            raise ValueError(msg)

    @property
    def loss(self) -> Loss:
        return self.data_loss

    def targets(self, labels: Tensor) -> Targets:
        return self._targets(labels)

    def _targets(self, labels: Tensor | list[Tensor], like: Tensor | None = None) -> Targets:
        like = labels if isinstance(labels, Tensor) else like
        return Targets.from_labels(
            labels, class_weight=self.class_weight, reduction="task_mean", like=like
        )

    def solve(
        self,
        features: Tensor,
        labels: Tensor,
        previous: dict[str, Tensor] | None = None,
        callback: Callable[[Any], bool | None] | None = None,
    ) -> Solved:
        design: Design
        labels, centred = labels.to(features), _Centred(features)
        if features.ndim == 2:
            design = SharedDesign(centred.features, intercept=True)
            targets = self._targets(labels)
        else:
            design = TaskDesign(centred.features, intercept=True)
            targets = self._targets(list(labels.T), like=features)
        start = None
        if previous is not None:
            W, b = previous["W"].to(features), previous["intercept"].to(features)
            start = torch.cat([W, centred.inside(W, b)[None]])
        result = minimize(
            Problem(self.data_loss, design, targets, SquaredFrobenius(self.l2_strength)),
            FISTA(),
            start,
            stop=RelativeGap(self.tol) | MaxPasses(self.max_passes),
            callback=callback,
        )
        W = result.solution[:-1]
        intercept = centred.outside(W, result.solution[-1])
        report = _report(result.status.name, result.passes, result.certificate)
        factors = {"W": W, "intercept": intercept}
        return Solved(factors, W, intercept, result.certificate.objective, report)


def _report(status: str, passes: float, certificate: Certificate) -> dict[str, Any]:
    return {
        "status": status,
        "passes": float(passes),
        "relative_kkt": float(certificate.relative_kkt),
        "relative_gap": certificate.relative_gap,
    }
