"""A feature matrix for each task, with its own number of samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from proxmtl.arrays import Array, as_float_tensor
from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design, ResidualsOf
from proxmtl.designs.checks import check_features, check_undivided, consecutive
from proxmtl.designs.fused import FUSED, fused
from proxmtl.designs.products import (
    TooManyProductsError,
    forward,
    largest_curvature,
    may_be_copied,
    root_mean_square,
    sweeps,
    swept,
    trace,
    transposed,
    weighted_sum,
)
from proxmtl.numerics import Moments, column_moments
from proxmtl.targets import Targets

__all__ = ["TaskDesign"]

SWEPT = 1 << 16
"""Entries of a task's features from which on they are swept."""


class TaskDesign(Design):
    """Scores ``z_m = X_m w_m (+ b_m)``, concatenated over the tasks.

    Parameters
    ----------
    X : sequence of M Tensors or ndarrays (N_m, D), or one of shape (M, N, D)
        Of the same dtype, device and D; N_m may differ.
    intercept : bool
        Add an unpenalised intercept per task, the last row of the parameter.

    Raises
    ------
    ValueError
        If a matrix is empty or not finite, or D, dtypes or devices differ.
    """

    def __init__(self, X: Sequence[Array] | Tensor, *, intercept: bool = False) -> None:
        self.X = [
            part.detach() if isinstance(part, Tensor) else as_float_tensor(f"X[{m}]", part)
            for m, part in enumerate(X)
        ]
        if not self.X:
            raise ValueError("X: no task; give one feature matrix a task.")
        if any(features.layout != torch.strided for features in self.X):
            raise ValueError(
                "X: features per task must be dense; convert them, or use SharedDesign, which "
                "takes sparse CSR."
            )
        for what in ("dtype", "device"):
            kinds = sorted({str(getattr(features, what)) for features in self.X})
            if len(kinds) > 1:
                raise ValueError(f"X: tasks differ in {what}: {kinds}; convert them to one.")
        for m, features in enumerate(self.X):
            check_features(f"X[{m}]", features)
        widths = sorted({features.shape[1] for features in self.X})
        if len(widths) > 1:
            raise ValueError(f"X: tasks differ in their number of features: {widths}.")
        self.intercept = intercept
        self.device = self.X[0].device
        self.dtype = torch.promote_types(self.X[0].dtype, torch.float32)
        # cache; key: whether the features are centred, value: (weights, means, curvatures)
        self._curvature: dict[bool, tuple[Tensor, Tensor | None, Tensor]] = {}
        self.sizes = [len(features) for features in self.X]

    @property
    def n_features(self) -> int:
        """Number of features D."""
        return self.X[0].shape[1]

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.n_features + int(self.intercept), targets.n_tasks

    def loss_and_grad(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor]:
        if data.loss.kernel is None:
            return super().loss_and_grad(data, W)
        labels, weights = self._by_task(data, W.dtype)
        return fused(self, data, W, self.X, labels=labels, weights=weights)[:2]

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if not self.reads_once(data, W.shape[1], W.dtype):
            return super().evaluate(data, W)
        labels, weights = self._by_task(data, W.dtype)
        value, grad, scores = fused(
            self, data, W, self.X, labels=labels, weights=weights, return_scores=True
        )
        return torch.cat(scores), value, grad

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:  # noqa: ARG002
        rows = all(X.stride(1) == 1 for X in self.X)
        entries = sum(self.sizes) * self.n_features
        large = entries * self.X[0].element_size() >= FUSED
        return data.loss.kernel is not None and rows and large

    def _by_task(self, data: DataTerm, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
        """Labels and weights of each task."""
        targets = data.at(dtype)
        return [torch.split(each, self.sizes) for each in (targets.labels, targets.weights)]

    def sweeps(self, dtype: torch.dtype) -> bool:
        # a call for each task takes longer than products with small ones
        return all(sweeps(X, dtype) and X.numel() >= SWEPT for X in self.X)

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        if not self.sweeps(W.dtype):
            return super().sweep(W, residuals_of)
        weights, bias = self.split(W)
        first, scores, grads = 0, [], []
        for m, X in enumerate(self.X):
            sums: list[Tensor] = []

            def stacked(
                rows: slice, z: Tensor, m: int = m, first: int = first, sums: list[Tensor] = sums
            ) -> Tensor:
                if bias is not None:
                    z.add_(bias[m], alpha=self.unit)
                own = residuals_of(slice(first + rows.start, first + rows.stop), z[:, 0])
                sums.append(torch.stack(own).sum(1))
                return torch.stack(own, dim=1)

            z, grad = swept(X, weights[:, m, None], stacked)
            if self.intercept:
                grad = self.join(grad, self.unit * torch.stack(sums).sum(0))
            scores.append(z[:, 0])
            grads.append(grad)
            first += len(X)
        return torch.cat(scores), torch.stack(grads, dim=2).unbind(1)

    def scores(self, W: Tensor) -> Tensor:
        weights, bias = self.split(W)
        columns = weights.T.contiguous()
        parts = [forward(X, w) for X, w in zip(self.X, columns, strict=True)]
        if bias is not None:
            parts = [part.add_(b, alpha=self.unit) for part, b in zip(parts, bias, strict=True)]
        return torch.cat(parts)

    def adjoint(self, residuals: Tensor) -> Tensor:
        parts = torch.split(residuals, self.sizes)
        grad = torch.stack([transposed(X, r) for X, r in zip(self.X, parts, strict=True)], dim=1)
        if not self.intercept:
            return grad
        return self.join(grad, self.unit * torch.stack([r.sum() for r in parts]))

    def figure(self) -> float:
        return math.hypot(*(math.sqrt(m + 1) * weighted_sum(X) for m, X in enumerate(self.X)))

    @property
    def n_samples(self) -> int:
        """Number of samples of all tasks."""
        return sum(self.sizes)

    def magnitude(self) -> float:
        sizes = [root_mean_square(X) for X in self.X]
        largest = max(sizes)
        if not 0 < largest < math.inf:
            return largest
        shares = [n * (size / largest) ** 2 for n, size in zip(self.sizes, sizes, strict=True)]
        return largest * math.sqrt(sum(shares) / max(1, sum(self.sizes)))

    def check_targets(self, targets: Targets) -> None:
        check_undivided(targets)
        if targets.task_of is None:
            raise ValueError(
                f"labels: a matrix of shape {tuple(targets.shape)} does not fit "
                f"{len(self.X)} feature matrices; give one label vector a task."
            )
        sizes = torch.bincount(targets.task_of, minlength=targets.n_tasks).tolist()
        if sizes != self.sizes:
            pairs = list(itertools.zip_longest(sizes, self.sizes))
            m = next(m for m, (labels, samples) in enumerate(pairs) if labels != samples)
            raise ValueError(
                f"labels: {len(sizes)} tasks for {len(self.sizes)} feature matrices; task {m} has "
                f"{pairs[m][0]} labels for {pairs[m][1]} samples."
            )

    def take(self, entries: Tensor) -> TaskDesign:
        ends = torch.tensor(self.sizes, device=entries.device).cumsum(0)
        cuts = [0, *torch.searchsorted(entries, ends).tolist()]
        starts = [0, *ends.tolist()]
        index = [entries[a:b] - start for a, b, start in zip(cuts, cuts[1:], starts, strict=False)]
        return self._part([X[consecutive(i)] for X, i in zip(self.X, index, strict=True)])

    def narrowed(self, features: Tensor) -> TaskDesign:
        run = consecutive(features)
        return self._part([X[:, run] for X in self.X])

    def _part(self, X: list[Tensor]) -> TaskDesign:
        part = self._copy()
        part._curvature, part.curvature_passes = {}, 0.0  # noqa: SLF001 - of the same class
        part.X, part.sizes = X, [len(features) for features in X]
        return part

    def times(self, L: Tensor) -> Design:
        product = TaskDesign([X.to(L.dtype) @ L for X in self.X], intercept=self.intercept)
        return product.with_unit(self.unit)

    def samples(self, task: int, entries: Tensor) -> Tensor:
        return self.X[task][entries].to(torch.float64)

    @property
    def has_samples(self) -> bool:
        return True

    def moments(self, weights: Tensor | None = None) -> Moments:
        return column_moments(self.X, weights)

    def moved(self, means: Tensor) -> tuple[Design, Tensor] | None:
        if not may_be_copied(*self.X):
            return None
        origins = means.T.to(self.X[0].dtype)
        parts = [X - origin for X, origin in zip(self.X, origins, strict=True)]
        part = TaskDesign(parts, intercept=self.intercept)
        return part.with_unit(self.unit), origins.T.to(means)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        return self._curvatures(targets, None)

    def centred_curvature_by_task(self, targets: Targets, means: Tensor) -> Tensor:
        return self._curvatures(targets, means)

    def _curvatures(self, targets: Targets, means: Tensor | None) -> Tensor:
        known = self._curvature.get(means is not None)
        if known is None or not (known[0] is targets.weights and _same(known[1], means)):
            weights = torch.split(targets.weights, self.sizes)
            centres = [None] * len(self.X) if means is None else means.T
            # M products with one vector, one for each X_m, cost as much as one full product
            most, made, found = self.curvature_left * len(self.X), 0, []
            for X, c, centre in zip(self.X, weights, centres, strict=True):
                try:
                    value, products = largest_curvature(X, c, centre=centre, most=most - made)
                except TooManyProductsError as error:
                    self.curvature_passes += (made + error.products) / len(self.X)
                    parts = zip(self.X, weights, centres, strict=True)
                    bounds = [trace(*part) for part in parts]
                    return torch.tensor(bounds, dtype=torch.float64, device=self.device)
                found.append(value)
                made += products
            values = torch.tensor(found, dtype=torch.float64, device=self.device)
            known = self._curvature[means is not None] = (targets.weights, means, values)
            self.curvature_passes += made / len(self.X)
        return known[2]


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)
