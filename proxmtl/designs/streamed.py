"""Shared features that are read block by block, from disk or from anything that gives rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from proxmtl.data_term import DataTerm
from proxmtl.designs.base import Design, ResidualsOf
from proxmtl.designs.products import forward, largest_eigenvalue, swept, transposed
from proxmtl.designs.shared import SharedDesign
from proxmtl.numerics import Moments, column_moments
from proxmtl.row_sources import COPIES, MEMORY, FeatureRows, JoinedRows, RowSource, as_rows
from proxmtl.targets import Targets

__all__ = ["StreamedDesign"]

CONVERTED = 1 << 20
"""Entries that are converted to float64 at a time."""
DTYPES = {np.dtype(name): getattr(torch, name) for name in ("float16", "float32", "float64")}


class StreamedDesign(Design):
    """Scores ``Z = X W (+ b)`` of shared features that need not fit into memory.

    Features are read in blocks of rows; the next block is read by a thread while this one is
    computed with. A gradient, a certificate and, in solvers that look a step ahead, an iteration
    read them once. What is kept has the size of the scores (N, M) and of the parameter.

    Parameters
    ----------
    X : matrix (N, D), or sequence of matrices (N_i, D)
        Arrays, memory maps or files (:func:`proxmtl.io.open_shards`), their rows end to end; of
        float16, float32 or float64.
    intercept : bool
        Add an unpenalised intercept, the parameter's last row.
    memory : int
        Bytes that a pass may take for features, beside scores and parameters; the default is 256
        MiB.
    checked : bool
        Whether the values are known to be finite; nothing is read before the first product then.

    Raises
    ------
    ValueError
        If the matrices are empty or differ in type or width, a value is not finite (the first read
        is made here, unless they are ``checked``), or ``memory`` has no room for a row.

    Notes
    -----
    Solvers that need features by themselves (``NewtonCholesky``, ``LBFGS``, ``ProxSVRG``, working
    sets) do not take it, or do without. The largest curvature comes from a Gram matrix where
    ``memory`` has room for one, and else is bounded by the trace.
    """

    def __init__(
        self,
        X: RowSource | Sequence[RowSource],
        *,
        intercept: bool = False,
        memory: int = MEMORY,
        checked: bool = False,
    ) -> None:
        self.parts: list[RowSource] = list(X) if isinstance(X, (list, tuple)) else [X]  # type: ignore[list-item]
        self._check_parts()
        self.n_features = int(self.parts[0].shape[1])
        self.n_samples = sum(len(part) for part in self.parts)
        self.intercept, self.memory = intercept, memory
        self.dtype = torch.promote_types(DTYPES[np.dtype(self.parts[0].dtype)], torch.float32)
        self.device = torch.device("cpu")
        size = COPIES * self.n_features * np.dtype(self.parts[0].dtype).itemsize
        self.block_rows = min(memory // size, max(len(part) for part in self.parts))
        if self.block_rows < 1:
            raise ValueError(f"memory: got {memory:,} bytes; a row takes {size:,} with its copies.")
        self._curvature: list[float] = []
        self._known: list[tuple[float, float]] = []
        if not checked:
            self._survey()

    def _check_parts(self) -> None:
        if not self.parts:
            raise ValueError("X: no part; give a matrix, or the parts of one.")
        kinds = {(tuple(part.shape[1:]), str(part.dtype)) for part in self.parts}
        if len(kinds) > 1 or any(len(part.shape) != 2 or 0 in part.shape for part in self.parts):
            seen = [tuple(part.shape) for part in self.parts][:4]
            raise ValueError(
                f"X: expected matrices (samples, features) of one width and one type, saw shapes "
                f"{seen}, types {sorted(kind for _, kind in kinds)}."
            )
        if np.dtype(self.parts[0].dtype) not in DTYPES:
            raise ValueError(
                f"X: has type {self.parts[0].dtype}; give float16, float32 or float64."
            )

    def _survey(self) -> tuple[float, float]:
        """Root mean square and figure of the features, from one read, which checks the values."""
        if self._known:
            return self._known[0]
        squares, figure = 0.0, torch.zeros(self.n_features, dtype=torch.float64)
        for rows, block in self._blocks():
            first = rows.start
            for part in torch.split(block, max(1, CONVERTED // self.n_features)):
                wide = part.to(torch.float64)
                place = torch.arange(first + 1, first + 1 + len(part), dtype=torch.float64).sqrt()
                figure += place @ wide
                squares = math.hypot(squares, float(torch.linalg.vector_norm(wide)))
                if not math.isfinite(squares) and not bool(wide.isfinite().all()):
                    row, column = torch.nonzero(~wide.isfinite())[0].tolist()
                    raise ValueError(
                        f"X: not finite ({wide[row, column].item()}, first in "
                        f"{JoinedRows(self.parts).place(first + row)}, feature column {column}); "
                        "drop or impute such samples."
                    )
                first += len(part)
        size = squares / math.sqrt(self.n_samples * self.n_features)
        self._known.append((size, float(figure.norm())))
        return self._known[0]

    # ------------------------------------------------------------------ reading

    def _blocks(self, *, kept: bool = False) -> Iterator[tuple[slice, Tensor]]:
        """Blocks of rows in their order; the next one is read while this one is in use.

        A block is overwritten by the next but one, unless it is to be kept, as autograd asks for.
        """
        places: list[tuple[RowSource, int, int, int]] = []
        first = 0
        for part in self.parts:
            for start in range(0, len(part), self.block_rows):
                stop = min(start + self.block_rows, len(part))
                places.append((part, start, stop, first + start))
            first += len(part)

        # two buffers, of which one is read into while the other is in use
        dtype = np.dtype(self.parts[0].dtype)
        buffers = [np.empty((self.block_rows, self.n_features), dtype) for _ in range(2)]

        def read(
            turn: int, part: RowSource, start: int, stop: int, at: int
        ) -> tuple[slice, Tensor]:
            block = buffers[turn % 2][: stop - start]
            block = np.empty_like(block) if kept else block
            if hasattr(part, "read_into"):
                part.read_into(start, block)
            else:
                np.copyto(block, part[start:stop])
            return slice(at, at + stop - start), torch.from_numpy(block)

        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(read, 0, *places[0])
            for turn in range(1, len(places) + 1):
                rows, block = ahead.result()
                if turn < len(places):
                    ahead = reader.submit(read, turn, *places[turn])
                yield rows, block

    # ------------------------------------------------------------------ products

    def parameter_shape(self, targets: Targets) -> tuple[int, int]:
        return self.n_features + int(self.intercept), targets.n_tasks

    def scores(self, W: Tensor) -> Tensor:
        weights, bias = self.split(W)
        out = self._times(weights)
        return out if bias is None else out.add_(bias, alpha=self.unit)

    def _times(self, L: Tensor) -> Tensor:
        out = L.new_empty(self.n_samples, L.shape[1])
        for rows, block in self._blocks(kept=L.requires_grad):
            out[rows] = forward(block, L)
        return out

    def times(self, L: Tensor) -> Design:
        return SharedDesign(self._times(L), intercept=self.intercept).with_unit(self.unit)

    def adjoint(self, residuals: Tensor) -> Tensor:
        out = residuals.new_zeros(self.n_features, residuals.shape[1])
        for rows, block in self._blocks(kept=residuals.requires_grad):
            out += transposed(block, residuals[rows])
        return self.join(out, self.unit * residuals.sum(0) if self.intercept else None)

    def sweeps(self, dtype: torch.dtype) -> bool:  # noqa: ARG002
        return True

    def sweep(self, W: Tensor, residuals_of: ResidualsOf) -> tuple[Tensor, tuple[Tensor, ...]]:
        weights, bias = self.split(W)
        scores = W.new_empty(self.n_samples, W.shape[1])
        grads: list[Tensor] = []
        sums: list[Tensor] = []
        for rows, block in self._blocks(kept=W.requires_grad):

            def joined(part: slice, z: Tensor, first: int = rows.start) -> Tensor:
                if bias is not None:
                    z.add_(bias, alpha=self.unit)
                here = slice(first + part.start, first + part.stop)
                residuals = torch.cat(residuals_of(here, z), dim=1)
                sums.append(residuals.sum(0))
                return residuals

            scores[rows], grad = swept(block, weights, joined)
            grads = [grad if not grads else grads[0].add_(grad)]
        whole = grads[0]
        if self.intercept:
            whole = self.join(whole, self.unit * torch.stack(sums).sum(0))
        return scores, torch.split(whole, W.shape[1], dim=1)

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

    # ------------------------------------------------------------------ what is known of X

    def check_targets(self, targets: Targets) -> None:
        if targets.task_of is not None or targets.labels.shape[0] != self.n_samples:
            raise ValueError(
                f"labels: of shape {tuple(targets.labels.shape)} do not fit features of "
                f"{self.n_samples} samples; give a matrix (samples, tasks) with one row a sample."
            )

    def figure(self) -> float:
        return self._survey()[1]

    def magnitude(self) -> float:
        return self._survey()[0]

    def moments(self, weights: Tensor | None = None) -> Moments:
        return column_moments(self.parts, weights)

    def take(self, entries: Tensor) -> Design:
        if len(entries) == self.n_samples:
            return self
        part = self._copy()
        part.parts, part.n_samples = [self._taken(entries)], len(entries)
        part._curvature, part._known = [], []  # noqa: SLF001
        return part

    def samples(self, task: int, entries: Tensor) -> Tensor:  # noqa: ARG002
        return torch.from_numpy(self._taken(entries)[:]).to(torch.float64)

    def _taken(self, entries: Tensor) -> FeatureRows:
        whole = as_rows(self.parts[0]) if len(self.parts) == 1 else JoinedRows(self.parts)
        return whole.take(entries.numpy())

    def curvature_by_task(self, targets: Targets) -> Tensor:
        heaviest = targets.weights.to(torch.float64).amax(0)
        D = self.n_features
        if not self._curvature:
            if self.memory / 2 < 8 * D * D or self.curvature_left < D / (2 * targets.n_tasks):
                entries = self.n_samples * D
                rounding = 1 + (entries + 4) * torch.finfo(torch.float64).eps
                return heaviest * (entries * self._survey()[0] ** 2 * rounding)
            gram = torch.zeros(D, D, dtype=torch.float64)
            for _, block in self._blocks():
                for part in torch.split(block, max(1, CONVERTED // D)):
                    wide = part.to(torch.float64)
                    gram.addmm_(wide.T, wide)
            self._curvature.append(largest_eigenvalue(gram, self.n_samples))
            self.curvature_passes += D / (2 * targets.n_tasks)
        return heaviest * self._curvature[0]
