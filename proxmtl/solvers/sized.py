"""A ridge problem in units in which neither squares of features nor the ridge leave the range."""

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
    """Power of two near the magnitude of the features, or of the root of the ridge if larger.

    Features ``s X`` with the ridge ``s^2 r`` have s times the size of X with r.
    """
    size = max(problem.design.known_magnitude, math.sqrt(problem.ridge))
    if not 0 < size < math.inf:
        return 1.0
    limit = int(-math.log2(torch.finfo(problem.design.dtype).tiny))
    return 2.0 ** min(max(round(math.log2(size)), -limit), limit)


def in_size(problem: Problem, size: float) -> Problem:
    """The same loss plus ridge as a function of ``size * W``; counts are shared.

    Features and the root of the ridge are at most near 1. Sizes are powers of two, so nothing is
    rounded. Certificates are those of the problem itself alone.
    """
    if size == 1:
        return problem
    info = torch.finfo(problem.design.dtype)
    other = problem.on(_Sized(problem.design, size))
    # a ridge that is larger still leaves nothing of the weights in this precision either
    other.ridge = min(problem.ridge / size / size, info.max * info.eps)
    return other


class _Sized(Design):
    """A design without its features' size: the same scores of ``size`` times the parameter."""

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

    def sweeps(self, dtype: torch.dtype) -> bool:
        return self.base.sweeps(dtype)

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        scores, adjoints = self.base.sweep(W / self.size, residuals_of)
        return scores, tuple(each / self.size for each in adjoints)

    def magnitude(self) -> float:
        return self.base.known_magnitude / self.size

    def check_targets(self, targets: Targets) -> None:
        self.base.check_targets(targets)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        return self.base.curvature_by_task(targets) / self.size / self.size
