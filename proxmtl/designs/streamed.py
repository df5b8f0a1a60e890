"""Shared features that are read block by block, from disk or from anything that gives rows."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design, ResidualsOf
from proxmtl.designs.checks import check_undivided
from proxmtl.designs.products import forward, largest_eigenvalue, swept, transposed
from proxmtl.designs.row_blocks import RowBlocks
from proxmtl.designs.shared import SharedDesign
from proxmtl.numerics import Moments, column_moments
from proxmtl.row_sources import MEMORY, RowSource
from proxmtl.targets import Targets

__all__ = ["StreamedDesign"]

CONVERTED = 1 << 20
"""Entries that are converted to float64 at a time."""


class StreamedDesign(Design):
    """Scores ``Z = X W (+ b)`` of shared features that need not fit into memory.

    Features are read in blocks of rows; the next blocks are read by a thread while one is computed
    with. A gradient, a certificate and, in solvers that look a step ahead, an iteration read them
    once. What is kept has the size of the scores (N, M) and of the parameter.

    Parameters
    ----------
    X : matrix (N, D), or sequence of matrices (N_i, D)
        Arrays, memory maps or files (:func:`proxmtl.io.open_shards`), their rows end to end; of
        float16, float32 or float64.
    intercept : bool
        Add an unpenalised intercept, the parameter's last row.
    memory : int
        Bytes that features may take, beside scores and parameters; the default is 256 MiB.
    device : torch.device or str
        Where the products are computed, and where labels and parameters are; blocks are read into
        pinned memory and copied there, each while the one before is computed with.
    checked : bool
        Whether the values are known to be finite; nothing is read before the first product then.

    Raises
    ------
    ValueError
        If the matrices are empty or differ in type or width, a value is not finite (the first read
        is made here, unless they are ``checked``), or ``memory`` has no room for a row.

    Notes
    -----
    An iteration of ``FISTA``, ``MFISTA``, ``PGD`` or ``AdPGM`` reads the features about once, one
    of ``LBFGS`` once or twice, one of ``NewtonCholesky`` three times, an epoch of ``ProxSVRG``
    twice. Derivatives by autograd read them again. The largest curvature comes from a Gram matrix
    where ``memory`` has room for one, and else is bounded by the trace.
    """

    def __init__(
        self,
        X: RowSource | Sequence[RowSource],
        *,
        intercept: bool = False,
        memory: int = MEMORY,
        device: torch.device | str = "cpu",
        checked: bool = False,
    ) -> None:
        # with its number: labels that are made on "cuda" say "cuda:0"
        self.device = torch.empty(0, device=device).device
        self.blocks = RowBlocks(X, memory, self.device)
        self.n_samples, self.n_features = self.blocks.shape
        self.intercept, self.memory = intercept, memory
        self.dtype = torch.promote_types(self.blocks.dtype, torch.float32)
        self._curvature: list[float] = []
        if not checked:
            _ = self._first_read

    @cached_property
    def _first_read(self) -> tuple[float, float]:
        """Size and figure of the features; raises unless all values are finite."""
        kind: Any = {"dtype": torch.float64, "device": self.device}
        squares, figure = 0.0, torch.zeros(self.n_features, **kind)
        with closing(self._converted()) as parts:
            for first, wide in parts:
                place = torch.arange(first + 1, first + 1 + len(wide), **kind).sqrt()
                figure += place @ wide
                squares = math.hypot(squares, float(torch.linalg.vector_norm(wide)))
                if not math.isfinite(squares) and not bool(wide.isfinite().all()):
                    row, column = torch.nonzero(~wide.isfinite())[0].tolist()
                    raise ValueError(
                        f"X: not finite ({wide[row, column].item()}, first in "
                        f"{self.blocks.source.place(first + row)}, feature column {column}); drop "
                        "or impute such samples."
                    )
        return squares / math.sqrt(self.n_samples * self.n_features), float(figure.norm())

    def _converted(self) -> Generator[tuple[int, Tensor]]:
        """Rows in float64, a part of a block at a time, with the number of their first row."""
        with self.blocks.opened() as blocks:
            for rows, block in blocks:
                first = rows.start
                for part in torch.split(block, max(1, CONVERTED // self.n_features)):
                    yield first, part.to(torch.float64)
                    first += len(part)

    # ------------------------------------------------------------------ products

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.n_features + int(self.intercept), targets.n_tasks

    def scores(self, W: Tensor) -> Tensor:
        weights, bias = self.split(W)
        out = _product(weights, self)
        return out if bias is None else out.add_(bias, alpha=self.unit)

    def times(self, L: Tensor) -> Design:
        return SharedDesign(_product(L, self), intercept=self.intercept).with_unit(self.unit)

    def adjoint(self, residuals: Tensor) -> Tensor:
        out = _product(residuals, self, transpose=True)
        return self.join(out, self.unit * residuals.sum(0) if self.intercept else None)

    def sweeps(self, dtype: torch.dtype) -> bool:  # noqa: ARG002
        return True

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        scores = W.new_empty(self.n_samples, W.shape[1])

        def kept(rows: slice, z: Tensor) -> tuple[Tensor, ...]:
            scores[rows] = z
            return residuals_of(rows, z)

        if torch.is_grad_enabled() and W.requires_grad:
            return super().sweep(W, residuals_of)
        return scores, self._swept(W, kept)

    @torch.no_grad()
    def _swept(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, ...]:
        """Adjoints of a :meth:`sweep`, which keeps nothing of the length of the samples."""
        weights, bias = self.split(W)
        # blocks are added in float64, since they may be many
        total, sums = W.new_zeros(0, dtype=torch.float64), W.new_zeros(0, dtype=torch.float64)
        with self.blocks.opened() as blocks:
            for rows, block in blocks:

                def joined(part: slice, z: Tensor, first: int = rows.start) -> Tensor:
                    nonlocal sums
                    if bias is not None:
                        z.add_(bias, alpha=self.unit)
                    here = slice(first + part.start, first + part.stop)
                    residuals = torch.cat(residuals_of(here, z), dim=1)
                    own = residuals.sum(0, dtype=torch.float64)
                    sums = sums + own if len(sums) else own
                    return residuals

                grad = swept(block, weights, joined)[1]
                total = total.add_(grad) if len(total) else grad.to(torch.float64)
        whole = self.join(total, self.unit * sums if self.intercept else None).to(W.dtype)
        return torch.split(whole, W.shape[1], dim=1)

    def normal_product(self, V: Tensor, weights: Tensor) -> Tensor:
        return self._swept(V, lambda rows, z: (z.mul_(weights[rows]),))[0]

    def reads_once(self, data: DataTerm, columns: int, dtype: torch.dtype) -> bool:  # noqa: ARG002
        return True

    def evaluate(self, data: DataTerm, W: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values: list[Tensor] = []

        def residuals_of(rows: slice, scores: Tensor) -> tuple[Tensor]:
            value, residuals = data.take(rows, scores.dtype).value_and_gradient(scores)
            values.append(value)
            return (residuals,)

        scores, (grad,) = self.sweep(W, residuals_of)
        return scores, torch.stack(values).sum(dtype=torch.float64).to(W.dtype), grad

    # ------------------------------------------------------------------ rows and batches

    def feature_blocks(
        self, rows: int | None = None
    ) -> AbstractContextManager[Iterator[tuple[slice, Tensor]]]:
        """Context in which to go over blocks of rows of the features: :meth:`RowBlocks.opened`."""
        return self.blocks.opened(rows=rows)

    def windows(self, generator: torch.Generator) -> Generator[tuple[slice, Design]]:
        rows = min(self.blocks.most_rows, self.n_samples)
        order = torch.randperm(-(-self.n_samples // rows), generator=generator).tolist()
        with self.blocks.opened(rows=rows, order=order) as blocks:
            for place, block in blocks:
                yield place, self._shared(block)

    def _shared(self, block: Tensor) -> Design:
        return SharedDesign.of_checked(block, intercept=self.intercept).with_unit(self.unit)

    def take(self, entries: Tensor) -> Design:
        if len(entries) == self.n_samples:
            return self
        part = StreamedDesign(
            self.blocks.source.take(entries.cpu().numpy()),
            intercept=self.intercept,
            memory=self.memory,
            device=self.device,
            checked=True,
        )
        return part.with_unit(self.unit)

    def samples(self, task: int, entries: Tensor) -> Tensor:  # noqa: ARG002
        rows = torch.from_numpy(self.blocks.source[entries.cpu().numpy()])
        return rows.to(self.device, torch.float64)

    # ------------------------------------------------------------------ what is known of X

    def check_targets(self, targets: Targets) -> None:
        check_undivided(targets)
        if targets.task_of is not None or targets.shape[0] != self.n_samples:
            raise ValueError(
                f"labels: of shape {tuple(targets.shape)} do not fit features of "
                f"{self.n_samples} samples; give a matrix (samples, tasks) with one row a sample."
            )

    def figure(self) -> float:
        return self._first_read[1]

    def magnitude(self) -> float:
        return self._first_read[0]

    def moments(self, weights: Tensor | None = None) -> Moments:
        found = column_moments(self.blocks.source, weights)
        return Moments(*(each.to(self.device) for each in found))

    def curvature_by_task(self, targets: Targets) -> Tensor:
        heaviest = targets.heaviest()
        D = self.n_features
        if not self._curvature:
            if self.memory / 2 < 8 * D * D or self.curvature_left < D / (2 * targets.n_tasks):
                entries = self.n_samples * D
                rounding = 1 + (entries + 4) * torch.finfo(torch.float64).eps
                return heaviest * (entries * self._first_read[0] ** 2 * rounding)
            gram = torch.zeros(D, D, dtype=torch.float64, device=self.device)
            with closing(self._converted()) as parts:
                for _, wide in parts:
                    gram.addmm_(wide.T, wide)
            self._curvature.append(largest_eigenvalue(gram, self.n_samples))
            self.curvature_passes += D / (2 * targets.n_tasks)
        return heaviest * self._curvature[0]


def _product(factor: Tensor, design: StreamedDesign, *, transpose: bool = False) -> Tensor:
    """``X L``, or ``X' R``, differentiable in the factor."""
    found: Tensor = _Product.apply(factor, design, transpose)  # type: ignore[no-untyped-call]
    return found


class _Product(torch.autograd.Function):
    """``X L``, or ``X' R``; linear, so that its derivative is the other one, by another read."""

    @staticmethod
    def forward(ctx: Any, factor: Tensor, design: StreamedDesign, transpose: bool) -> Tensor:
        ctx.design, ctx.transpose = design, transpose
        if transpose:
            total = factor.new_zeros(design.n_features, factor.shape[1], dtype=torch.float64)
            with design.blocks.opened() as blocks:
                for rows, block in blocks:
                    total += transposed(block, factor[rows])
            return total.to(factor.dtype)
        out = factor.new_empty(design.n_samples, factor.shape[1])
        with design.blocks.opened() as blocks:
            for rows, block in blocks:
                out[rows] = forward(block, factor)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _product(grad, ctx.design, transpose=not ctx.transpose), None, None
