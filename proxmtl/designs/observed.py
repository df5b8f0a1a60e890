"""Scores of some pairs of a sample and a task, for tables of labels that are mostly empty."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design, ResidualsOf
from proxmtl.designs.checks import check_undivided
from proxmtl.designs.shared import SharedDesign
from proxmtl.designs.streamed import StreamedDesign
from proxmtl.kernels import SampledEntries, sampled_adjoint, sampled_product
from proxmtl.numerics import Moments
from proxmtl.targets import Targets

__all__ = ["ObservedDesign"]

CACHED = 1 << 19
"""Numbers in a block of features, whose rows the labels of a task read in any order: 2 MiB of
float32, which stay in a core's second cache."""
REUSED = 8
"""Labels of a block for each task: with fewer, the weights of the tasks, which are read once a
block, take longer than the features. Blocks are larger then."""


class Block(NamedTuple):
    """Rows of the features, and the labels there."""

    features: Tensor
    here: slice
    """Place of the labels among all."""
    entries: SampledEntries


class ObservedDesign(Design):
    """Scores of those pairs (i, m) of a sample and a task that have a label.

    Label e of the pair (i, m) has the score ``z_e = x_i . w_m (+ b_m)``. A product takes ``2 D``
    operations for each of E pairs, and not for all N M; scores, labels and weights have the shape
    (E,). Samples without labels and tasks with few are no matter. Where most labels are observed,
    the products of matrices of a :class:`SharedDesign` are faster.

    Parameters
    ----------
    base : SharedDesign or StreamedDesign
        Dense features of the N samples, with or without an intercept.
    rows, tasks : Tensor, shape (E,), int64
        Sample and task of each label, in the order of the scores: rows ascend.
    n_tasks : int
        Number of tasks M.

    Raises
    ------
    ValueError
        If the features are sparse or of another design, there is no label, or rows and tasks do not
        ascend or lie outside.

    Notes
    -----
    Features are read in blocks of rows, and a block's labels task by task: weights and sums of a
    task then stay in the nearest cache, and rows in the next. Blocks of a :class:`StreamedDesign`
    take at most its ``memory``. Sums over the labels of a block are made in the precision of the
    computation, sums over blocks in float64.

    Curvatures are bounded by the trace of each task's own Gram matrix and by the largest eigenvalue
    over all samples, whichever is less.
    """

    def __init__(self, base: Design, rows: Tensor, tasks: Tensor, n_tasks: int) -> None:
        if not isinstance(base, SharedDesign | StreamedDesign):
            raise ValueError(
                f"X: a {type(base).__name__} has no features that all tasks share; for labels of "
                "single samples give a SharedDesign or a StreamedDesign."
            )
        if isinstance(base, SharedDesign) and base.transpose is not None:
            raise ValueError(
                "X: is sparse, and so are the labels; give dense features (X.toarray()), or dense "
                "labels with NaN for missing."
            )
        _check_pairs(rows, tasks, base.n_samples, n_tasks)
        self.base, self.sample_of, self.task_of, self.n_tasks = base, rows, tasks, n_tasks
        self.intercept, self.unit, self.share = base.intercept, base.unit, base.share
        self.dtype, self.device = base.dtype, base.device
        self.n_samples, self.n_features = base.n_samples, base.n_features
        self._block_rows = self._rows_of_a_block()

    @property
    def rows(self) -> Tensor:
        """Sample of each label, (E,)."""
        assert self.sample_of is not None
        return self.sample_of

    def _rows_of_a_block(self) -> int:
        N, E = self.n_samples, len(self.rows)
        rows = max(CACHED // self.n_features, REUSED * self.n_tasks * N // E, 1)
        if isinstance(self.base, StreamedDesign):
            rows = min(max(rows, self.base.blocks.rows), self.base.blocks.most_rows)
        return min(rows, N)

    def _on(self, base: Design) -> ObservedDesign:
        """Return the design of other features of the same samples."""
        part = self._copy()
        for name in ("_squares",):
            part.__dict__.pop(name, None)
        assert isinstance(base, SharedDesign | StreamedDesign)
        part.base, part.unit, part.share = base, base.unit, base.share
        part.dtype, part.n_features = base.dtype, base.n_features
        part.curvature_passes = 0.0
        return part

    # ------------------------------------------------------------------ products

    @cached_property
    def _bounds(self) -> list[int]:
        """First label of each block of rows, and E."""
        edges = torch.arange(0, self.n_samples + self._block_rows, self._block_rows)
        return torch.searchsorted(self.rows.cpu(), edges).tolist()

    @cached_property
    def _entries(self) -> list[SampledEntries]:
        """Places of the labels in each block of rows."""
        found = []
        for number, (start, stop) in enumerate(zip(self._bounds, self._bounds[1:], strict=False)):
            rows = self.rows[start:stop] - number * self._block_rows
            found.append(SampledEntries.of(rows, self.task_of[start:stop]))
        return found

    @contextmanager
    def _blocks(self, dtype: torch.dtype) -> Iterator[Iterator[Block]]:
        """Context in which to go over the features, in a precision, and their labels."""
        with self.base.feature_blocks(self._block_rows) as blocks:
            yield self._labelled(blocks, dtype)

    def _labelled(
        self, blocks: Iterator[tuple[slice, Tensor]], dtype: torch.dtype
    ) -> Iterator[Block]:
        bounds = self._bounds
        for number, (_, features) in enumerate(blocks):
            here = slice(bounds[number], bounds[number + 1])
            if here.start < here.stop:
                yield Block(features.to(dtype), here, self._entries[number])

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:  # noqa: ARG002
        return self.n_features + int(self.intercept), self.n_tasks

    def scores(self, W: Tensor) -> Tensor:
        weights, bias = self.split(W)
        out = _product(weights, self)
        return out if bias is None else out.add_(bias[self.task_of], alpha=self.unit)

    def adjoint(self, residuals: Tensor) -> Tensor:
        out = _product(residuals, self, transpose=True)
        if not self.intercept:
            return out
        sums = residuals.new_zeros(self.n_tasks, dtype=torch.float64)
        sums = sums.index_add(0, self.task_of, residuals.to(torch.float64))
        return self.join(out, self.unit * sums.to(out.dtype))

    def sweeps(self, dtype: torch.dtype) -> bool:  # noqa: ARG002
        return True

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        if torch.is_grad_enabled() and W.requires_grad:
            return super().sweep(W, residuals_of)
        with torch.no_grad():
            return self._swept(W, residuals_of)

    def _swept(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        weights, bias = self.split(W)
        columns = weights.T.contiguous()
        scores = W.new_empty(len(self.rows))
        totals: list[Tensor] = []
        sums: list[Tensor] = []
        with self._blocks(W.dtype) as blocks:
            for features, here, entries in blocks:
                z = scores[here]
                z.copy_(sampled_product(features, columns, entries, checked=True))
                tasks = self.task_of[here]
                if bias is not None:
                    z.add_(bias[tasks], alpha=self.unit)
                for number, residuals in enumerate(residuals_of(here, z)):
                    if number == len(totals):
                        totals.append(torch.zeros_like(columns, dtype=torch.float64))
                        sums.append(totals[-1].new_zeros(self.n_tasks))
                    sampled_adjoint(features, residuals, entries, totals[number], checked=True)
                    sums[number].index_add_(0, tasks, residuals.to(torch.float64))
        return scores, tuple(
            self.join(total.T, self.unit * own if self.intercept else None).to(W.dtype).contiguous()
            for total, own in zip(totals, sums, strict=True)
        )

    def normal_product(self, V: Tensor, weights: Tensor) -> Tensor:
        return self.sweep(V, lambda here, z: (z * weights[here],))[1][0]

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:
        # in memory, two products take as long as both at once
        return isinstance(self.base, StreamedDesign) and self.base.reads_once(data, columns, dtype)

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values: list[Tensor] = []

        def residuals_of(here: slice, scores: Tensor) -> tuple[Tensor]:
            value, residuals = data.take(here, scores.dtype).value_and_gradient(scores)
            values.append(value)
            return (residuals,)

        scores, (grad,) = self.sweep(W, residuals_of)
        return scores, torch.stack(values).sum(dtype=torch.float64).to(W.dtype), grad

    # ------------------------------------------------------------------ parts

    def of_samples(self, targets: Targets) -> tuple[Design, Tensor, float]:
        sums = targets.weights.new_zeros(self.n_samples, dtype=torch.float64)
        sums.index_add_(0, self.rows, targets.weights.to(torch.float64))
        weights = (sums / self.n_tasks).to(targets.weights.dtype)[:, None]
        return self.base, weights, self.share * self.n_samples / len(self.rows)

    def with_unit(self, unit: float) -> Design:
        other = super().with_unit(unit)
        assert isinstance(other, ObservedDesign)
        other.base = self.base.with_unit(unit)  # type: ignore[assignment]
        return other

    def take(self, entries: Tensor) -> ObservedDesign:
        samples, rows = torch.unique_consecutive(self.rows[entries], return_inverse=True)
        part = ObservedDesign(self.base.take(samples), rows, self.task_of[entries], self.n_tasks)
        part.share = self.share
        return part

    def narrowed(self, features: Tensor) -> ObservedDesign:
        return self._on(self.base.narrowed(features))

    def times(self, L: Tensor) -> ObservedDesign:
        return self._on(self.base.times(L))

    def samples(self, task: int, entries: Tensor) -> Tensor:
        own = self.rows[self.task_of == task]
        return self.base.samples(task, own[entries])

    @property
    def has_samples(self) -> bool:
        return self.base.has_samples

    def moved(self, means: Tensor) -> tuple[Design, Tensor] | None:
        found = self.base.moved(means)
        return None if found is None else (self._on(found[0]), found[1])

    # ------------------------------------------------------------------ what is known of X

    def check_targets(self, targets: Targets) -> None:
        check_undivided(targets)
        fits = targets.task_of is not None and targets.n_tasks == self.n_tasks
        if not fits or not torch.equal(targets.task_of, self.task_of):  # type: ignore[arg-type]
            raise ValueError(
                f"labels: of shape {tuple(targets.shape)} and {targets.n_tasks} tasks are "
                f"not those of the {len(self.rows)} pairs of {self.n_tasks} tasks that the design "
                "has; make both from one sparse matrix, by Problem.of."
            )

    def figure(self) -> float | None:
        found = self.base.known_figure
        if found is None:
            return None
        place = torch.arange(1, len(self.rows) + 1, device=self.device).to(torch.float64).sqrt()
        pairs = (self.rows * self.n_tasks + self.task_of + 1).to(torch.float64)
        return found * (1 + float(pairs @ place) / float(pairs.norm() * place.norm()))

    def magnitude(self) -> float:
        return self.base.known_magnitude

    def moments(self, weights: Tensor | None = None) -> Moments:
        return self.base.moments(weights)

    @cached_property
    def _squares(self) -> Tensor:
        """Squared norm of each sample, float64."""
        with self.base.feature_blocks(self._block_rows) as blocks:
            norms = [X.to(torch.float64).square().sum(1) for _, X in blocks]
        return torch.cat(norms)

    def curvature_by_task(self, targets: Targets) -> Tensor:
        weights = targets.weights.to(torch.float64)
        heaviest = weights.new_zeros(self.n_tasks)
        heaviest.scatter_reduce_(0, self.task_of, weights, "amax")
        # of all samples, each with the largest weight of a task's labels
        ones = torch.ones_like(heaviest)[None]
        base = self.base
        before, base.curvature_left = base.curvature_passes, self.curvature_left
        bound = base.curvature_by_task(Targets(ones, heaviest[None], self.n_tasks))
        base.curvature_left = math.inf
        self.curvature_passes += base.curvature_passes - before
        own = torch.zeros_like(heaviest)
        own.index_add_(0, self.task_of, weights * self._squares[self.rows])
        rounding = (len(self.rows) + self.n_features + 4) * torch.finfo(own.dtype).eps
        return torch.minimum(bound, own * (1 + rounding))


def _check_pairs(rows: Tensor, tasks: Tensor, n_samples: int, n_tasks: int) -> None:
    """Raise ``ValueError`` unless pairs ascend by row, lie in the table, and are at least one."""
    if rows.ndim != 1 or rows.shape != tasks.shape or not len(rows):
        raise ValueError(
            f"rows, tasks: have shapes {tuple(rows.shape)} and {tuple(tasks.shape)}; give one of "
            "each for every label, and at least one label."
        )
    for name, index, end in (("rows", rows, n_samples), ("tasks", tasks, n_tasks)):
        if not 0 <= int(index.min()) <= int(index.max()) < end:
            raise ValueError(
                f"{name}: from {int(index.min())} to {int(index.max())}; there are {end}, counted "
                "from 0."
            )
    if bool((rows.diff() < 0).any()):
        raise ValueError("rows: do not ascend; sort the labels by their samples.")


def _product(factor: Tensor, design: ObservedDesign, *, transpose: bool = False) -> Tensor:
    """Scores of weights (D, M), or the adjoint of residuals (E,), differentiable in the factor."""
    found: Tensor = _Product.apply(factor, design, transpose)  # type: ignore[no-untyped-call]
    return found


class _Product(torch.autograd.Function):
    """Sampled product, or its adjoint; linear, so that its derivative is the other one."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, design: ObservedDesign, transpose: bool) -> Tensor:
        ctx.design, ctx.transpose = design, transpose
        with design._blocks(factor.dtype) as blocks:  # noqa: SLF001 - of this module
            if transpose:
                shape = design.n_tasks, design.n_features
                total = factor.new_zeros(shape, dtype=torch.float64)
                for features, here, entries in blocks:
                    sampled_adjoint(features, factor[here], entries, total, checked=True)
                return total.T.to(factor.dtype).contiguous()
            columns, out = factor.T.contiguous(), factor.new_empty(len(design.rows))
            for features, here, entries in blocks:
                out[here] = sampled_product(features, columns, entries, checked=True)
            return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _product(grad, ctx.design, transpose=not ctx.transpose), None, None
