"""`hinge_value_and_grad` on CPUs: one pass over the features of each task.

Shared features are two matrix products with a fused epilogue between them, unless the tasks are so
few that the library's products are slower than a pass for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxmtl.kernels.chunks import split

from .hinge_rows import (
    LOGISTIC,
    SQUARED,
    SQUARED_HINGE,
    blocks_of,
    chunks,
    epilogue,
    reduce_chunks,
    shared_chunks,
)
from .memory import TAGS
from .pool import cuts, pieces, run_pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmtl.kernels.ops.hinge_args import HingeArgs, HingeResult

_LOSS = {"squared_hinge": SQUARED_HINGE, "logistic": LOGISTIC, "squared": SQUARED}

# Chunks are the unit of work and of summation. Both numbers fix the order of the sum, so that
# the bits depend on the shapes and not on the number of threads.
_MIN_CHUNK_ROWS = 64
_CHUNKS = 64
# Up to so many tasks on shared features, a pass for each, on rows in the second-level cache, beats
# the two library products: see NOTES.md.
_FEW_TASKS = 16
_BLOCK_BYTES = 1 << 18
# Rows of so many bytes go through both products of many tasks, one after the other.
_PRODUCT_BYTES = 1 << 22
# Shares of the work that a thread takes, on average, one after another.
_SHARES = 8
# A loss costs about as much as this many features of a row.
_EPILOGUE_COST = 8


def supports(args: HingeArgs) -> tuple[bool, str]:
    """CPU tensors whose rows are contiguous."""
    if args.device.type != "cpu":
        return False, f"It serves CPU tensors, and these are on {args.device}."
    if args.kind != "shared" and any(_strided(x) for x in args.features):
        return False, "It reads rows of contiguous features, and X has strided ones."
    return True, ""


def run(args: HingeArgs) -> HingeResult:
    """Serve the call; see `proxmtl.kernels.ops`."""
    if args.kind != "shared":
        return _run_rows(args)
    few = 0 < args.n_tasks <= _FEW_TASKS and args.features[0].shape[0] > 0
    return _run_few(args) if few and not _strided(args.features[0]) else _run_shared(args)


def _run_rows(args: HingeArgs) -> HingeResult:
    n_tasks, n_features = args.n_tasks, args.n_features
    rows = tuple(args.rows())
    length = max(_MIN_CHUNK_ROWS, -(-sum(rows) // _CHUNKS))
    items, first = (table.numpy() for table in split(rows, length))
    addresses, strides = _addresses(args)
    scores = torch.empty(sum(rows) if args.return_scores else 0, dtype=args.dtype)
    grad = torch.empty(n_tasks, n_features, dtype=args.dtype)
    direct = len(items) == n_tasks and all(rows)
    partial = grad if direct else torch.empty(len(items), n_features, dtype=args.dtype)
    totals = np.empty((len(items), 2))
    parallel(
        chunks,
        len(items),
        sum(rows) * n_features,
        TAGS[args.storage],
        addresses,
        strides,
        items,
        args.weights.contiguous().numpy(),
        _bias(args),
        _samples(args, scores),
        partial.numpy(),
        totals,
    )
    if not direct:
        jobs = n_tasks * blocks_of(n_features)
        parallel(reduce_chunks, jobs, partial.numel(), first, partial.numpy(), grad.numpy())
    sums = np.zeros((n_tasks, 2))
    np.add.at(sums, items[:, 0], totals)  # unbuffered, in order
    value, grad_bias = torch.from_numpy(sums).unbind(1)
    kept = torch.split(scores, list(rows)) if args.return_scores else None
    if kept is not None and args.kind != "ragged":
        kept = (scores.view(n_tasks, -1) if n_tasks else args.empty_scores()[0],)
    return args.result(value.clone(), grad, grad_bias.to(args.dtype, copy=True), kept)


def _run_few(args: HingeArgs) -> HingeResult:
    """Few tasks on shared features: all of them on a block of rows while it is in cache."""
    n_tasks, n_features, x = args.n_tasks, args.n_features, args.features[0]
    n_rows, size = x.shape[0], args.storage.itemsize
    length = max(_MIN_CHUNK_ROWS, -(-n_rows // _CHUNKS))
    items = split((n_rows,), length).items.numpy()
    block = max(8, 4 * (_BLOCK_BYTES // (4 * size * max(1, n_features)))) if n_tasks > 1 else n_rows
    scores = torch.empty(n_tasks * n_rows if args.return_scores else 0, dtype=args.dtype)
    partial = torch.empty(len(items), n_tasks, n_features, dtype=args.dtype)
    totals = np.empty((len(items), n_tasks, 2))
    parallel(
        shared_chunks,
        len(items),
        n_tasks * n_rows * n_features,
        TAGS[args.storage],
        x.data_ptr(),
        x.stride(0) * size,
        items,
        block,
        args.weights.contiguous().numpy(),
        _bias(args),
        _samples(args, scores),
        partial.numpy(),
        totals,
    )
    grad = torch.empty(n_tasks, n_features, dtype=args.dtype)
    flat, whole = partial.view(len(items), -1).numpy(), np.array([0, len(items)])
    jobs = blocks_of(n_tasks * n_features)
    parallel(reduce_chunks, jobs, partial.numel(), whole, flat, grad.view(1, -1).numpy())
    value, grad_bias = torch.from_numpy(totals.sum(0)).unbind(1)
    kept = (scores.view(n_tasks, n_rows),) if args.return_scores else None
    return args.result(value.clone(), grad, grad_bias.to(args.dtype, copy=True), kept)


def _run_shared(args: HingeArgs) -> HingeResult:
    """Many tasks: both products of a block of rows while it is in the last cache level."""
    x, n_tasks = args.features[0], args.n_tasks
    length = max(_MIN_CHUNK_ROWS, _PRODUCT_BYTES // (args.dtype.itemsize * max(1, args.n_features)))
    labels = args.labels[0].contiguous().numpy()
    weights = np.empty((0, 0), labels.dtype)
    if args.sample_weights is not None:
        weights = args.sample_weights[0].contiguous().numpy()
    grad = args.weights.new_zeros(n_tasks, args.n_features)
    kept = torch.empty(labels.shape if args.return_scores else (n_tasks, 0), dtype=args.dtype)
    totals = np.zeros((n_tasks, 2))
    for first in range(0, x.shape[0], length):
        block = x[first : first + length].to(args.dtype)
        scores = args.weights @ block.T
        if args.return_scores:
            kept[:, first : first + length] = scores
        operands = scores.numpy(), first, _bias(args), labels, weights, _LOSS[args.loss], totals
        parallel(epilogue, n_tasks, _EPILOGUE_COST * scores.numel(), *operands)
        grad.addmm_(scores, block)
    if args.return_scores and args.bias is not None:
        kept += args.bias[:, None]
    value, grad_bias = torch.from_numpy(totals).unbind(1)
    return args.result(value.clone(), grad, grad_bias.to(args.dtype, copy=True), (kept,))


def parallel(kernel: Callable[..., None], n_jobs: int, n_entries: int, *arguments: Any) -> None:
    """Run ``kernel(start, stop, *arguments)`` on consecutive shares of ``range(n_jobs)``.

    Threads take the next share when they are done with one: none waits for a slower one for long.
    """
    n_threads = min(pieces(n_entries), max(1, n_jobs))
    if n_threads == 1:
        kernel(0, n_jobs, *arguments)
        return
    shares = cuts(n_jobs, min(n_jobs, _SHARES * n_threads))
    run_pieces(kernel, [(*share, *arguments) for share in shares], n_threads)


def _addresses(args: HingeArgs) -> tuple[np.ndarray, np.ndarray]:
    """Address of each task's first row and its row stride, in bytes."""
    size = args.storage.itemsize
    if args.kind == "ragged":
        addresses = [x.data_ptr() for x in args.features]
        strides = [x.stride(0) * size for x in args.features]
    else:
        x = args.features[0]
        addresses = [x.data_ptr() + m * x.stride(0) * size for m in range(args.n_tasks)]
        strides = [x.stride(-2) * size] * args.n_tasks
    return np.array(addresses, np.int64), np.array(strides, np.int64)


def _samples(args: HingeArgs, scores: torch.Tensor) -> tuple[Any, ...]:
    """Labels and sample weights task after task, the loss, and where scores go."""
    packed = (
        _packed(each or (), args.dtype).numpy() for each in (args.labels, args.sample_weights)
    )
    return *packed, _LOSS[args.loss], scores.numpy()


def _packed(tensors: tuple[torch.Tensor, ...], dtype: torch.dtype) -> torch.Tensor:
    if len(tensors) == 1:
        return tensors[0].reshape(-1)
    return torch.cat(tensors) if tensors else torch.empty(0, dtype=dtype)


def _bias(args: HingeArgs) -> np.ndarray:
    if args.bias is None:
        return np.zeros(args.n_tasks)
    return args.bias.double().contiguous().numpy()


def _strided(x: torch.Tensor) -> bool:
    return x.stride(-1) != 1 and x.shape[-1] > 1
