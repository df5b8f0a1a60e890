"""A design whose features are centred."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design
from proxmtl.targets import Targets

__all__ = ["CentredDesign", "centred"]

FAR = 1e-3
"""Features count as far from zero if the sum of their squared deviations is less than this fraction
of the sum of their squares."""


def centred(design: Design, means: Tensor) -> Design:
    """Return the design on centred features; the design itself if they are centred to rounding.

    Parameters
    ----------
    design, means
        As for :class:`CentredDesign`.
    """
    smallest = math.sqrt(torch.finfo(design.dtype).eps) * design.known_magnitude
    # means that are not finite leave the design as it is
    return CentredDesign(design, means) if smallest < means.abs().max() < math.inf else design


class CentredDesign(Design):
    """A design on features minus their means: scores ``(X_m - 1 mean_m') w_m + b_m``.

    The centring is exact without a copy of the features, also of sparse ones: the scores are those
    of the base design at the intercept ``b_m - mean_m' w_m``. The model is the same, but the
    direction of the means no longer dominates the curvature.

    Dense features whose means are some thirty standard deviations or more from zero are copied, if
    they take at most 1 GiB: otherwise rounding errors of the products would hide the changes that a
    line search has to detect.

    Parameters
    ----------
    design : Design
        Must have an intercept.
    means : Tensor, shape (D, M), float64
        Means of the features of each task, weighted by the weights of its labels.

    Raises
    ------
    ValueError
        If the design has no intercept.
    """

    def __init__(self, design: Design, means: Tensor) -> None:
        if not design.intercept:
            raise ValueError("design: has no intercept, which would take up the means.")
        self.means = means
        far = _share_of_deviations(design, means) < FAR
        moved = design.moved(means) if far else None
        self.base, origin = moved or (design, 0.0)
        self.rest = means - origin  # means of the base's features, which may have been moved
        self.intercept, self.unit, self.share = True, design.unit, design.share
        self.device, self.dtype = design.device, design.dtype
        self._scaled = self.rest / self.unit

    def shift(self, weights: Tensor) -> Tensor:
        """``mean_m' w_m``, shape (M,), float64, which centring adds to the intercepts."""
        return (self.means * weights.to(torch.float64)).sum(0)

    @property
    def affine(self) -> bool:
        return self.base.affine

    def figure(self) -> float | None:
        return self.base.figure()

    def magnitude(self) -> float:
        share = _share_of_deviations(self.base, self.rest)
        return self.base.known_magnitude * math.sqrt(max(share, FAR))

    def with_unit(self, unit: float) -> Design:
        other = self._copy()
        other.base, other.unit, other._scaled = self.base.with_unit(unit), unit, self.rest / unit  # noqa: SLF001
        other.curvature_passes = 0.0
        return other

    def times(self, L: Tensor) -> CentredDesign:
        return CentredDesign(self.base.times(L), L.to(torch.float64).T @ self.rest)

    def samples(self, task: int, entries: Tensor) -> Tensor:
        return self.base.samples(task, entries) - self.rest[:, task]

    @property
    def has_samples(self) -> bool:
        return self.base.has_samples

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.base.parameter_shape(targets)

    def scores(self, W: Tensor) -> Tensor:
        return self.base.scores(self._plain(W))

    def linear(self, W: Tensor) -> Tensor:
        return self.base.linear(self._plain(W))

    def adjoint(self, residuals: Tensor) -> Tensor:
        return self._centred(self.base.adjoint(residuals))

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.base.loss_and_grad(data, self._plain(W))
        return value, self._centred(grad)

    def factors_pay(self, n_latents: int, n_tasks: int) -> bool:
        return self.base.factors_pay(n_latents, n_tasks)

    def factored_scores(self, L: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        assert bias is not None
        plain = self._plain_bias(L, S, bias)[0]
        return self.base.factored_scores(L, S, plain)

    def factored_loss_and_grads(
        self, data: DataTerm, L: Tensor, S: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        assert bias is not None
        plain, latent_means = self._plain_bias(L, S, bias)
        found = self.base.factored_loss_and_grads(data, L, S, plain)
        value, along_L, along_S, slope = found
        assert slope is not None
        along_L = along_L.sub_((self._scaled.to(slope.dtype) * slope) @ S.T)
        along_S = along_S.sub_(latent_means.to(slope.dtype) * slope)
        return value, along_L, along_S, slope

    def _plain_bias(self, L: Tensor, S: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Intercepts of the base with the same scores; means of ``X L``, (K, M), float64."""
        means = L.to(torch.float64).T @ self._scaled
        shift = (means * S.to(torch.float64)).sum(0)
        return (bias.to(torch.float64) - shift).to(bias.dtype), means

    def check_targets(self, targets: Targets) -> None:
        self.base.check_targets(targets)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        before = self.base.curvature_passes
        self.base.curvature_left = self.curvature_left
        curvature = self.base.centred_curvature_by_task(targets, self.rest)
        self.base.curvature_left = math.inf
        self.curvature_passes += self.base.curvature_passes - before
        return curvature

    def _plain(self, W: Tensor) -> Tensor:
        """Convert a parameter to the one of the base with the same scores."""
        weights, bias = self.split(W)
        assert bias is not None
        shift = (self._scaled * weights.to(torch.float64)).sum(0)
        return self.join(weights, (bias.to(torch.float64) - shift).to(W.dtype))

    def _centred(self, grad: Tensor) -> Tensor:
        """Convert a gradient in the base's parameter to one in this design's."""
        weights, bias = self.split(grad)
        assert bias is not None
        means = self._scaled.to(grad.dtype)
        return self.join(torch.addcmul(weights, means, bias, value=-1), bias)


def _share_of_deviations(design: Design, means: Tensor) -> float:
    """Mean square of the centred features, relative to that of the features."""
    size = design.known_magnitude
    return 1 - float((means / size).square().mean()) if size > 0 else 0.0
