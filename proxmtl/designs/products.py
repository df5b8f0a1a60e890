"""Products with a feature matrix in the dtype of the parameter, and its largest curvature."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from proxmtl.designs.base import BLOCK_ELEMENTS

__all__ = [
    "TooManyProductsError",
    "as_scipy",
    "forward",
    "from_scipy",
    "largest_curvature",
    "largest_eigenvalue",
    "may_be_copied",
    "root_mean_square",
    "select_csr",
    "sweeps",
    "swept",
    "trace",
    "transposed",
    "transposed_csr",
    "weighted_sum",
]


class TooManyProductsError(Exception):
    """Raised if a curvature takes more products than allowed; ``products`` are those made."""

    def __init__(self, products: int) -> None:
        super().__init__(f"{products} products made")
        self.products = products


CACHED = 1 << 18, 1 << 19
"""Entries of a block of features that stays in a CPU core's cache for several products: if it is
converted first, and if it is used as it is. On other devices blocks are larger."""

FEWEST = 4
"""Rows of a block for each column of a product: with fewer, adding up its result takes longer."""

FEW_COLUMNS = 3
"""Columns of a product in float32 that are faster one after another, of a block in the cache."""

GRAM_LIMIT = 128
"""Up to this smaller dimension, the curvature is computed from the full Gram matrix."""


NARROW = 128
"""Features are narrow if they have at least this many times more rows than columns."""


def forward(X: Tensor, W: Tensor) -> Tensor:
    """``X @ W`` in the dtype of ``W``."""
    if X.layout != torch.strided:
        return X @ W
    if X.dtype == W.dtype:
        narrow = W.ndim < 2 or len(X) > NARROW * X.shape[1]
        return X @ W if narrow else (W.T @ X.T).T.contiguous()
    columns = 1 if W.ndim < 2 else W.shape[1]
    blocks = _cached_blocks(X, W.dtype, columns)
    return torch.cat([forward(block.to(W.dtype), W) for block in blocks])


def transposed(X: Tensor, R: Tensor) -> Tensor:
    """``X' @ R`` in the dtype of ``R``.

    For few columns, dense products are computed as the transpose of ``R' @ X``, which BLAS packs
    better: in as little as a tenth of the time.
    """
    if X.layout != torch.strided:
        return X.T @ R
    if X.dtype == R.dtype:
        return X.T @ R if R.ndim < 2 else (R.T @ X).T.contiguous()
    rows = R[:, None] if R.ndim < 2 else R
    out, first = R.new_zeros(rows.shape[1], X.shape[1]), 0
    for block in _cached_blocks(X, R.dtype, rows.shape[1]):
        out.addmm_(rows[first : first + len(block)].T, block.to(R.dtype))
        first += len(block)
    return out[0] if R.ndim < 2 else out.T.contiguous()


def sweeps(X: Tensor, dtype: torch.dtype) -> bool:
    """Whether one read in blocks for both products is faster than a read for each.

    It is not in float32, where BLAS products take as long as the reads and are slower on blocks.
    """
    if X.layout != torch.strided or X.device.type != "cpu":
        return False
    return X.dtype != dtype or (dtype == torch.float64 and X.numel() > 2 * CACHED[1])


def swept(
    X: Tensor, W: Tensor, residuals_of: Callable[[slice, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Scores ``X @ W``, and ``X' @ R`` for residuals of these scores; reads each row once.

    Parameters
    ----------
    X : Tensor, shape (N, D)
        Dense.
    W : Tensor, shape (D, m)
    residuals_of : callable
        Maps a slice of the rows and their scores (n, m), which it may modify, to ``R`` (n, k).

    Returns
    -------
    scores : Tensor, shape (N, m)
        Including modifications by ``residuals_of``.
    adjoint : Tensor, shape (D, k)
    """
    scores, out, first = [], X.new_zeros(0), 0
    for part in _cached_blocks(X, W.dtype, 2 * W.shape[1]):
        block = part.to(W.dtype)
        scores.append(_in_cache(block, W))
        residuals = residuals_of(slice(first, first + len(block)), scores[-1])
        if not first:
            out = W.new_zeros(residuals.shape[1], X.shape[1])
        out.addmm_(residuals.T, block)
        first += len(block)
    return torch.cat(scores), out.T.contiguous()


def _in_cache(X: Tensor, W: Tensor) -> Tensor:
    """``X @ W`` of a block in the cache: of few columns in float32 column by column.

    BLAS takes five times as long for two columns together as for one after the other.
    """
    if W.dtype == torch.float32 and 1 < W.shape[1] <= FEW_COLUMNS and X.device.type == "cpu":
        return torch.stack([X @ column for column in W.T.contiguous()], dim=1)
    return forward(X, W)


