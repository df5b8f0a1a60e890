"""A design in one factor of ``W = L S`` with the other held fixed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.designs.base import Design
from proxmtl.designs.products import largest_eigenvalue
from proxmtl.targets import Targets

__all__ = ["FactoredDesign"]


class FactoredDesign(Design):
    """Scores of ``W = L S`` as a function of ``S`` (``L`` fixed) or of ``L`` (``S`` fixed).

    With ``L`` fixed, the parameter is ``S`` (K, M), with the intercept of the base design (if any)
    as its last row. With ``S`` fixed, the parameter is ``L`` (D, K); the intercept, if any, is
    fixed at ``bias``, so that the map is affine.

    Parameters
    ----------
    design : SharedDesign or TaskDesign
    L : Tensor, shape (D, K), optional
    S : Tensor, shape (K, M), optional
    bias : Tensor, shape (M,), optional
        Fixed intercepts; only with ``S``.

    Raises
    ------
    ValueError
        Unless exactly one of ``L`` and ``S`` is given.
    """

    def __init__(
        self,
        design: Design,
        *,
        L: Tensor | None = None,
        S: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:
        if (L is None) == (S is None):
            raise ValueError("L, S: give exactly one of them: the factor that is held fixed.")
        if bias is not None and (S is None or not design.intercept):
            raise ValueError("bias: only with S fixed, on a design with an intercept.")
        for name, factor in (("L", L), ("S", S)):
            if factor is not None and (factor.ndim != 2 or 0 in factor.shape):
                raise ValueError(f"{name}: expected a matrix, saw shape {tuple(factor.shape)}.")
        self.base = design
        self.L, self.S, self.bias = (
            None if factor is None else factor.detach() for factor in (L, S, bias)
        )
        self.intercept = design.intercept and L is not None
        self.unit = design.unit
        self.device, self.dtype = design.device, design.dtype

    @property
    def affine(self) -> bool:
        return self.bias is not None

    def figure(self) -> float | None:
        return self.base.figure()

    def magnitude(self) -> float:
        factor = self.L if self.L is not None else self.S
        assert factor is not None
        # an estimate that assumes independent features, to save a product
        columns = factor.shape[1] if self.L is not None else factor.shape[0]
        return self.base.magnitude() * float(factor.norm()) / math.sqrt(columns)

    def with_unit(self, unit: float) -> Design:
        part = self._part(self.base.with_unit(unit))
        part.unit = unit
        return part

    def cached(self) -> Design:
        """For fixed ``L``: the same map with ``X L``, (N, K) for each task, computed once.

        Worthwhile if more than about K / (2 M) iterations follow for a shared design, or K / 2 for
        a task design.
        """
        if self.L is None:
            raise ValueError("L: only a design with L fixed can be cached.")
        return self.base.times(self.L)

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        if self.L is not None:
            return self.L.shape[1] + int(self.intercept), targets.n_tasks
        assert self.S is not None
        return self.base.parameter_shape(targets)[0] - int(self.base.intercept), self.S.shape[0]

    def scores(self, W: Tensor) -> Tensor:
        if self.L is not None:
            S, bias = self.split(W)
            return self.base.scores(self.base.join(self.L.to(W.dtype) @ S, bias))
        assert self.S is not None
        bias = None
        if self.base.intercept:
            bias = W.new_zeros(self.S.shape[1]) if self.bias is None else self.bias.to(W.dtype)
        return self.base.scores(self.base.join(W @ self.S.to(W.dtype), bias))

    def linear(self, W: Tensor) -> Tensor:
        if self.L is not None:
            return self.scores(W)
        assert self.S is not None
        zero = W.new_zeros(self.S.shape[1]) if self.base.intercept else None
        return self.base.scores(self.base.join(W @ self.S.to(W.dtype), zero))

    def adjoint(self, residuals: Tensor) -> Tensor:
        grad, bias = self.base.split(self.base.adjoint(residuals))
        if self.L is not None:
            return self.join(self.L.to(grad.dtype).T @ grad, bias)
        assert self.S is not None
        return grad @ self.S.to(grad.dtype).T

    def check_targets(self, targets: Targets) -> None:
        self.base.check_targets(targets)
        features = self.base.parameter_shape(targets)[0] - int(self.base.intercept)
        if self.L is not None and self.L.shape[0] != features:
            raise ValueError(f"L: {self.L.shape[0]} rows, the design has {features} features.")
        if self.S is not None and self.S.shape[1] != targets.n_tasks:
            raise ValueError(f"S: {self.S.shape[1]} columns for {targets.n_tasks} tasks.")
        if self.bias is not None and self.bias.shape != (targets.n_tasks,):
            raise ValueError(
                f"bias: shape {tuple(self.bias.shape)}; give one number per task, "
                f"shape ({targets.n_tasks},)."
            )

    def take(self, entries: Tensor) -> FactoredDesign:
        return self._part(self.base.take(entries))

    def narrowed(self, features: Tensor) -> FactoredDesign:
        """Restrict the parameter to some rows of ``L``.

        Raises
        ------
        NotImplementedError
            For fixed ``L``: every row of ``S`` needs all features, so fewer rows save nothing.
        """
        if self.L is not None:
            raise NotImplementedError(
                f"FactoredDesign: every latent reads all features, so {len(features)} of them cost "
                "what all cost; use cached(), which computes X L once."
            )
        return self._part(self.base.narrowed(features))

    def _part(self, base: Design) -> FactoredDesign:
        part = self._copy()
        part.base, part.curvature_passes = base, 0.0
        return part

    def curvature_by_task(self, targets: Targets) -> Tensor:
        factor = self.L if self.L is not None else self.S
        assert factor is not None
        before = self.base.curvature_passes
        self.base.curvature_left = self.curvature_left
        curvature = self.base.curvature_by_task(targets)
        self.base.curvature_left = math.inf
        self.curvature_passes += self.base.curvature_passes - before
        return curvature * squared_spectral_norm(factor)


def squared_spectral_norm(matrix: Tensor) -> float:
    """Upper bound on ``||matrix||_2^2``, sharp to rounding, from the smaller Gram matrix."""
    wide = matrix.to(torch.float64)
    gram = wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide
    return largest_eigenvalue(gram, max(wide.shape))
