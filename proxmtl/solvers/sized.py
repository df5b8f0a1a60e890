"""Rescaling of a ridge problem, so that squares of features and the ridge cannot overflow."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proxmtl.designs import Design
from proxmtl.designs.base import ResidualsOf
from proxmtl.problem import Problem
from proxmtl.targets import Targets

__all__ = ["in_size", "size_of"]


def size_of(problem: Problem) -> float:
    """Power of two near the larger of the features' magnitude and the root of the ridge.

    The size is homogeneous: features ``s X`` with the ridge ``s^2 r`` have s times that of X and r.
    """
    size = max(problem.design.known_magnitude, math.sqrt(problem.ridge))
    if not 0 < size < math.inf:
        return 1.0
    limit = int(-math.log2(torch.finfo(problem.design.dtype).tiny))
    return 2.0 ** min(max(round(math.log2(size)), -limit), limit)


def in_size(problem: Problem, size: float) -> Problem:
    """The same loss plus ridge as a function of ``size * W``; shares the counts.

    Features and the root of the ridge are then at most of order 1. Sizes are powers of two, so the
    rescaling is exact. For certificates use the original problem.
    """
    if size == 1:
        return problem
    info = torch.finfo(problem.design.dtype)
    other = problem.on(_Sized(problem.design, size))
    # clip the ridge at a value at which the weights vanish in this precision anyway
    other.ridge = min(problem.ridge / size / size, info.max * info.eps)
    return other


class _Sized(Design):
    """A design with its features divided by ``size``; ``size * W`` has the scores of W."""

    def __init__(self, base: Design, size: float) -> None:
        self.base, self.size = base, size
        self.intercept, self.share = base.intercept, base.share
        self.dtype, self.device = base.dtype, base.device
        self.unit = base.unit / size

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.base.parameter_shape(targets)

    def scores(self, W: Tensor) -> Tensor:
        return self.base.scores(W / self.size)

    def linear(self, W: Tensor) -> Tensor:
        return self.base.linear(W / self.size)

    def adjoint(self, residuals: Tensor) -> Tensor:
        return self.base.adjoint(residuals / self.size)

    def of_samples(self, targets: Targets) -> tuple[Design, Tensor, float]:
        design, weights, share = self.base.of_samples(targets)
        return _Sized(design, self.size), weights, share

    def sweeps(self, dtype: torch.dtype) -> bool:
        return self.base.sweeps(dtype)

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        scores, adjoints = self.base.sweep(W / self.size, residuals_of)
        return scores, tuple(each / self.size for each in adjoints)

    def normal_product(self, V: Tensor, weights: Tensor) -> Tensor:
        return self.base.normal_product(V / self.size, weights) / self.size

    def magnitude(self) -> float:
        return self.base.known_magnitude / self.size

    def check_targets(self, targets: Targets) -> None:
        self.base.check_targets(targets)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        return self.base.curvature_by_task(targets) / self.size / self.size