def _cached_blocks(X: Tensor, dtype: torch.dtype, columns: int) -> tuple[Tensor, ...]:
    """Blocks of rows that stay in the cache, but for more rows than a product has columns."""
    # products of float32 as it is are no faster on blocks, and threads wait for one another more
    whole = X.device.type != "cpu" or X.dtype == dtype == torch.float32
    size = BLOCK_ELEMENTS if whole else CACHED[X.dtype == dtype]
    fewest = min(FEWEST * max(columns, FEWEST), max(1, BLOCK_ELEMENTS // X.shape[1]))
    return torch.split(X, max(size // X.shape[1], fewest))


SQUARES = 2.0**-400, 2.0**400
"""Norms in this range are accurate as computed: squares of entries do not overflow, and those that
underflow are below the rounding error of the norm."""


def root_mean_square(X: Tensor) -> float:
    """Root mean square of all entries of a matrix, including those that CSR does not store."""
    entries = X if X.layout == torch.strided else X.values()[:, None]
    if 0 in entries.shape:
        return 0.0
    blocks = torch.split(entries, max(1, BLOCK_ELEMENTS // entries.shape[1]))
    size = math.sqrt(X.shape[0] * X.shape[1])
    norm = math.hypot(*(_norm(block) for block in blocks))
    if SQUARES[0] < norm < SQUARES[1]:
        return norm / size
    largest = max(float(block.abs().amax()) for block in blocks)
    if not 0 < largest < math.inf:
        return largest
    return (
        largest * math.hypot(*(_norm(block.to(torch.float64) / largest) for block in blocks)) / size
    )


def _norm(block: Tensor) -> float:
    return float(torch.linalg.vector_norm(block.to(torch.float64)))


MOST_BYTES = 1 << 30
"""Maximum size of features that are copied to be centred; fixed, so that results do not depend on
the free memory."""


def may_be_copied(*X: Tensor) -> bool:
    """Whether features are small enough for a centred copy."""
    return sum(part.numel() * part.element_size() for part in X) <= MOST_BYTES


def weighted_sum(X: Tensor, transpose: Tensor | None = None) -> float:
    """Norm of ``sum_i sqrt(i) x_i``, float64: a checksum that depends on the order of the rows."""
    place = torch.arange(1, X.shape[0] + 1, device=X.device).to(torch.float64).sqrt()[:, None]
    found = transposed(X, place) if transpose is None else transpose.to(torch.float64) @ place
    return float(found.norm())


def as_scipy(X: Tensor) -> csr_matrix:
    """Convert a CSR tensor to a SciPy matrix that shares its memory."""
    parts = (X.values(), X.col_indices(), X.crow_indices())
    return csr_matrix(tuple(part.cpu().numpy() for part in parts), shape=tuple(X.shape))


def transposed_csr(X: Tensor) -> Tensor:
    """Transpose of a CSR matrix, as CSR without duplicates: by SciPy, in an eighth of the time."""
    found = as_scipy(X).T.tocsr()
    found.sum_duplicates()
    return from_scipy(found, X.device)


def select_csr(X: Tensor, index: Tensor, axis: int) -> Tensor:
    """Some rows (axis 0) or columns (axis 1) of a CSR matrix, as CSR."""
    matrix = as_scipy(X)
    chosen = index.cpu().numpy()
    return from_scipy(matrix[chosen] if axis == 0 else matrix[:, chosen], X.device)


def from_scipy(X: Any, device: torch.device | None = None) -> Tensor:
    """Convert a SciPy matrix to a CSR tensor, which shares its memory if it is CSR already."""
    rows = X.tocsr()
    with warnings.catch_warnings():
        # torch calls its CSR support beta, once, and warns of memory that may not be written to:
        # nothing here writes there
        warnings.simplefilter("ignore", UserWarning)
        starts, columns, values = map(torch.as_tensor, (rows.indptr, rows.indices, rows.data))
        return torch.sparse_csr_tensor(starts, columns, values, size=rows.shape, device=device)


def largest_curvature(
    X: Tensor,
    weights: Tensor | None = None,
    *,
    transpose: Tensor | None = None,
    centre: Tensor | None = None,
    most: float = math.inf,
) -> tuple[float, int]:
    """Upper estimate of ``lambda_max(X' diag(weights) X)``, and the number of products it took.

    A product is one with X and one with X' for a single vector. If the smaller dimension is small,
    the estimate comes from the Gram matrix, raised by a bound on its rounding errors; otherwise,
    and for sparse features, which need their ``transpose``, from a Lanczos run, raised by 1 %. Not
    finite if squares of the features overflow float64; 0 without samples. With a ``centre`` (D,),
    float64, the estimate is that of ``X - 1 centre'``.

    Raises
    ------
    TooManyProductsError
        If more than ``most`` products are needed; :func:`trace` is a bound that needs none.
    """
    n, d = X.shape
    if 0 in X.shape:  # a batch without samples of a task
        return 0.0, 0
    if transpose is not None:
        X, transpose = X.to(torch.float64), transpose.to(torch.float64)
    if X.layout == torch.strided and min(n, d) <= GRAM_LIMIT:
        if (min(n, d) + 1) // 2 > most:
            raise TooManyProductsError(0)
        gram = _gram(X, weights, centre)
        if not bool(torch.isfinite(gram).all()):
            return math.inf, (min(n, d) + 1) // 2
        return largest_eigenvalue(gram, max(n, d)), (min(n, d) + 1) // 2

    # three digits are sufficient, so the precision of the features will do
    dtype = torch.promote_types(X.dtype, torch.float32)

    products = 0

    def apply(v: np.ndarray) -> np.ndarray:  # reads dtype when called
        nonlocal products
        if products + 1 > most:  # through scipy's loop
            raise TooManyProductsError(products)
        products += 1
        vector = torch.as_tensor(v.reshape(-1), dtype=dtype, device=X.device)
        scores = forward(X, vector)
        scores = scores if centre is None else scores - centre.to(dtype) @ vector
        scores = scores if weights is None else scores * weights.to(scores)
        back = transposed(X, scores) if transpose is None else transpose @ scores
        back = back if centre is None else back - centre.to(dtype) * scores.sum()
        return np.asarray(back.cpu())

    operator = LinearOperator((d, d), matvec=apply, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(d)
    safe = torch.finfo(dtype).tiny / torch.finfo(dtype).eps
    size = float(np.abs(apply(start)).max())
    if not safe <= size <= 1 / safe:  # squares of the features would overflow or underflow
        dtype = torch.float64
        size = float(np.abs(apply(start)).max())
    if size == 0 or not math.isfinite(size):  # SciPy's Lanczos raises for both
        return size, products
    if d < 3:
        columns = torch.as_tensor(np.stack([apply(e) for e in np.eye(d)]), dtype=torch.float64)
        return largest_eigenvalue(columns, n), products
    largest = eigsh(operator, k=1, tol=1e-3, v0=start, return_eigenvectors=False)
    return 1.01 * float(largest[0]), products


def trace(X: Tensor, weights: Tensor | None = None, centre: Tensor | None = None) -> float:
    """Trace of ``X' diag(weights) X``: at least its largest eigenvalue, at most rank times that.

    With a ``centre``, of ``X - 1 centre'`` in place of X. Raised by a bound on its rounding errors,
    as in :func:`largest_eigenvalue`.
    """
    size = root_mean_square(X)
    heaviest = 1.0 if weights is None else float(weights.max())
    entries = X.shape[0] * X.shape[1]
    total = entries * size * size * heaviest  # infinite where the squares are
    rounding = total * (entries + 4) * torch.finfo(torch.float64).eps
    if centre is None:
        return total + rounding
    if X.layout == torch.strided:
        total = 0.0
        scale = torch.ones(len(X), device=X.device) if weights is None else weights
        for block, c in _blocks(X, scale):
            total += float(c @ (block - centre).square_().sum(1))
        return total + rounding
    # about the means of the columns, without weights
    return max(total - len(X) * float(centre.square().sum()), 0.0) + rounding


def largest_eigenvalue(gram: Tensor, length: int) -> float:
    """Largest eigenvalue of a Gram matrix, raised by a bound on its rounding errors.

    The matrix is (k, k) and float64, each entry a sum of ``length`` products of up to four factors.
    With ``A`` the matrix it was made from, rounding moves ``A'A`` by at most
    ``(length + 3) eps/2 |A|'|A|`` entry by entry, to first order, and the norm of ``|A|'|A|`` is at
    most the trace of ``A'A``; eigenvalues move by no more than the norm of a perturbation (Weyl).
    The backward error of the eigenvalues is a modest multiple of ``k eps`` times the norm of the
    matrix. Twice the first and 2 k for the second leave room for the products that use the result.

    References
    ----------
    Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, SIAM 2002, section 3.5.
    """
    largest = max(float(torch.linalg.eigvalsh(gram)[-1]), 0.0)
    roundings = length + 3 + 2 * len(gram)
    return largest + roundings * torch.finfo(gram.dtype).eps * float(gram.diagonal().sum())


def _gram(X: Tensor, weights: Tensor | None, centre: Tensor | None) -> Tensor:
    n, d = X.shape
    if d <= n:
        gram = torch.zeros(d, d, dtype=torch.float64, device=X.device)
        scale = torch.ones(n, device=X.device) if weights is None else weights
        for block, c in _blocks(X, scale):
            wide = block if centre is None else block - centre
            wide = wide * c.sqrt()[:, None]
            gram += wide.T @ wide
        return gram
    wide = X.to(torch.float64)
    wide = wide if centre is None else wide - centre
    if weights is not None:
        wide = wide * weights.to(torch.float64).sqrt()[:, None]
    return wide @ wide.T


def _blocks(X: Tensor, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks of rows and their weights, float64."""
    rows = max(1, BLOCK_ELEMENTS // X.shape[1])
    for block, c in zip(torch.split(X, rows), torch.split(weights, rows), strict=True):
        yield block.to(torch.float64), c.to(torch.float64)
