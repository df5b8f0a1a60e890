"""Matrix-free linear solvers: conjugate gradients, GMRES and the Neumann series."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LinearSolution", "conjugate_gradients", "gmres", "neumann"]

Product = Callable[[Tensor], Tensor]

FLAT = 1e-14
"""A direction whose curvature is below this counts as singular."""


class LinearSolution(NamedTuple):
    """Solution of ``A x = b``, its residual relative to ``b``, and the number of products."""

    x: Tensor
    residual: float
    products: int


def conjugate_gradients(
    apply: Product, b: Tensor, start: Tensor | None = None, *, tolerance: float, limit: int
) -> LinearSolution:
    """Solve ``A x = b`` for a symmetric, positive semi-definite ``A``.

    Ends at the relative residual ``tolerance``, after ``limit`` products, or if ``A`` is singular
    along the search direction: the residual then contains a component of ``b`` outside the range of
    ``A``.
    """
    scale = float(b.norm())
    if scale == 0:
        return LinearSolution(torch.zeros_like(b), 0.0, 0)
    x = torch.zeros_like(b) if start is None else start
    products = int(bool(x.any()))
    r = b - apply(x) if products else b.clone()
    p, square = r.clone(), float(r.square().sum())
    while square**0.5 > tolerance * scale and products < limit:
        bent = apply(p)
        products += 1
        curvature = float((p * bent).sum())
        if curvature <= FLAT * float(p.square().sum()):
            break
        x = x + (square / curvature) * p
        r = r - (square / curvature) * bent
        last, square = square, float(r.square().sum())
        p = r + (square / last) * p
    return LinearSolution(x, square**0.5 / scale, products)


def gmres(
    apply: Product, b: Tensor, *, tolerance: float, limit: int, restart: int = 100
) -> LinearSolution:
    """Solve ``A x = b`` for any ``A`` by restarted GMRES (least residual over a Krylov space).

    Ends as :func:`conjugate_gradients` does, or if a restart does not halve the residual.

    References
    ----------
    Saad and Schultz, "GMRES: a generalized minimal residual algorithm", 1986.
    """
    scale = float(b.norm())
    x, r, products, residual = torch.zeros_like(b), b, 0, 1.0
    if scale == 0:
        return LinearSolution(x, 0.0, 0)
    while residual > tolerance and products < limit:
        step, used = _arnoldi(apply, r, tolerance * scale, min(restart, limit - products))
        trial = x + step
        remainder = b - apply(trial)
        products += used + 1
        last, now = residual, float(remainder.norm()) / scale
        if now < last:
            x, r, residual = trial, remainder, now
        if not now < 0.5 * last:
            break
    return LinearSolution(x, residual, products)


def _arnoldi(apply: Product, r: Tensor, enough: float, size: int) -> tuple[Tensor, int]:
    """Least-residual step in the Krylov space of ``r``, and the number of products."""
    length = float(r.norm())
    basis = [r.reshape(-1) / length]
    H = r.new_zeros(size + 1, size, dtype=torch.float64)
    first = r.new_zeros(size + 1, dtype=torch.float64)
    first[0] = length
    k, y = 0, first[:0]
    while k < size:
        w = apply(basis[k].view_as(r)).reshape(-1)
        whole = float(w.norm())
        for _ in range(2):  # two orthogonalisations give orthogonality to rounding
            for j, q in enumerate(basis):
                along = torch.dot(q, w)
                H[j, k] += along
                w = w - along * q
        rest = float(w.norm())
        H[k + 1, k] = rest
        k += 1
        y = torch.linalg.lstsq(H[: k + 1, :k], first[: k + 1, None]).solution[:, 0]
        left = float((first[: k + 1] - H[: k + 1, :k] @ y).norm())
        if left <= enough or rest <= torch.finfo(w.dtype).eps * whole:
            break
        basis.append(w / rest)
    step = sum((float(c) * q for c, q in zip(y, basis, strict=False)), torch.zeros_like(basis[0]))
    return step.view_as(r), k


def neumann(apply: Product, b: Tensor, *, tolerance: float, limit: int) -> LinearSolution:
    """Solve ``(I - B) x = b`` by ``x <- b + B x``, for a contraction ``B`` given as ``apply``.

    If ``B`` is the derivative of a fixed-point iteration, the rate of convergence is the same.
    """
    scale = float(b.norm())
    x, products, residual = b, 0, float(scale > 0)
    while residual > tolerance and products < limit:
        new = b + apply(x)
        products += 1
        residual = float((new - x).norm()) / scale
        x = new
    return LinearSolution(x, residual, products)
