"""Products with shared features in the accumulation dtype, whatever the features are stored in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

# Narrow features are widened in blocks of this many elements: 16 MB in float32.
_WIDEN_ELEMENTS = 1 << 22


def shared_scores(weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return ``weights @ x.T``, (M, D) and (N, D) to contiguous (M, N) in the dtype of weights."""
    if x.dtype == weights.dtype:
        return weights @ x.T
    if _splits(x):
        return _split_product(weights, x.T)
    scores = weights.new_empty(len(weights), len(x))
    start = 0
    for block in wide_blocks(x, weights.dtype):
        torch.mm(weights, block.T, out=scores[:, start : start + len(block)])
        start += len(block)
    return scores


def shared_grad(residual: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return ``residual @ x``, (M, N) and (N, D) to (M, D) in the dtype of residual."""
    if x.dtype == residual.dtype:
        return residual @ x
    if _splits(x):
        return _split_product(residual, x)
    grad = residual.new_zeros(len(residual), x.shape[1])
    start = 0
    for block in wide_blocks(x, residual.dtype):
        grad.addmm_(residual[:, start : start + len(block)], block)
        start += len(block)
    return grad


def wide_blocks(x: torch.Tensor, dtype: torch.dtype) -> Iterator[torch.Tensor]:
    """Blocks of rows of ``x`` converted to ``dtype``; ``x`` itself when it has that dtype."""
    if x.dtype == dtype:
        yield x
        return
    n_rows = max(1, _WIDEN_ELEMENTS // max(1, x.shape[1]))
    for start in range(0, max(1, len(x)), n_rows):
        yield x[start : start + n_rows].to(dtype)


def split_bfloat16(t: torch.Tensor) -> torch.Tensor:
    """Three bfloat16 terms, stacked (3M, ·), whose sum is the float32 ``t`` (M, ·) to 24 bits.

    Infinite and NaN entries go into the first term alone.
    """
    high = t.bfloat16()
    rest = torch.where(torch.isfinite(high), t - high.float(), 0)
    middle = rest.bfloat16()
    return torch.cat([high, middle, (rest - middle.float()).bfloat16()])


def _splits(x: torch.Tensor) -> bool:
    """Whether bfloat16 tensor cores serve: on GPUs, exact products with float32 sums."""
    return x.dtype == torch.bfloat16 and x.is_cuda


def _split_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Float32 times bfloat16 matrix in one library product, features read once.

    The product of two bfloat16 numbers is exact in float32, so that splitting the float32 operand
    loses nothing: what is left is the rounding of a float32 sum.
    """
    terms = torch.mm(split_bfloat16(left), right, out_dtype=torch.float32)
    high, middle, low = terms.view(3, len(left), -1).unbind(0)
    return low + middle + high
