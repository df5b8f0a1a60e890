"""Derivatives of the loss at a point: Hessian products, mixed derivatives in the features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from proxmtl.designs import Design, SharedDesign, TaskDesign
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["LossAt", "check_features", "feature_gradients"]


class LossAt:
    """The loss at a parameter ``W``: gradient, Hessian products, derivatives in the features.

    Notation: ``z_m = X_m w_m + b_m``, ``r = c phi'(z)``, and ``v`` is a direction of the parameter.

    Parameters
    ----------
    problem : Problem or LatentProblem
        Provides loss, design and targets; its regularizers are ignored.
    W : Tensor
        Parameter of the design; its dtype is the precision of the computation.
    """

    def __init__(self, problem: Problem | LatentProblem, W: Tensor) -> None:
        self.problem, self.design, self.W = problem, problem.design, W
        problem.counts.charge(forward=self.design.share)
        self.scores = self.design.scores(W)
        self.value, self.residuals = problem.data.value_and_gradient(self.scores)

    def gradient(self) -> Tensor:
        """Gradient in the parameter; costs half a pass."""
        self.problem.counts.charge(adjoint=self.design.share)
        return self.design.adjoint(self.residuals)

    def along(self, v: Tensor) -> Tensor:
        """Derivative of the residuals along ``v``, ``c phi''(z) (X v)``; costs half a pass."""
        self.problem.counts.charge(forward=self.design.share)
        return self.problem.data.curvature_product(self.scores, self.design.linear(v))

    def curvature(self, v: Tensor) -> Tensor:
        """Product of the Hessian with ``v``; costs one pass."""
        bent = self.along(v)
        self.problem.counts.charge(adjoint=self.design.share)
        return self.design.adjoint(bent)

    def by_features(self) -> tuple[Tensor, ...]:
        """Gradient of the loss in the features: ``r_m w_m'`` for each feature matrix."""
        return feature_gradients(self.design, self.residuals, self.W)

    def cross(self, v: Tensor) -> tuple[Tensor, ...]:
        """Gradient in the features of ``<v, gradient of the loss>``.

        ``diag(c phi''(z_m) (X_m v_m)) 1 w_m' + diag(c phi'(z_m)) 1 v_m'`` for each feature matrix.
        """
        bent = feature_gradients(self.design, self.along(v), self.W)
        straight = feature_gradients(self.design, self.residuals, v)
        return tuple(a + b for a, b in zip(bent, straight, strict=True))


def feature_gradients(design: Design, residuals: Tensor, W: Tensor) -> tuple[Tensor, ...]:
    """Gradient of ``<residuals, scores(W)>`` in each feature matrix, (N_m, D).

    For shared features it is the single matrix ``R W'``.
    """
    weights, _ = design.split(W)
    if isinstance(design, TaskDesign):
        parts = torch.split(residuals, design.sizes)
        return tuple(torch.outer(r, w) for r, w in zip(parts, weights.T, strict=True))
    if isinstance(design, SharedDesign):
        return (residuals @ weights.T,)
    raise UnsupportedError(
        f"features: {type(design).__name__} has no gradient in its features; use a SharedDesign or "
        "a TaskDesign."
    )


def check_features(design: Design, features: Sequence[Tensor]) -> None:
    """Raise ``ValueError`` unless ``features`` are the dense features of the design."""
    known: list[Tensor] = []
    if isinstance(design, TaskDesign):
        known = design.X
    elif isinstance(design, SharedDesign) and design.X.layout == torch.strided:
        known = [design.X]
    if not known:
        raise UnsupportedError(
            f"features: {type(design).__name__} has no gradient in its features here; use a "
            "SharedDesign or a TaskDesign of dense features."
        )
    shapes = [tuple(X.shape) for X in features]
    expected = [tuple(X.shape) for X in known]
    if shapes != expected:
        raise ValueError(
            f"features: shapes {shapes[:4]}, the problem was made of {expected[:4]}; give the "
            "tensors that it was made of."
        )
