"""Newton directions of a penalised quadratic model of ``L S``, on the non-zero entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.latent.grams import times
from proxmtl.latent.work import conjugate_operations, newton_operations

if TYPE_CHECKING:
    from proxmtl.latent.inner import Model, Point

__all__ = [
    "Pair",
    "factored",
    "gradient_of",
    "hessian_product",
    "iterated",
    "live_entries",
    "newton_direction",
]

SMALLEST = 1e-10
"""Curvatures of S below this, in units of the mean, are raised to it."""

ROUNDING = 1e-9
"""Minimum damping of the Hessian of L, in units of its mean diagonal."""

MOST_ITERATIONS = 200
"""Maximum number of conjugate-gradient iterations for a direction."""

ACCURACY = 0.25
"""Relative residual at which conjugate gradients stop, in the norm of the preconditioner."""

MOST_ELEMENTS = 1 << 23
"""Maximum number of entries of temporary products of Hessians."""

Pair = tuple[Tensor, Tensor]
"""A change of L and a change of S."""


def gradient_of(model: Model, point: Point) -> tuple[Tensor, Tensor]:
    """Gradient of the model in the non-zero entries of L and S; zero elsewhere."""
    L, S, _, _, G = point
    of_L = G @ S.T + model.gamma * L.sign() + 2 * model.ridge * L
    norms = model.norms(S)
    pull = torch.where(norms > 0, model.bounds / torch.where(norms > 0, norms, 1.0), 0.0)
    of_S = L.T @ G + S * (pull @ model.members.T)
    return torch.where(L != 0, of_L, 0.0), torch.where(live_entries(model, S), of_S, 0.0)


def hessian_product(model: Model, point: Point, dL: Tensor, dS: Tensor) -> tuple[Tensor, Tensor]:
    """Product of the model's Hessian in the non-zero entries with a direction."""
    L, S, _, _, G = point
    Hd = times(model.quadratic.hessians, dL @ S + L @ dS)
    of_L = Hd @ S.T + G @ dS.T + 2 * model.ridge * dL
    norms = model.norms(S)
    safe = torch.where(norms > 0, norms, 1.0)
    pull = torch.where(norms > 0, model.bounds / safe, 0.0)
    along = ((S * dS) @ model.members) * pull / safe.square()
    of_S = L.T @ Hd + dL.T @ G + dS * (pull @ model.members.T) - S * (along @ model.members.T)
    return torch.where(L != 0, of_L, 0.0), torch.where(live_entries(model, S), of_S, 0.0)


def newton_direction(
    model: Model, point: Point, damping: float
) -> tuple[Tensor, Tensor, float] | None:
    """Newton direction in L and S, and the slope along it; None if it is not a descent direction.

    Computed by a factorisation or, if that takes far more operations, by conjugate gradients.
    """
    live = point.L != 0, live_entries(model, point.S)
    of_L, of_S = gradient_of(model, point)
    n, s = (int(each.sum()) for each in live)
    if not n or not s:
        return None
    M, D = model.quadratic.hessians.shape[:2]
    _, by_factors = newton_operations(n, s, conjugate_operations(M, D, len(point.S)))
    move = (factored if by_factors else iterated)(model, point, (of_L, of_S), live, damping)
    if move is None:
        return None
    slope = float((of_L * move[0]).sum() + (of_S * move[1]).sum())
    return (*move, slope) if slope < 0 else None  # None also if the slope is NaN


