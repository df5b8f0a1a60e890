"""A shared part under the trace norm plus a part of each task's own under a ridge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from proxmtl.groups import Groups
from proxmtl.regularizers.base import Regularizer
from proxmtl.regularizers.group_layout import check_groups

__all__ = ["SharedPlusOwn"]


@dataclass(frozen=True)
class SharedPlusOwn(Regularizer):
    r"""Infimal convolution of the trace norm and a ridge.

    .. math:: R(W) = \text{strength} \min_{A + V = W}
              \Big( \sum_g w_g \|A_{:,g}\|_* + \text{own} \, \|V\|_F^2 \Big)

    ``A`` is what tasks (columns) share: a matrix of low rank, within each group if groups are
    given. ``V`` is what each task has of its own. The minimum over the split is a Huber function
    of the singular values ``s`` of each group's columns: ``own s^2`` up to ``w / (2 own)``, and
    ``w s - w^2 / (4 own)`` above, so that value, prox, gradient and conjugate are in closed form,
    at the cost of one singular value decomposition. As ``own`` grows the penalty becomes
    :class:`Nuclear`; for ``own -> 0`` with ``strength * own`` fixed it becomes
    :class:`SquaredFrobenius`, each task alone.

    Parameters
    ----------
    strength : float
        ``>= 0``.
    own : float
        ``> 0``, the weight of the ridge on ``V`` relative to the trace norm of ``A``.
    groups : Groups, optional
        Disjoint groups of tasks that share, with their weights ``w``; tasks in no group have a
        part of their own only. Default: all tasks share, with weight 1.

    Raises
    ------
    ValueError
        If a parameter is out of its range or the groups overlap.

    References
    ----------
    Jalali, Ravikumar, Sanghavi, Ruan, "A dirty model for multi-task learning", 2010 (two parts);
    Chen, Zhou, Ye, "Integrating low-rank and group-sparse structures for robust multi-task
    learning", 2011.
    """

    strength: float
    own: float
    groups: Groups | None = None
    has_conjugate = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.own < math.inf:
            raise ValueError(f"own: got {self.own}; it must be finite and > 0.")
        if self.groups is not None:
            check_groups(self.groups)
            if not self.groups.is_disjoint:
                raise ValueError(
                    "groups: they overlap; a shared part within each group needs disjoint groups."
                )

    def value(self, W: Tensor) -> Tensor:
        self._check(W)
        if bool(torch.isnan(W).any()):
            return W.sum()
        if self.strength == 0:
            return W.new_zeros(())
        value = self.own * W[:, self._alone].square().sum()
        for columns, weight in self._blocks:
            value = value + self._huber(torch.linalg.svdvals(W[:, columns]), weight)
        return self.strength * value

    def prox(
        self, W: Tensor, step: float | Tensor, *, warm_start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        self._check(W)
        if bool(torch.isnan(W).any()):
            return torch.full_like(W, torch.nan), W.sum()
        step = float(step) * self.strength
        if step == 0:
            return W.clone(), self.value(W)
        shrink = 1 + 2 * step * self.own
        out = W / shrink
        value = self.own * out[:, self._alone].square().sum()
        for columns, weight in self._blocks:
            U, s, Vh = _svd(W[:, columns])
            # what the trace norm leaves beyond the ridge: nothing below the knee, exactly
            beyond = torch.relu(s * (1 - 1 / shrink) - step * weight)
            out[:, columns] += (U * beyond) @ Vh
            value = value + self._huber(s / shrink + beyond, weight)
        return out, self.strength * value

    @property
    def is_symmetric(self) -> bool:
        """Whether the penalty of W is that of its transpose: all tasks share."""
        return self.groups is None or (len(self.groups) == 1 and not self._alone)

    def factor(self, gram: Tensor, step: float) -> tuple[Tensor, float]:
        """Matrix P with ``prox(W) = W P``, and the penalty there.

        The prox shrinks the singular values and keeps the singular vectors, so that P and the
        penalty hang on W'W alone, whose eigenvectors are the right ones: weights that are
        combinations of few vectors need not be formed. Half of the digits of small singular values
        are lost.

        Parameters
        ----------
        gram : Tensor, shape (M, M), float64
            ``W'W``; where all tasks share (:attr:`is_symmetric`) it may be ``W W'``, for
            ``prox(W) = P W``.
        step : float
            ``>= 0``; 0 gives the penalty of W.
        """
        step *= self.strength
        shrink = 1 + 2 * step * self.own
        P = torch.zeros_like(gram)
        alone = self._alone
        P[alone, alone] = 1 / shrink
        value = self.own * float(gram[alone, alone].sum()) / shrink**2
        for columns, weight in self._blocks:
            whole = self.is_symmetric
            squares, V = torch.linalg.eigh(gram if whole else gram[columns][:, columns])
            s = squares.clamp(min=0).sqrt()
            beyond = torch.relu(s * (1 - 1 / shrink) - step * weight)
            kept = 1 / shrink + beyond / torch.where(s > 0, s, 1.0)
            part = (V * kept) @ V.T
            if whole:
                P = part
            else:
                P[torch.tensor(columns)[:, None], columns] = part
            value += float(self._huber(s * kept, weight))
        return P, self.strength * value

    def kkt_residual(self, W: Tensor, grad: Tensor) -> Tensor:
        """The gradient of loss and penalty: the penalty is differentiable."""
        self._check(W)
        if bool(torch.isnan(W).any()):
            return torch.full_like(W, torch.nan)
        slope = 2 * self.own * W
        for columns, weight in self._blocks:
            U, s, Vh = _svd(W[:, columns])
            slope[:, columns] = (U * (2 * self.own * s).clamp(max=weight)) @ Vh
        return grad + self.strength * slope

    def conjugate(self, U: Tensor) -> float:
        if self.conjugate_limit(U) < 1:
            return math.inf
        squares = float(U.square().sum())
        if math.isnan(squares):
            return math.nan
        return squares / (4 * self.strength * self.own) if squares > 0 else 0.0

    def conjugate_limit(self, U: Tensor) -> float:
        self._check(U)
        if bool(torch.isnan(U).any()):
            return math.nan
        if self.strength == 0:
            return 0.0 if bool(U.any()) else math.inf
        limits = [math.inf]
        for columns, weight in self._blocks:
            largest = float(torch.linalg.matrix_norm(U[:, columns], 2))
            limits.append(math.inf if largest == 0 else self.strength * weight / largest)
        return min(limits)

    def split(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """The shared part ``A`` and the own part ``V`` of ``W``, at which the minimum is attained.

        Parameters
        ----------
        W : Tensor, shape (D, M)

        Returns
        -------
        A, V : Tensor, shape (D, M)
            ``A + V = W``.
        """
        self._check(W)
        shared = torch.zeros_like(W)
        for columns, weight in self._blocks:
            U, s, Vh = _svd(W[:, columns])
            shared[:, columns] = (U * torch.relu(s - weight / (2 * self.own))) @ Vh
        return shared, W - shared

    def factors(self, W: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of the shared part with the least ``||L||^2 + ||S||^2``, twice its trace norm.

        Parameters
        ----------
        W : Tensor, shape (D, M)

        Returns
        -------
        L : Tensor, shape (D, K)
        S : Tensor, shape (K, M)
            ``L S = A``, K its rank: singular vectors, each times the root of its singular value;
            with groups those of each group, one after another. The largest entry of a column of L
            is positive.
        """
        self._check(W)
        directions, loadings = [], []
        for columns, weight in self._blocks:
            U, s, Vh = _svd(W[:, columns])
            knee = weight / (2 * self.own)
            kept = s > knee
            U, Vh, root = U[:, kept], Vh[kept], (s[kept] - knee).sqrt()
            largest = U.abs().argmax(0)
            root = root * U[largest, torch.arange(len(root), device=W.device)].sign()
            directions.append(U * root)
            loadings.append(W.new_zeros(len(root), W.shape[1]))
            loadings[-1][:, columns] = root[:, None] * Vh
        return torch.cat(directions, dim=1), torch.cat(loadings)

    def rank(self, W: Tensor) -> int:
        """Rank of the shared part of ``W``; with groups the sum of the ranks."""
        self._check(W)
        return sum(
            int((torch.linalg.svdvals(W[:, columns]) > weight / (2 * self.own)).sum())
            for columns, weight in self._blocks
        )

    def _huber(self, s: Tensor, weight: float) -> Tensor:
        """Least penalty of the singular values ``s`` of a block, 0-d."""
        knee = weight / (2 * self.own)
        return torch.where(s <= knee, self.own * s * s, weight * (s - knee / 2)).sum()

    @cached_property
    def _blocks(self) -> list[tuple[list[int] | slice, float]]:
        """Columns and weight of each group."""
        if self.groups is None:
            return [(slice(None), 1.0)]
        weights = self.groups.weights.tolist()
        return [(self.groups.members(g), weights[g]) for g in range(len(self.groups))]

    @cached_property
    def _alone(self) -> list[int]:
        """Columns in no group."""
        return [] if self.groups is None else self.groups.uncovered

    def _check(self, W: Tensor) -> None:
        if W.ndim != 2:
            raise ValueError(f"W: shape {tuple(W.shape)}; the trace norm takes a matrix.")
        if self.groups is not None and W.shape[1] != self.groups.n_items:
            raise ValueError(
                f"W: {W.shape[1]} columns, and the groups are of {self.groups.n_items} tasks."
            )


def _svd(W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular value decomposition of a matrix (D, M).

    For float32 it is had from the Gram matrix of the smaller side in float64, which is several
    times as fast for the usual D >> M: squaring costs half the digits of float64, and float32 has
    no more than the other half.
    """
    if W.dtype == torch.float64:
        U, s, Vh = torch.linalg.svd(W, full_matrices=False)
        return U, s, Vh
    if W.shape[0] < W.shape[1]:
        V, s, Uh = _svd(W.T)
        return Uh.T, s, V.T
    wide = W.to(torch.float64)
    squares, V = torch.linalg.eigh(wide.T @ wide)
    s = squares.clamp(min=0).sqrt()
    # columns of tiny singular values are noise; so is what is multiplied by them
    U = (wide @ V) / torch.where(s > 0, s, 1.0)
    return U.to(W), s.to(W), V.T.to(W)
