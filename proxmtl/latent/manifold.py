"""Newton directions of a penalised quadratic model of ``L S``, on the entries that are not zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.latent.grams import times

if TYPE_CHECKING:
    from proxmtl.latent.inner import Model, Point

__all__ = ["gradient_of", "hessian_product", "newton_direction"]

SMALLEST = 1e-10
"""Least curvature of S that is taken for one, in units of the mean."""

ROUNDING = 1e-9
"""Added to the diagonal of the Hessian of L always, in units of its mean."""

MOST_ELEMENTS = 1 << 23
"""Of products of Hessians that are held at a time."""


def gradient_of(model: Model, point: Point) -> tuple[Tensor, Tensor]:
    """Gradient of the model in the entries of L and S that are not zero; zero elsewhere."""
    L, S, _, _, G = point
    of_L = G @ S.T + model.gamma * L.sign() + 2 * model.ridge * L
    norms = model.norms(S)
    pull = torch.where(norms > 0, model.bounds / torch.where(norms > 0, norms, 1.0), 0.0)
    of_S = L.T @ G + S * (pull @ model.members.T)
    return torch.where(L != 0, of_L, 0.0), torch.where(_live(model, S), of_S, 0.0)


def hessian_product(model: Model, point: Point, dL: Tensor, dS: Tensor) -> tuple[Tensor, Tensor]:
    """Hessian of the model in these entries times a direction in them."""
    L, S, _, _, G = point
    Hd = times(model.quadratic.hessians, dL @ S + L @ dS)
    of_L = Hd @ S.T + G @ dS.T + 2 * model.ridge * dL
    norms = model.norms(S)
    safe = torch.where(norms > 0, norms, 1.0)
    pull = torch.where(norms > 0, model.bounds / safe, 0.0)
    along = ((S * dS) @ model.members) * pull / safe.square()
    of_S = L.T @ Hd + dL.T @ G + dS * (pull @ model.members.T) - S * (along @ model.members.T)
    return torch.where(L != 0, of_L, 0.0), torch.where(_live(model, S), of_S, 0.0)


def newton_direction(
    model: Model, point: Point, damping: float
) -> tuple[Tensor, Tensor, float] | None:
    """Direction in L and S, and the slope along it; None where rounding leaves none.

    The Hessian of L alone is positive definite: it is factored, and what it leaves of S (a Schur
    complement, whose cross term has both signs) is made definite by the absolute values of its
    eigenvalues.
    """
    of_L, of_S = gradient_of(model, point)
    k, d = (index.contiguous() for index in torch.nonzero(point.L.T).unbind(1))
    j, m = (index.contiguous() for index in torch.nonzero(_live(model, point.S)).unbind(1))
    if not len(k) or not len(j):
        return None
    A = _hessian_of_L(model, point, k, d)
    mean = float(A.diagonal().mean())
    A.diagonal().add_(2 * model.ridge + (damping + ROUNDING) * mean)
    factor, info = torch.linalg.cholesky_ex(A)
    if int(info):
        return None
    cross, A_S = _cross(model, point, k, d, j, m), _hessian_of_S(model, point, j, m)
    g_L, g_S = of_L[d, k], of_S[j, m]
    solved = torch.linalg.solve_triangular(factor, torch.cat([cross, g_L[:, None]], 1), upper=False)
    half, u = solved[:, :-1], solved[:, -1]
    mean = float(A_S.diagonal().abs().mean())
    rest = A_S - half.T @ half
    rest.diagonal().add_(damping * mean)
    move_S = -_solved(rest, g_S - half.T @ u, SMALLEST * mean)
    right = (u + half @ move_S)[:, None]
    move_L = -torch.linalg.solve_triangular(factor.T, right, upper=True)[:, 0]
    slope = float(g_L @ move_L + g_S @ move_S)
    if not slope < 0:  # also where it is not a number
        return None
    out_L, out_S = torch.zeros_like(point.L), torch.zeros_like(point.S)
    out_L[d, k], out_S[j, m] = move_L, move_S
    return out_L, out_S, slope


def _live(model: Model, S: Tensor) -> Tensor:
    """Entries of S that are in no group that is zero."""
    if model.disjoint:
        return (model.norms(S) > 0).to(S) @ model.members.T > 0
    return ((model.norms(S) == 0).to(S) @ model.members.T) == 0


def _hessian_of_L(model: Model, point: Point, k: Tensor, d: Tensor) -> Tensor:
    """Of the smooth part, at entries (d, k) in order of k: its lower triangle, block by block."""
    S, H = point.S, model.quadratic.hessians
    M, D = H.shape[:2]
    K, n = len(S), len(k)
    starts = [0, *torch.bincount(k, minlength=K).cumsum(0).tolist()]
    flat = k * D + d
    A = S.new_zeros(n, n)
    for a in range(K):
        first, last = starts[a], starts[a + 1]
        # each latent's rows of H against all latents up to it
        for some in torch.arange(first, last, device=S.device).split(
            max(1, MOST_ELEMENTS // (D * max(M, a + 1)))
        ):
            rows = H[:, d[some]].reshape(M, len(some) * D)
            block = (S[a] * S[: a + 1]) @ rows
            block = block.view(a + 1, len(some), D).transpose(0, 1).reshape(len(some), (a + 1) * D)
            A[some, :last] = block[:, flat[:last]]
    return A


def _cross(model: Model, point: Point, k: Tensor, d: Tensor, j: Tensor, m: Tensor) -> Tensor:
    """Second derivatives in entries (d, k) of L and (j, m) of S."""
    HL = model.quadratic.hessians @ point.L  # (M, D, K)
    out = point.S[k[:, None], m] * HL[m, d[:, None], j]
    return out + (k[:, None] == j) * point.G[d[:, None], m]


def _hessian_of_S(model: Model, point: Point, j: Tensor, m: Tensor) -> Tensor:
    """Second derivatives in entries (j, m) of S, the penalty's too."""
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
    """``|A|^-1 b``: eigenvalues by their absolute values, at least a tiny number."""
    factor, info = torch.linalg.cholesky_ex(A)
    if not int(info):
        found: Tensor = torch.cholesky_solve(b[:, None], factor)[:, 0]
        return found
    values, vectors = torch.linalg.eigh(A)
    return vectors @ ((vectors.T @ b) / values.abs().clamp_min(least))