def factored(model: Model, point: Point, gradient: Pair, live: Pair, damping: float) -> Pair | None:
    """Newton direction by factorisations.

    The Hessian of L alone is positive definite and factorised by Cholesky. Its Schur complement in
    S may be indefinite, and is made definite by taking absolute values of its eigenvalues.
    """
    k, d = (index.contiguous() for index in torch.nonzero(live[0].T).unbind(1))
    j, m = (index.contiguous() for index in torch.nonzero(live[1]).unbind(1))
    A = _hessian_in_l(model, point, k, d)
    mean = float(A.diagonal().mean())
    A.diagonal().add_(2 * model.ridge + (damping + ROUNDING) * mean)
    factor, info = torch.linalg.cholesky_ex(A)
    if int(info):
        return None
    cross, A_S = _cross(model, point, (d, k), (j, m)), _hessian_in_s(model, point, j, m)
    g_L, g_S = gradient[0][d, k], gradient[1][j, m]
    solved = torch.linalg.solve_triangular(factor, torch.cat([cross, g_L[:, None]], 1), upper=False)
    half, u = solved[:, :-1], solved[:, -1]
    mean = float(A_S.diagonal().abs().mean())
    rest = A_S - half.T @ half
    rest.diagonal().add_(damping * mean)
    move_S = -_solved(rest, g_S - half.T @ u, SMALLEST * mean)
    right = (u + half @ move_S)[:, None]
    move_L = -torch.linalg.solve_triangular(factor.T, right, upper=True)[:, 0]
    out_L, out_S = torch.zeros_like(point.L), torch.zeros_like(point.S)
    out_L[d, k], out_S[j, m] = move_L, move_S
    return out_L, out_S


def iterated(model: Model, point: Point, gradient: Pair, live: Pair, damping: float) -> Pair | None:
    """Approximate Newton direction by preconditioned conjugate gradients.

    Stops before a direction of nonpositive curvature; if that is the first one, returns it.
    """
    precondition = _blocks(model, point, live, damping)
    if precondition is None:
        return None
    apply, shift_L, shift_S = precondition
    x_L, x_S = torch.zeros_like(point.L), torch.zeros_like(point.S)
    r_L, r_S = -gradient[0], -gradient[1]
    z_L, z_S = apply(r_L, r_S)
    p_L, p_S = z_L, z_S
    first = rz = _dot(r_L, z_L) + _dot(r_S, z_S)
    for iteration in range(MOST_ITERATIONS):
        H_L, H_S = hessian_product(model, point, p_L, p_S)
        bend = _dot(p_L, H_L) + _dot(p_S, H_S)
        bend += shift_L * _dot(p_L, p_L) + shift_S * _dot(p_S, p_S)
        if not bend > 0:
            return (p_L, p_S) if iteration == 0 else (x_L, x_S)
        step = rz / bend
        x_L, x_S = x_L + step * p_L, x_S + step * p_S
        r_L = r_L - step * (H_L + shift_L * p_L)
        r_S = r_S - step * (H_S + shift_S * p_S)
        z_L, z_S = apply(r_L, r_S)
        before, rz = rz, _dot(r_L, z_L) + _dot(r_S, z_S)
        if rz <= ACCURACY**2 * first:
            break
        p_L, p_S = z_L + rz / before * p_L, z_S + rz / before * p_S
    return x_L, x_S


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


def _blocks(
    model: Model, point: Point, live: Pair, damping: float
) -> tuple[Callable[[Tensor, Tensor], Pair], float, float] | None:
    """Block-diagonal preconditioner (a block per latent in L, per task in S), and its shifts."""
    H, S, L = model.quadratic.hessians, point.S, point.L
    M, D = H.shape[:2]
    of_L = (S.square() @ H.reshape(M, -1)).view(len(S), D, D)
    of_S = L.T @ (H @ L)
    norms = model.norms(S)
    safe = torch.where(norms > 0, norms, 1.0)
    pull = torch.where(norms > 0, model.bounds / safe, 0.0)
    bend = pull @ model.members.T - S.square() * ((pull / safe.square()) @ model.members.T)
    of_S.diagonal(dim1=1, dim2=2).add_(bend.T.clamp_min(0))
    entries, shifts, factors = (live[0].T, live[1].T), [], []
    for blocks, there in zip((of_L, of_S), entries, strict=True):
        diagonal = blocks.diagonal(dim1=1, dim2=2)
        shift = (damping + ROUNDING) * float(diagonal[there].mean())
        diagonal.add_(shift + (2 * model.ridge if blocks is of_L else 0.0))
        blocks.mul_(there[:, :, None] & there[:, None, :])
        diagonal.masked_fill_(~there, 1.0)
        factor, info = torch.linalg.cholesky_ex(blocks)
        if bool(info.any()):
            return None
        shifts.append(shift)
        factors.append(factor)

    def apply(of_L: Tensor, of_S: Tensor) -> Pair:
        solved = [
            torch.cholesky_solve(each.T[:, :, None], factor)[:, :, 0].T
            for each, factor in zip((of_L, of_S), factors, strict=True)
        ]
        return solved[0], solved[1]

    return apply, shifts[0], shifts[1]


