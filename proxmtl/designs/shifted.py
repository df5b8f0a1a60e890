"""Shared features minus a common origin, without computing the difference."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.arrays import Array
from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design
from proxmtl.designs.products import TooManyProductsError, largest_curvature, trace
from proxmtl.designs.shared import SharedDesign
from proxmtl.numerics import Moments
from proxmtl.targets import Targets

__all__ = ["ShiftedDesign"]


class ShiftedDesign(Design):
    """Scores ``Z = (X - 1 origin') W (+ b)`` for features ``X`` shared by all tasks.

    Used to standardise sparse features, which scaling leaves sparse but centring would not. A
    product costs one with X plus one with a single row. Unlike :class:`CentredDesign`, this design
    has one origin for all tasks, and works without an intercept.

    Parameters
    ----------
    X : Tensor, ndarray, pandas frame or scipy sparse matrix, shape (N, D)
        As for :class:`SharedDesign`.
    origin : Tensor or ndarray, shape (D,)
        Subtracted from each row.
    intercept : bool
        Add an unpenalised intercept, the last row of the parameter.

    Raises
    ------
    ValueError
        If X is not a non-empty, finite matrix, or the origin is not D finite numbers.
    """

    def __init__(self, X: Array, origin: Array, *, intercept: bool = False) -> None:
        # the base always has an intercept, to which the origin adds -origin' W
        self.base = SharedDesign(X, intercept=True)
        self.origin = torch.as_tensor(origin).detach().to(self.base.device, torch.float64)
        if self.origin.shape != (self.base.n_features,) or not bool(self.origin.isfinite().all()):
            raise ValueError(
                f"origin: expected {self.base.n_features} finite numbers, one a feature, saw "
                f"shape {tuple(self.origin.shape)}."
            )
        self.intercept = intercept
        self.device, self.dtype = self.base.device, self.base.dtype
        self._largest: list[float] = []  # cache of the largest curvature

    @property
    def n_features(self) -> int:
        """Number of features D."""
        return self.base.n_features

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.n_features + int(self.intercept), targets.n_tasks

    def scores(self, W: Tensor) -> Tensor:
        return self.base.scores(self._plain(W))

    def adjoint(self, residuals: Tensor) -> Tensor:
        return self._shifted(self.base.adjoint(residuals))

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        value, grad = self.base.loss_and_grad(data, self._plain(W))
        return value, self._shifted(grad)

    def _plain(self, W: Tensor) -> Tensor:
        """Convert a parameter to the one of the base with the same scores."""
        weights, bias = self.split(W)
        shift = self.origin @ weights.to(torch.float64) / self.unit
        held = -shift if bias is None else bias.to(torch.float64) - shift
        return torch.cat([weights, held.to(W.dtype)[None]])

    def _shifted(self, grad: Tensor) -> Tensor:
        """Convert a gradient in the base's parameter to one in this design's."""
        weights, bias = grad[:-1], grad[-1]
        origin = (self.origin / self.unit).to(grad.dtype)
        moved = torch.addcmul(weights, origin[:, None], bias, value=-1)
        return self.join(moved, bias if self.intercept else None)

    def with_unit(self, unit: float) -> Design:
        other, base = self._copy(), self.base.with_unit(unit)
        assert isinstance(base, SharedDesign)
        other.base, other.unit = base, unit
        return other

    def figure(self) -> float | None:
        return self.base.figure()

    def inner_products(self, task: int, entries: Tensor) -> Tensor:
        inner = self.base.inner_products(task, entries)
        zero = self.origin.new_zeros(1, 1)
        column = torch.cat([self.origin[:, None], zero])
        along = self.base.take(entries).scores(column)[:, 0].to(inner)
        return inner - along[:, None] - along + self.origin.square().sum().to(inner)

    def moments(self, weights: Tensor | None = None) -> Moments:
        found = self.base.moments(weights)
        return found._replace(mean=found.mean - self.origin)

    def magnitude(self) -> float:
        size = self.base.known_magnitude
        if not 0 < size < math.inf:
            return size
        means, origin = self.base.column_means() / size, self.origin / size
        square = 1 + float((origin * (origin - 2 * means)).mean())
        return size * math.sqrt(max(square, torch.finfo(torch.float64).eps))

    def check_targets(self, targets: Targets) -> None:
        self.base.check_targets(targets)

    def take(self, entries: Tensor) -> ShiftedDesign:
        return self._part(self.base.take(entries), self.origin)

    def narrowed(self, features: Tensor) -> ShiftedDesign:
        return self._part(self.base.narrowed(features), self.origin[features])

    def _part(self, base: SharedDesign, origin: Tensor) -> ShiftedDesign:
        part = self._copy()
        part.base, part.origin = base, origin
        part._largest, part.curvature_passes = [], 0.0  # noqa: SLF001 - of the same class
        return part

    def times(self, L: Tensor) -> Design:
        product = self.base.X.to(L.dtype) @ L - (self.origin @ L.to(torch.float64)).to(L.dtype)
        return SharedDesign(product, intercept=self.intercept).with_unit(self.unit)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        heaviest = targets.heaviest()
        if not self._largest:
            # a product with one vector costs 1/M of one with a parameter of M columns
            most = self.curvature_left * targets.n_tasks
            try:
                found, products = largest_curvature(
                    self.base.X, transpose=self.base.transpose, centre=self.origin, most=most
                )
            except TooManyProductsError as error:
                self.curvature_passes += error.products / targets.n_tasks
                return heaviest * self._trace()
            self._largest.append(found)
            self.curvature_passes += products / targets.n_tasks
        return heaviest * self._largest[0]

    def _trace(self) -> float:
        """Trace of the Gram matrix of the shifted features, a bound on its largest eigenvalue."""
        means = self.base.column_means()
        rest = self.base.X.shape[0] * float((means - self.origin).square().sum())
        return trace(self.base.X, centre=means) + rest

    def centred_curvature_by_task(self, targets: Targets, means: Tensor) -> Tensor:
        before = self.base.curvature_passes
        self.base.curvature_left = self.curvature_left
        curvature = self.base.centred_curvature_by_task(targets, means + self.origin[:, None])
        self.base.curvature_left = math.inf
        self.curvature_passes += self.base.curvature_passes - before
        return curvature
