"""Numerically stable sums: moments of columns, inner products over samples, norms.

They stay accurate for means far from zero, entries near the limits of the floating-point range,
narrow dtypes and very many rows. All means and standard deviations over samples come from here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from proxmtl.kernels.ranges import norms_in_range

__all__ = [
    "BLOCK_ELEMENTS",
    "FAR",
    "ROUNDING",
    "Moments",
    "column_moments",
    "dot",
    "nearest_unit",
    "norm",
    "row_blocks",
    "unit_of",
]

BLOCK_ELEMENTS = 1 << 20
"""Rows are converted to float64 in blocks of at most this many numbers, 8 MiB."""

PIECE_ELEMENTS = 1 << 17
"""Sums over labels go by blocks of at most this many, 1 MiB of float64."""

SAFE = (1e-140, 1e140)
"""Deviations in this range have squares whose sum neither overflows nor loses digits."""

ROUNDING = 4 * torch.finfo(torch.float64).eps
"""Entries of a column whose relative difference is below this count as equal."""

DOT_ELEMENTS = 1 << 16
"""Longer inner products are computed in pieces of this length, which are summed in float64."""

FAR = 1e100
"""A distance larger than the norm of any tensor that was divided by its :func:`unit_of`."""

Blocks = Callable[[], Iterator[tuple[Tensor, Tensor | None]]]


class Moments(NamedTuple):
    """Mean and standard deviation of each column, float64, shape (D,)."""

    mean: Tensor
    std: Tensor
    """Population standard deviation (divided by the total weight, not by N - 1)."""
    reach: Tensor
    """Largest distance of an entry from the column's first; exactly 0 if all entries are equal, as
    ``std`` is then."""

    @property
    def constant(self) -> Tensor:
        """Mask of the constant columns, shape (D,): all entries are equal up to rounding.

        The tolerance is a few units in the last place of float64, by which results of a short
        computation may differ that are equal in exact arithmetic. Distinct entries of a narrower
        dtype differ by more.
        """
        return self.reach <= ROUNDING * self.mean.abs()

    @property
    def scale(self) -> Tensor:
        """Positive divisors, shape (D,): the standard deviation, 1 for a constant column."""
        return torch.where(self.constant, 1.0, self.std)


def column_moments(X: Any, weights: Any = None) -> Moments:
    r"""Weighted mean and standard deviation of each column.

    .. math:: m = \frac{\sum_i c_i x_i}{\sum_i c_i}, \qquad
              s^2 = \frac{\sum_i c_i (x_i - m)^2}{\sum_i c_i}

    Deviations from the first row are accumulated in float64: in two passes within a block of rows,
    and by the update of Chan, Golub and LeVeque from block to block. The mean of a constant column
    is exactly its value, and its standard deviation exactly 0. Columns whose squared deviations
    would overflow or underflow are first scaled by a power of two.

    Parameters
    ----------
    X : ndarray, Tensor or SciPy's sparse matrix, shape (N, D), or list of ndarrays or Tensors
        Real, of any dtype, byte order and strides, memory maps included; no graph is recorded. The
        matrices of a list are concatenated along the rows.
    weights : ndarray or Tensor, shape (N,), optional
        Non-negative, at least one of them positive. Rows of weight 0 are ignored, even if NaN.

    Returns
    -------
    Moments
        On the device of ``X``; NaN for a column that is not finite.

    Raises
    ------
    ValueError
        If ``X`` is not a matrix with a row of positive weight.

    References
    ----------
    Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    parts = X if isinstance(X, list) else [X]
    for part in parts:
        if part.ndim != 2:
            raise ValueError(
                f"X: expected a matrix (samples, features), saw shape {tuple(part.shape)}."
            )
    if weights is not None:
        weights = torch.as_tensor(weights).detach().to(torch.float64)
        weights = weights / weights.max() if len(weights) else weights  # sums stay finite
    n_rows = sum(part.shape[0] for part in parts)
    if n_rows == 0 or not (weights is None or bool((weights > 0).any())):
        raise ValueError("X: no sample of positive weight; there is no mean to compute.")
    if issparse(X):
        return _of_sparse(X, None if weights is None else weights.cpu().numpy())

    def blocks() -> Iterator[tuple[Tensor, Tensor | None]]:
        start = 0
        for part in parts:
            own = None if weights is None else weights[start : start + len(part)]
            start += len(part)
            yield from _blocks(part, own)

    moments = _accumulated(blocks, None)
    low, high = SAFE
    largest = moments.reach
    outside = (largest > 0) & ~((largest >= low) & (largest <= high))
    if not bool(outside.any()):
        return moments
    # a power of two changes no digit; 2**1000 suffices for the smallest, 2**-1024 for the largest
    exponents = torch.frexp(largest[outside])[1]
    exponents = torch.where(torch.isfinite(largest[outside]), exponents, 1024)
    unit = torch.pow(2.0, (-exponents.to(torch.float64)).clamp(-1024, 1000))

    def some() -> Iterator[tuple[Tensor, Tensor | None]]:
        return ((block[:, outside], w) for block, w in blocks())

    scaled = _accumulated(some, unit)
    for own, found in zip(moments, scaled, strict=True):
        own[outside] = found / unit
    return moments