def live_entries(model: Model, S: Tensor) -> Tensor:
    """Mask of the entries of S all of whose groups are non-zero."""
    if model.disjoint:
        return (model.norms(S) > 0).to(S) @ model.members.T > 0
    return ((model.norms(S) == 0).to(S) @ model.members.T) == 0


def _hessian_in_l(model: Model, point: Point, k: Tensor, d: Tensor) -> Tensor:
    """Lower triangle of the smooth part's Hessian at entries (d, k) of L, in order of k."""
    S, H = point.S, model.quadratic.hessians
    M, D = H.shape[:2]
    K, n = len(S), len(k)
    starts = [0, *torch.bincount(k, minlength=K).cumsum(0).tolist()]
    flat = k * D + d
    A = S.new_zeros(n, n)
    for a in range(K):
        first, last = starts[a], starts[a + 1]
        # rows of each latent against all latents up to it
        size = max(1, MOST_ELEMENTS // (D * max(M, a + 1)))
        for some in torch.split(torch.arange(first, last, device=S.device), size):
            rows = H[:, d[some]].reshape(M, len(some) * D)
            block = (S[a] * S[: a + 1]) @ rows
            block = block.view(a + 1, len(some), D).transpose(0, 1).reshape(len(some), (a + 1) * D)
            A[some, :last] = block[:, flat[:last]]
    return A


def _cross(model: Model, point: Point, in_L: Pair, in_S: Pair) -> Tensor:
    """Mixed second derivatives in entries (d, k) of L and (j, m) of S."""
    (d, k), (j, m) = in_L, in_S
    HL = model.quadratic.hessians @ point.L  # (M, D, K)
    out = point.S[k[:, None], m] * HL[m, d[:, None], j]
    return out + (k[:, None] == j) * point.G[d[:, None], m]


def _hessian_in_s(model: Model, point: Point, j: Tensor, m: Tensor) -> Tensor:
    """Hessian in the entries (j, m) of S, including the penalty."""
    L, S = point.L, point.S
    inner = L.T @ (model.quadratic.hessians @ L)  # (M, K, K)
    out = (m[:, None] == m) * inner[m[:, None], j[:, None], j]
    norms = model.norms(S)
    safe = torch.where(norms > 0, norms, 1.0)
    pull = torch.where(norms > 0, model.bounds / safe, 0.0)
    out.diagonal().add_((pull @ model.members.T)[j, m])
    of_groups = (model.members[m] * (pull / safe.square())[j]) @ model.members[m].T
    out -= (j[:, None] == j) * (S[j, m][:, None] * S[j, m]) * of_groups
    return out


def _solved(A: Tensor, b: Tensor, least: float) -> Tensor:
    """``A^-1 b``; if A is not definite, with its absolute eigenvalues, at least ``least``."""
    factor, info = torch.linalg.cholesky_ex(A)
    if not int(info):
        found: Tensor = torch.cholesky_solve(b[:, None], factor)[:, 0]
    else:
        values, vectors = torch.linalg.eigh(A)
        found = vectors @ ((vectors.T @ b) / values.abs().clamp_min(least))
    return found
