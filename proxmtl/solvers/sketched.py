"""Initial inverse Hessian of LBFGS from the leading spectrum of the features' Gram matrix."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.problem import Problem

__all__ = ["Sketched"]

RANK = 100
"""Maximum number of columns of a sketch; a product costs as much as with so many tasks."""
PASSES = 4
"""Maximum number of passes of a sketch; a whole solve takes some tens."""
SHARE = 0.5
"""Maximum fraction of the remaining passes that a sketch may take."""


class Sketched(NamedTuple):
    """Nyström approximation ``U diag(v) U' + rest (I - U U')`` of a Gram matrix of features.

    The Hessian of task m is approximated by ``k_m G + 2 ridge I``. G is the Gram matrix of the
    features, centred by their weighted mean, with rows weighted by their mean weight over the
    tasks; k_m is the mean curvature of the task's loss. The features are of order 1 or below
    (:mod:`proxmtl.solvers.sized`). Given ``U`` and ``v``, a product with the inverse costs
    ``8 D r`` flops per vector, for any k_m and ridge. The sketch takes 2 products with r random
    vectors, and is exact if r is the smaller dimension of the features. If the products are not
    finite, r is 0.

    Frangella, Tropp, Udell, "Randomized Nyström preconditioning", 2023.
    """

    basis: Tensor
    """U, (D, r)."""
    spectrum: Tensor
    """v, (r,), ascending."""
    rest: Tensor
    """Mean of the remaining eigenvalues, 0-d."""
    mean: Tensor
    """Weighted mean of the features, (D, 1); zero without an intercept."""
    total: Tensor
    """Sum of the rows' weights, 0-d."""

    @classmethod
    def of(cls, problem: Problem) -> Sketched:
        """Sketch the features of a problem; its products are counted."""
        design, zeros = problem.design, problem.zeros()
        ranks = problem.data.ranks
        design, rows, share = design.of_samples(problem.targets)
        N = int(ranks.total(torch.tensor(float(len(rows)), dtype=torch.float64)))
        D = len(design.split(zeros)[0])
        total, mean = ranks.total(rows.sum()), zeros.new_zeros(D, 1)
        if design.intercept:
            problem.counts.charge(adjoint=share)
            mean = design.split(design.adjoint(rows))[0] / total
        most = min(PASSES, SHARE * problem.counts.left) / share
        rank = int(min(N, D, RANK, most))
        trace = design.known_magnitude**2 * D * total
        blank = cls(zeros.new_zeros(D, 0), zeros.new_zeros(0), trace / min(N, D), mean, total)
        if rank < 1:
            return blank
        # drawn on the CPU, so that all devices use the same vectors
        drawn = torch.randn(D, rank, dtype=zeros.dtype, generator=torch.Generator().manual_seed(0))
        probe = drawn.to(zeros)
        problem.counts.charge(forward=rank * share, adjoint=rank * share)
        # an intercept of each column centres its scores
        level = -(mean.T @ probe)[0] / design.unit if design.intercept else None
        back = design.normal_product(design.join(probe, level), rows)
        image, sums = design.split(back)
        if sums is not None:
            image = image - mean * (sums / design.unit)
        found = _nystrom(probe.double(), image.double())
        if found is None:
            return blank
        basis, spectrum = found
        left = max(min(N, D) - rank, 1)
        rest = ((trace - spectrum.sum()) / left).clamp(min=0, max=float(spectrum[0]))
        return cls(basis.to(zeros), spectrum.to(zeros), rest.to(zeros), mean, total)

    def solve(self, problem: Problem, curvature: Tensor, vector: Tensor) -> Tensor:
        """Apply the approximate inverse Hessian of each task to its column of ``vector``.

        Parameters
        ----------
        curvature : Tensor, shape (m,)
            Sum of the curvatures of each task's labels.
        vector : Tensor, shape (D, m) or (D + 1, m)
        """
        design, info = problem.design, torch.finfo(vector.dtype)
        weights, bias = design.split(vector)
        scale = curvature / self.total
        if bias is not None:
            bias = bias / design.unit
            weights = weights - self.mean * bias
        largest = self.spectrum[-1] if len(self.spectrum) else self.rest
        ridge = (info.eps * scale * largest).clamp_min(max(2 * problem.ridge, info.tiny))
        # project twice: rounding errors within span(U) would be divided by the small ridge
        inside = self.basis.T @ weights
        outside = weights - self.basis @ inside
        missed = self.basis.T @ outside
        outside, inside = outside - self.basis @ missed, inside + missed
        inside = inside / (scale * self.spectrum[:, None] + ridge)
        step = self.basis @ inside + outside / (scale * self.rest + ridge)
        if bias is None:
            return step
        level = bias / curvature - (self.mean * step).sum(0)
        return design.join(step, level / design.unit)


def _nystrom(probe: Tensor, image: Tensor) -> tuple[Tensor, Tensor] | None:
    """Eigenvectors and eigenvalues of ``image (probe' image)^-1 image'``, ascending.

    None if the image is not finite, or not that of a numerically positive semidefinite matrix.
    """
    if not bool(image.isfinite().all()):
        return None
    # a shift keeps the Cholesky factor real; it is subtracted again
    eps = torch.finfo(image.dtype).eps
    shift = eps**0.5 * image.norm() / probe.norm() + torch.finfo(image.dtype).tiny
    shifted = image + shift * probe
    core = probe.T @ shifted
    factor, info = torch.linalg.cholesky_ex((core + core.T) / 2)
    if bool(info):
        return None
    half = torch.linalg.solve_triangular(factor, shifted.T, upper=False)
    values, vectors = torch.linalg.eigh(half @ half.T)
    known = values > eps**0.5 * values[-1]  # vectors of smaller ones are not orthogonal
    size = torch.where(known, values, 1.0).rsqrt() * known
    basis = half.T @ (vectors * size)
    return basis, torch.where(known, values - shift, 0.0).clamp_min(0)