def _blocks(X: Any, weights: Tensor | None) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the rows of positive weight in blocks of float64, each with its weights."""
    rows = max(1, BLOCK_ELEMENTS // max(1, X.shape[1]))
    for start in range(0, len(X), rows):
        block = _wide(X[start : start + rows])
        if weights is None:
            yield block, None
            continue
        w = weights[start : start + rows].to(block.device)
        kept = w > 0
        if bool(kept.all()):
            yield block, w
        elif bool(kept.any()):
            yield block[kept], w[kept]


def _of_sparse(X: Any, weights: Any) -> Moments:
    """Moments of the columns of a sparse matrix, in time and memory proportional to its entries.

    Columns are first divided by a power of two, so that squares neither overflow nor underflow.
    The sum of squared deviations from the mean takes two passes; an entry that is not stored is 0
    and contributes the square of the mean.
    """
    rows = X.tocsr()
    if weights is None:
        weights = np.ones(rows.shape[0])
    elif not (weights > 0).all():
        rows, weights = rows[weights > 0], weights[weights > 0]
    first = rows[:1].toarray()[0].astype(np.float64)
    table = rows.tocsc()
    table = table.copy() if table is X else table
    table.sum_duplicates()
    (n, D), counts = table.shape, np.diff(table.indptr)
    there = np.flatnonzero(counts)
    starts = table.indptr[there]  # starts of the columns with stored entries

    def reduced(operation: np.ufunc, values: Any) -> Any:
        out = np.zeros(D)
        out[there] = operation.reduceat(values, starts) if len(there) else 0.0
        return out

    def spread(values: Any) -> Any:
        return np.repeat(values, counts)

    with np.errstate(invalid="ignore", over="ignore"):  # columns with NaN or infinity yield NaN
        values = table.data.astype(np.float64)
        exponents = np.frexp(np.maximum(reduced(np.maximum, np.abs(values)), np.abs(first)))[1]
        values, first = np.ldexp(values, spread(-exponents)), np.ldexp(first, -exponents)
        w, total = weights[table.indices], weights.sum()
        # total weight of the entries that are not stored
        absent = np.where(counts < n, np.maximum(total - reduced(np.add, w), 0.0), 0.0)
        mean = reduced(np.add, w * values) / total
        apart = values - spread(mean)
        mean += (reduced(np.add, w * apart) - absent * mean) / total
        apart = values - spread(mean)
        squares = reduced(np.add, w * apart**2) + absent * mean**2
        reach = reduced(np.maximum, np.abs(values - spread(first)))
        reach = np.where(counts < n, np.maximum(reach, np.abs(first)), reach)
        mean, squares = (
            np.where(reach == 0, exact, found) for exact, found in ((first, mean), (0.0, squares))
        )
        moments = (mean, np.sqrt(squares / total), reach)
        return Moments(*(torch.from_numpy(np.ldexp(each, exponents)) for each in moments))


def _wide(block: Any) -> Tensor:
    if isinstance(block, Tensor):
        return block.detach().to(torch.float64)
    return torch.from_numpy(np.require(block, np.float64, ["C", "W"]))


def _accumulated(blocks: Blocks, unit: Tensor | None) -> Moments:
    """Moments of the columns multiplied by ``unit``, in one pass over the blocks."""
    total, first = 0.0, None
    for block, w in blocks():
        if unit is not None:
            block = block * unit  # noqa: PLW2901
        if first is None:
            first = block[0].clone()
            mean, squares, largest = (torch.zeros_like(first) for _ in range(3))
        block = block - first  # noqa: PLW2901
        torch.maximum(largest, block.abs().amax(0), out=largest)
        if w is None:
            own, size = block.mean(0), float(len(block))
            spread = block.sub_(own).square_().sum(0)
        else:
            size = float(w.sum())
            own = (w @ block) / size
            spread = w @ block.sub_(own).square_()
        delta = own - mean
        share = size / (total + size)
        mean += delta * share
        squares += spread + delta.square() * (total * share)
        total += size
    assert first is not None
    return Moments(mean + first, (squares / total).sqrt_(), largest)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of two tensors of the same shape and dtype, 0-d.

    Its rounding error is bounded by that of a sum of 65,536 terms, however many entries there are.
    """
    a, b = a.reshape(-1), b.reshape(-1)
    if len(a) <= DOT_ELEMENTS:
        return torch.dot(a, b)
    pairs = zip(torch.split(a, DOT_ELEMENTS), torch.split(b, DOT_ELEMENTS), strict=True)
    pieces = torch.stack([torch.dot(one, other) for one, other in pairs])
    return pieces.sum(dtype=torch.float64).to(a.dtype)


def row_blocks(x: Tensor) -> tuple[Tensor, ...]:
    """Blocks of rows of a tensor, of at most :data:`PIECE_ELEMENTS` entries where rows are short.

    What is computed from one block at a time needs no temporary of the size of the whole, and stays
    in the cache. On another device there is a single block.
    """
    size = x.numel()
    if size <= PIECE_ELEMENTS or x.device.type != "cpu":
        return (x,)
    return torch.split(x, max(1, PIECE_ELEMENTS * len(x) // size))


def norm(x: Tensor) -> float:
    """Euclidean norm of all entries, computed in float64 without overflow or underflow."""
    return float(norms_in_range(x.detach().to(torch.float64), torch.Tensor.norm))


def unit_of(x: Tensor) -> float:
    """Power of two by which to divide a tensor whose squares would overflow or underflow; else 1.

    The largest absolute entry of the quotient is at most 2**24 and far above the smallest normal
    number.
    """
    largest = float(x.abs().max()) if x.numel() else 0.0
    low, high = SAFE
    if largest == 0 or not math.isfinite(largest) or low <= largest <= high:
        return 1.0
    return 2.0 ** min(max(math.frexp(largest)[1], -1000), 1000)


def nearest_unit(magnitude: float, dtype: torch.dtype) -> float:
    """Power of two nearest to a magnitude, limited so that ``dtype`` can represent its square."""
    if not (math.isfinite(magnitude) and magnitude > 0):
        return 1.0
    limit = int(-0.4 * math.log2(torch.finfo(dtype).tiny))
    return 2.0 ** min(max(round(math.log2(magnitude)), -limit), limit)
