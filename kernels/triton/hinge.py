"""`hinge_value_and_grad` on GPUs: one pass over the features of each task, in two launches.

Shared features are two library products with a fused epilogue between them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from triton import knobs

from proxmtl.kernels.capture import keep_if_captured
from proxmtl.kernels.chunks import balanced_length, split
from proxmtl.kernels.torch.products import shared_grad, shared_scores

from .hinge_config import rows_config
from .hinge_kernels import epilogue_kernel, reduce_kernel, rows_kernel, wide_kernel

if TYPE_CHECKING:
    from proxmtl.kernels.ops.hinge_args import HingeArgs, HingeResult

    from .hinge_config import RowsConfig

_LOSS = {"squared_hinge": 0, "logistic": 1, "squared": 2}
_REDUCE_BLOCK = 512
_EPILOGUE_BLOCK = 1024
_OVERHEAD_ROWS = 8


def supports(args: HingeArgs) -> tuple[bool, str]:
    """CUDA tensors, or CPU tensors under Triton's interpreter, with contiguous rows."""
    interpreted = knobs.runtime.interpret
    if args.device.type != "cuda" and not (interpreted and args.device.type == "cpu"):
        return False, (
            f"It serves CUDA tensors, and these are on {args.device} (CPU tensors only when "
            "TRITON_INTERPRET=1 is set before triton is imported)."
        )
    if args.kind != "shared" and any(_strided(x) for x in args.features):
        return False, "It reads rows of contiguous features, and X has strided ones."
    return True, ""


def run(args: HingeArgs) -> HingeResult:
    """Serve the call; see `proxmtl.kernels.ops`."""
    one = args.kind == "shared" and args.n_tasks == 1 and not _strided(args.features[0])
    if args.kind == "shared" and not one:
        return _run_shared(args)
    return _run_rows(args, _plan(args))


class _Plan(NamedTuple):
    """How the rows of a call are cut, on its device, and read: `VECTOR` elements at a time."""

    config: RowsConfig
    rows: tuple[int, ...]
    items: torch.Tensor
    first: torch.Tensor
    vector: int


def _plan(args: HingeArgs) -> _Plan:
    rows = tuple(args.rows())
    capability, slots = _chip(args.device)
    sizes = args.storage.itemsize, args.dtype.itemsize
    config = rows_config(args.n_features, *sizes, capability, logistic=args.loss == "logistic")
    length = balanced_length(rows, slots * config.programs, _OVERHEAD_ROWS)
    return _Plan(config, rows, *_tables(args, rows, length))


