"""One feature matrix shared by all tasks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from proxmtl.arrays import Array, as_float_tensor
from proxmtl.data_term import DataTerm
from proxmtl.designs.base import BLOCK_ELEMENTS, Design, ResidualsOf
from proxmtl.designs.checks import (
    check_features,
    check_finite,
    check_shape,
    check_undivided,
    consecutive,
)
from proxmtl.designs.fused import FUSED, fused
from proxmtl.designs.kept import few_rows, keep, of_rows, recalled
from proxmtl.designs.products import (
    TooManyProductsError,
    as_scipy,
    forward,
    from_scipy,
    largest_curvature,
    may_be_copied,
    root_mean_square,
    select_csr,
    sweeps,
    swept,
    trace,
    transposed,
    transposed_csr,
    weighted_sum,
)
from proxmtl.numerics import Moments, column_moments
from proxmtl.targets import Targets

__all__ = ["SharedDesign"]

FEW = 4
"""Tasks up to which the fused kernel is faster in float32."""
WIDE = 4
"""Features per task from which on it is faster in float64; with fewer, losses take the time."""


class SharedDesign(Design):
    """Scores ``Z = X W (+ b)`` for features ``X`` shared by all tasks.

    Parameters
    ----------
    X : Tensor, ndarray, pandas frame or scipy sparse matrix, shape (N, D)
        Dense, or sparse CSR; for the latter the transpose is stored as CSR, too, since each layout
        is fast for one of the two products only. float16 and bfloat16 features are kept, and
        converted to float32 in products.
    intercept : bool
        Add an unpenalised intercept, the last row of the parameter.

    Raises
    ------
    ValueError
        If X is not a non-empty, finite matrix.
    """

    def __init__(self, X: Array, *, intercept: bool = False) -> None:
        X = from_scipy(X) if issparse(X) else X
        X = X.detach() if isinstance(X, Tensor) else as_float_tensor("X", X)
        self.X = X
        self.intercept = intercept
        self.device = X.device
        self.dtype = torch.promote_types(X.dtype, torch.float32)
        self._XT: Tensor | None = None
        if X.layout == torch.sparse_csr:
            check_shape("X", X)
            check_finite("X", X.values()[:, None])
            with warnings.catch_warnings():  # torch calls its CSR support beta, once
                warnings.simplefilter("ignore", UserWarning)
                self.X = X.to(self.dtype)
            self._XT = transposed_csr(self.X)
        elif X.layout == torch.strided:
            check_features("X", X)
        else:
            raise ValueError(f"X: layout {X.layout} is not supported; use dense or sparse CSR.")
        self._curvature: dict[bool, float] = {}  # cache; key: whether the features are centred
        self.kept: dict[str, Any] = {}  # of an adjoint, and of solvers' Gram matrices

    @classmethod
    def of_checked(cls, X: Tensor, *, intercept: bool) -> SharedDesign:
        """Design of dense features that were checked before."""
        made = cls.__new__(cls)
        made.X, made.intercept, made.device = X, intercept, X.device
        made.dtype = torch.promote_types(X.dtype, torch.float32)
        made._XT, made._curvature, made.kept = None, {}, {}  # noqa: SLF001 - of this class
        return made

    @property
    def n_features(self) -> int:
        """Number of features D."""
        return self.X.shape[1]

    @property
    def transpose(self) -> Tensor | None:
        """Transpose of sparse features in CSR layout; None for dense ones."""
        return self._XT

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.n_features + int(self.intercept), targets.n_tasks

    def scores(self, W: Tensor) -> Tensor:
        weights, bias = self.split(W)
        scores = self._times(weights)
        return scores if bias is None else scores.add_(bias, alpha=self.unit)

    def adjoint(self, residuals: Tensor) -> Tensor:
        bias = self.unit * residuals.sum(0) if self.intercept else None
        return self.join(self._transposed(residuals), bias)

    def sweeps(self, dtype: torch.dtype) -> bool:
        return sweeps(self.X, dtype)

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        weights, bias = self.split(W)
        if not self.sweeps(W.dtype) or few_rows(self.X, weights) is not None:
            scores = self.scores(W)
            first, *others = residuals_of(slice(0, len(scores)), scores)
            known = recalled(self.kept, first)
            if known is None or not others:
                adjoints = self.adjoint(torch.cat([first, *others], dim=1))
                found = torch.split(adjoints, W.shape[1], dim=1)
                keep(self.kept, self.X, first, self.split(found[0])[0])
                return scores, found
            rest = torch.split(self.adjoint(torch.cat(others, dim=1)), W.shape[1], dim=1)
            return scores, (self.adjoint(first), *rest)
        sums: list[Tensor] = []

        def joined(rows: slice, scores: Tensor) -> Tensor:
            if bias is not None:
                scores.add_(bias, alpha=self.unit)
            residuals = torch.cat(residuals_of(rows, scores), dim=1)
            sums.append(residuals.sum(0))
            return residuals

        scores, grad = swept(self.X, weights, joined)
        if self.intercept:
            grad = self.join(grad, self.unit * torch.stack(sums).sum(0))
        return scores, torch.split(grad, W.shape[1], dim=1)

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        if not self.reads_once(data, W.shape[1], W.dtype):
            return super().loss_and_grad(data, W)
        targets = data.at(W.dtype)
        return fused(self, data, W, self.X, labels=targets.labels, weights=targets.weights)[:2]

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.reads_once(data, W.shape[1], W.dtype):
            return super().evaluate(data, W)
        targets = data.at(W.dtype)
        value, grad, scores = fused(
            self,
            data,
            W,
            self.X,
            labels=targets.labels,
            weights=targets.weights,
            return_scores=True,
        )
        return scores, value, grad

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:
        # measured on CPUs: the cases in which the kernel is faster than two BLAS products
        if data.loss.kernel is None or self._XT is not None or self.device.type != "cpu":
            return False
        large = self.X.numel() * self.X.element_size() >= FUSED
        wide = self.n_features >= WIDE * columns
        return large and wide and (columns <= FEW or dtype == torch.float64)

    def factors_pay(self, n_latents: int, n_tasks: int) -> bool:
        # a margin of 2, since thin products run below full speed
        return 2 * n_latents * (self.n_features + n_tasks) <= self.n_features * n_tasks

    def factored_scores(self, L: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        return self._scores(self._times(L), S, bias)

    def factored_loss_and_grads(
        self, data: DataTerm, L: Tensor, S: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        XL = self._times(L)
        value, residuals = data.value_and_gradient(self._scores(XL, S, bias))
        along_L = self._transposed(residuals @ S.T)
        along_bias = None if bias is None else self.unit * residuals.sum(0)
        return value, along_L, XL.T @ residuals, along_bias

    def _times(self, L: Tensor) -> Tensor:
        rows = few_rows(self.X, L)
        if rows is not None:
            return of_rows(self.X, self._XT, L, rows)
        return forward(self.X.to(L.dtype) if self._XT is not None else self.X, L)

    def share_of(self, rows: Tensor) -> float:
        """Fraction of the features that a product with a few rows of a parameter reads."""
        if self._XT is None:
            return len(rows) / self.n_features
        entries = self._XT.crow_indices().diff()
        return float(entries[rows].sum()) / max(1, int(entries.sum()))

    def _scores(self, XL: Tensor, S: Tensor, bias: Tensor | None) -> Tensor:
        return XL @ S if bias is None else torch.addmm(bias, XL, S, beta=self.unit)

    def _transposed(self, residuals: Tensor) -> Tensor:
        known = recalled(self.kept, residuals)
        if known is not None:
            return known
        if self._XT is None:
            found = transposed(self.X, residuals)
        else:
            found = self._XT.to(residuals.dtype) @ residuals
        keep(self.kept, self.X, residuals, found)
        return found

    def figure(self) -> float:
        return weighted_sum(self.X, self._XT)

    @property
    def n_samples(self) -> int:
        """Number of samples N."""
        return int(self.X.shape[0])

    def magnitude(self) -> float:
        return root_mean_square(self.X)

    def check_targets(self, targets: Targets) -> None:
        check_undivided(targets)
        if targets.task_of is not None or targets.shape[0] != self.X.shape[0]:
            raise ValueError(
                f"labels: {_describe(targets)} do not fit shared features of {self.X.shape[0]} "
                "samples; give a matrix (samples, tasks) with one row a sample."
            )

    def feature_blocks(
        self, rows: int | None = None
    ) -> AbstractContextManager[Iterator[tuple[slice, Tensor]]]:
        """Context in which to go over blocks of rows of dense features, with their places."""
        size = rows or max(1, BLOCK_ELEMENTS // self.n_features)
        starts = range(0, len(self.X), size)
        return nullcontext((slice(at, at + size), self.X[at : at + size]) for at in starts)

    def take(self, entries: Tensor) -> SharedDesign:
        return self._part(entries, 0)

    def narrowed(self, features: Tensor) -> SharedDesign:
        return self._part(features, 1)

    def _part(self, index: Tensor, axis: int) -> SharedDesign:
        part = self._copy()
        part._curvature, part.curvature_passes = {}, 0.0  # noqa: SLF001 - of the same class
        part.kept = {}
        if self._XT is not None:
            part.X = select_csr(self.X, index, axis)
            part._XT = select_csr(self._XT, index, 1 - axis)  # noqa: SLF001
        elif isinstance(run := consecutive(index), slice):
            part.X = self.X[run] if axis == 0 else self.X[:, run]
        else:
            part.X = self.X.index_select(axis, index)
        return part

    def times(self, L: Tensor) -> Design:
        product = SharedDesign(self.X.to(L.dtype) @ L, intercept=self.intercept)
        return product.with_unit(self.unit)

    def samples(self, task: int, entries: Tensor) -> Tensor:  # noqa: ARG002 - the same for all tasks
        return self.X[entries].to(torch.float64)

    def inner_products(self, task: int, entries: Tensor) -> Tensor:
        if self._XT is None:
            return super().inner_products(task, entries)
        part = as_scipy(select_csr(self.X, entries, 0)).astype(np.float64)
        found = (part @ part.T).tocoo()
        inner = torch.zeros(len(entries), len(entries), dtype=torch.float64)
        inner[found.row, found.col] = torch.from_numpy(found.data)
        return inner

    @property
    def has_samples(self) -> bool:
        return self._XT is None

    def moved(self, means: Tensor) -> tuple[Design, Tensor] | None:
        if self._XT is not None or not may_be_copied(self.X):
            return None
        origin = self.column_means().to(self.X.dtype)
        part = SharedDesign(self.X - origin, intercept=self.intercept)
        return part.with_unit(self.unit), origin.to(means)[:, None].expand_as(means)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        return self._curvatures(targets, centred=False)

    def centred_curvature_by_task(self, targets: Targets, means: Tensor) -> Tensor:  # noqa: ARG002
        # of all centres the means give the least curvature, so any other centre gives a bound
        return self._curvatures(targets, centred=True)

    def _curvatures(self, targets: Targets, *, centred: bool) -> Tensor:
        # X'C_mX <= max_i c_mi X'X: one eigenvalue serves all tasks and all patterns of labels
        heaviest = targets.heaviest()
        if centred not in self._curvature:
            # a product with one vector costs 1/M of one with a parameter of M columns
            most = self.curvature_left * targets.n_tasks
            centre = self.column_means() if centred else None
            try:
                found, products = largest_curvature(
                    self.X, transpose=self._XT, centre=centre, most=most
                )
            except TooManyProductsError as error:
                self.curvature_passes += error.products / targets.n_tasks
                return heaviest * trace(self.X, centre=centre)
            self._curvature[centred] = found
            self.curvature_passes += products / targets.n_tasks
        return heaviest * self._curvature[centred]

    def moments(self, weights: Tensor | None = None) -> Moments:
        return column_moments(self.X if self._XT is None else as_scipy(self.X), weights)

    def column_means(self) -> Tensor:
        """Means of the columns, (D,), float64; not counted as a pass."""
        ones = torch.ones(self.X.shape[0], 1, dtype=torch.float64, device=self.device)
        sums = transposed(self.X, ones) if self._XT is None else self._XT.to(ones.dtype) @ ones
        return sums[:, 0] / self.X.shape[0]


def _describe(targets: Targets) -> str:
    if targets.task_of is None:
        return f"labels of shape {tuple(targets.shape)}"
    return f"{targets.n_tasks} label vectors"
