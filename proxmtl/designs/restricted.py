"""A design that reads some of the features only; the weights of the others are zero."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.designs.base import Design
from proxmtl.targets import Targets

__all__ = ["RestrictedDesign"]


class RestrictedDesign(Design):
    """Another design, restricted to parameters that are zero outside some rows.

    The parameter keeps its shape; :meth:`scores` uses the chosen rows and the intercept only, and
    :meth:`adjoint` is zero in the other rows. A product costs the chosen rows' fraction of a full
    one.

    Parameters
    ----------
    design : Design
        Must implement :meth:`Design.narrowed`.
    rows : Tensor of bool, shape (D,)
        Mask of the chosen rows of the penalised part of the parameter.
    """

    def __init__(self, design: Design, rows: Tensor) -> None:
        self.rows = torch.nonzero(rows).flatten()
        self.n_rows = len(rows)
        self.narrow = design.narrowed(self.rows)
        self.intercept, self.unit = design.intercept, design.unit
        self.dtype, self.device = design.dtype, design.device
        self.share = design.share * len(self.rows) / max(1, self.n_rows)

    def magnitude(self) -> float:
        return self.narrow.magnitude()

    def with_unit(self, unit: float) -> Design:
        other = super().with_unit(unit)
        assert isinstance(other, RestrictedDesign)
        other.narrow = self.narrow.with_unit(unit)
        return other

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        narrow, columns = self.narrow.parameter_shape(targets)
        return self.n_rows + narrow - len(self.rows), columns

    def scores(self, W: Tensor) -> Tensor:
        penalised, bias = self.split(W)
        return self.narrow.scores(self.narrow.join(penalised[self.rows], bias))

    def linear(self, W: Tensor) -> Tensor:
        penalised, bias = self.split(W)
        return self.narrow.linear(self.narrow.join(penalised[self.rows], bias))

    def adjoint(self, residuals: Tensor) -> Tensor:
        narrow, bias = self.narrow.split(self.narrow.adjoint(residuals))
        grad = narrow.new_zeros(self.n_rows, *narrow.shape[1:])
        grad[self.rows] = narrow
        return self.join(grad, bias)

    def check_targets(self, targets: Targets) -> None:
        self.narrow.check_targets(targets)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        before = self.narrow.curvature_passes
        self.narrow.curvature_left = self.curvature_left / self.share if self.share else math.inf
        curvature = self.narrow.curvature_by_task(targets)
        self.narrow.curvature_left = math.inf
        self.curvature_passes += (self.narrow.curvature_passes - before) * self.share
        return curvature