def _run_rows(args: HingeArgs, plan: _Plan) -> HingeResult:
    n_tasks, n_features, device = args.n_tasks, args.n_features, args.device
    config, rows, items, first, vector = plan
    keep_if_captured(items, first)
    n_chunks = len(items)
    n_scores = sum(rows) if args.return_scores else 0
    scores = torch.empty(n_scores, dtype=args.dtype, device=device)
    value = torch.empty(n_tasks, dtype=torch.float64, device=device)
    grad = torch.empty(n_tasks, n_features, dtype=args.dtype, device=device)
    grad_bias = torch.empty(n_tasks, dtype=args.dtype, device=device)
    # Atomic: chunks add to the task's row. Otherwise each has a row of its own, summed afterwards.
    atomic = not args.deterministic
    target = grad.zero_() if atomic else grad.new_empty(n_chunks, n_features)
    if config.wide:
        target.zero_()
    totals = torch.zeros(n_tasks if atomic else n_chunks, 2, dtype=torch.float64, device=device)
    if n_chunks:
        kernel = wide_kernel if config.wide else rows_kernel
        kernel[(n_chunks,)](
            args.features[0],
            items,
            args.weights.contiguous(),
            args.bias,
            _packed(args.labels),
            None if args.sample_weights is None else _packed(args.sample_weights),
            scores,
            target,
            totals,
            n_features,
            LOSS=_LOSS[args.loss],
            HAS_BIAS=args.bias is not None,
            HAS_WEIGHTS=args.sample_weights is not None,
            WRITE_SCORES=args.return_scores,
            ATOMIC=atomic,
            VECTOR=vector,
            R=config.rows,
            BLOCK_D=config.block,
            STAGES=config.stages,
            num_warps=config.warps,
        )
    if atomic:
        value.copy_(totals[:, 0])
        grad_bias.copy_(totals[:, 1])
    elif n_tasks:
        blocks = max(1, -(-n_features // _REDUCE_BLOCK))
        reduce_kernel[(n_tasks * blocks,)](
            first, target, totals, grad, value, grad_bias, n_features, blocks, BLOCK_D=_REDUCE_BLOCK
        )
    kept = torch.split(scores, list(rows)) if args.return_scores else None
    if kept is not None and args.kind != "ragged":
        kept = (scores.view(args.labels[0].shape),)
    return args.result(value, grad, grad_bias, kept)


def _run_shared(args: HingeArgs) -> HingeResult:
    x, device, n_tasks = args.features[0], args.device, args.n_tasks
    scores = shared_scores(args.weights, x)
    n_rows = scores.shape[1]
    kept = scores.clone() if args.return_scores else scores
    if args.return_scores and args.bias is not None:
        kept += args.bias[:, None]
    blocks = -(-n_rows // _EPILOGUE_BLOCK)
    totals = torch.zeros(n_tasks, blocks, 2, dtype=torch.float64, device=device)
    labels = args.labels[0]
    weights = None if args.sample_weights is None else args.sample_weights[0]
    if n_tasks and blocks:
        epilogue_kernel[(n_tasks * blocks,)](
            scores,
            args.bias,
            labels,
            weights,
            totals,
            n_rows,
            blocks,
            *labels.stride(),
            *((0, 0) if weights is None else weights.stride()),
            LOSS=_LOSS[args.loss],
            HAS_BIAS=args.bias is not None,
            HAS_WEIGHTS=weights is not None,
            BLOCK_N=_EPILOGUE_BLOCK,
            num_warps=4,
        )
    value, grad_bias = totals.sum(1).unbind(1)
    return args.result(
        value.clone(), shared_grad(scores, x), grad_bias.to(args.dtype, copy=True), (kept,)
    )


def _tables(
    args: HingeArgs, rows: tuple[int, ...], length: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Chunk table and CSR of the chunks on the device, and the vector width that is safe."""
    size = args.storage.itemsize
    if args.kind == "ragged":
        base = args.features[0].data_ptr() if args.features else 0
        gaps = [x.data_ptr() - base for x in args.features]
        strides = tuple(x.stride(0) for x in args.features)
    else:
        x = args.features[0]
        base = x.data_ptr()
        step = 0 if args.kind == "shared" else x.stride(0) * size
        gaps = [m * step for m in range(args.n_tasks)]
        strides = (x.stride(-2),) * args.n_tasks
    aligned = all(number % 16 == 0 for number in (base, *gaps, *(s * size for s in strides)))
    offsets = tuple(gap // size for gap in gaps)
    items, first = _device_tables(rows, length, offsets, strides, args.device)
    return items, first, 16 // size if aligned else 1


@lru_cache(maxsize=64)
def _device_tables(
    rows: tuple[int, ...],
    length: int,
    offsets: tuple[int, ...],
    strides: tuple[int, ...],
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cached: a repeated call copies nothing to the device, as CUDA graphs require.

    The cache forgets: a call holds its tables while it runs, and the tables of a captured call are
    kept as long as the process lives.
    """
    items, first = split(rows, length)
    task, start, count, packed = items.unbind(1)
    stride = torch.tensor(strides, dtype=torch.int64)[task]
    offset = torch.tensor(offsets, dtype=torch.int64)[task] + start * stride
    table = torch.stack([task, offset, stride, count, packed], 1).contiguous()
    return table.to(device), first.to(device)


def _strided(x: torch.Tensor) -> bool:
    return x.stride(-1) != 1 and x.shape[-1] > 1


def _packed(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return tensors[0].reshape(-1) if len(tensors) == 1 else torch.cat(tensors)


@lru_cache
def _chip(device: torch.device) -> tuple[int, int]:
    """Compute capability, 10 major + minor, and number of multiprocessors."""
    if device.type != "cuda":
        return 90, 4  # the interpreter: few programs keep it quick
    properties: Any = torch.cuda.get_device_properties(device)
    return 10 * properties.major + properties.minor, properties.multi_processor_count
