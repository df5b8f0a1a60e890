"""Compiled loops of `hinge_value_and_grad` on CPUs.

Four rows at a time, software-pipelined: one loop over the features adds the previous four rows,
still in the second-level cache, to the gradient while it streams the next four from memory into
their scores. Memory never waits for the update, and each element is read from memory once.
"""

# ruff: noqa: PLR0917 - compiled loops take everything by position
from __future__ import annotations

import math
from typing import Any

from .jit import compiled
from .memory import load

SQUARED_HINGE, LOGISTIC, SQUARED = 0, 1, 2
BLOCK = 1024


@compiled
def sample(z: Any, y: Any, c: Any, loss: int) -> tuple[float, float]:
    """Loss c φ(z; y) and slope c φ'(z; y) in float64; both zero for a missing label."""
    if c == 0.0 or (y == 0.0 and loss != SQUARED):
        return 0.0, 0.0
    if loss == SQUARED:
        difference = z - y
        return 0.5 * c * difference * difference, c * difference
    t = y * z
    if loss == SQUARED_HINGE:
        slack = 1.0 - t
        if slack <= 0.0:  # noqa: PLR1730 - max() would lose NaN
            slack = 0.0
        return 0.5 * c * slack * slack, -c * y * slack
    small = math.exp(-abs(t))  # never overflows
    if t > 0.0:
        return c * math.log1p(small), -c * y * small / (1.0 + small)
    return c * (math.log1p(small) - t), -c * y / (1.0 + small)


@compiled
def _row(k: Any, score: Any, bias: Any, samples: Any) -> Any:
    """Loss of packed sample k and its derivative, the residual.

    ``samples`` are labels, sample weights (none: no entries), the loss, and the scores, which are
    written if they have entries.
    """
    labels, weights, loss, scores = samples
    c = weights[k] if weights.size else 1.0
    z = float(score) + bias
    if scores.size:
        scores[k] = z
    return sample(z, float(labels[k]), float(c), loss)


@compiled
def _chunk(
    tag: Any,
    address: Any,
    stride: Any,
    n_rows: Any,
    first: Any,
    w: Any,
    bias: Any,
    samples: Any,
    g: Any,
    totals: Any,
) -> None:
    """Add ``n_rows`` rows to gradient g and totals (value, Σ r); ``first`` indexes the labels."""
    zero = g.dtype.type(0)
    n_features = g.size
    # not summed in place: the totals of other threads' chunks lie in the same cache line
    value, slope = totals[0], totals[1]
    r0 = r1 = r2 = r3 = zero
    o0 = o1 = o2 = o3 = address
    blocks = n_rows // 4
    # four quarters of the chunk at once: each is one stream without a jump, as the hardware that
    # fetches memory ahead likes it
    quarter = blocks * stride
    for block in range(blocks):
        n0 = address + block * stride
        n1, n2, n3 = n0 + quarter, n0 + 2 * quarter, n0 + 3 * quarter
        a0 = a1 = a2 = a3 = zero
        if block == 0:
            for d in range(n_features):
                v = w[d]
                a0 += v * load(n0, d, tag)
                a1 += v * load(n1, d, tag)
                a2 += v * load(n2, d, tag)
                a3 += v * load(n3, d, tag)
        else:
            for d in range(n_features):
                v = w[d]
                g[d] += (
                    r0 * load(o0, d, tag)
                    + r1 * load(o1, d, tag)
                    + r2 * load(o2, d, tag)
                    + r3 * load(o3, d, tag)
                )
                a0 += v * load(n0, d, tag)
                a1 += v * load(n1, d, tag)
                a2 += v * load(n2, d, tag)
                a3 += v * load(n3, d, tag)
        k = first + block
        v0, s0 = _row(k, a0, bias, samples)
        v1, s1 = _row(k + blocks, a1, bias, samples)
        v2, s2 = _row(k + 2 * blocks, a2, bias, samples)
        v3, s3 = _row(k + 3 * blocks, a3, bias, samples)
        value = value + v0 + v1 + v2 + v3
        slope = slope + s0 + s1 + s2 + s3
        r0, r1 = g.dtype.type(s0), g.dtype.type(s1)
        r2, r3 = g.dtype.type(s2), g.dtype.type(s3)
        o0, o1, o2, o3 = n0, n1, n2, n3
    if blocks:
        for d in range(n_features):
            g[d] += (
                r0 * load(o0, d, tag)
                + r1 * load(o1, d, tag)
                + r2 * load(o2, d, tag)
                + r3 * load(o3, d, tag)
            )
    for i in range(4 * blocks, n_rows):
        row = address + i * stride
        a0 = zero
        for d in range(n_features):
            a0 += w[d] * load(row, d, tag)
        v0, s0 = _row(first + i, a0, bias, samples)
        value += v0
        slope += s0
        r0 = g.dtype.type(s0)
        for d in range(n_features):
            g[d] += r0 * load(row, d, tag)
    totals[0], totals[1] = value, slope


@compiled
def chunks(
    start: Any,
    stop: Any,
    tag: Any,
    addresses: Any,
    strides: Any,
    items: Any,
    W: Any,
    bias: Any,
    samples: Any,
    partial: Any,
    totals: Any,
) -> None:
    """First stage: chunks start <= k < stop into ``partial[k]`` (D,) and ``totals[k]`` (2,).

    ``items[k]`` holds task, first row in the task, number of rows and first packed sample.
    """
    for k in range(start, stop):
        m = items[k, 0]
        partial[k] = 0
        totals[k] = 0
        _chunk(
            tag,
            addresses[m] + items[k, 1] * strides[m],
            strides[m],
            items[k, 2],
            items[k, 3],
            W[m],
            bias[m],
            samples,
            partial[k],
            totals[k],
        )


@compiled
def shared_chunks(
    start: Any,
    stop: Any,
    tag: Any,
    address: Any,
    stride: Any,
    items: Any,
    block: Any,
    W: Any,
    bias: Any,
    samples: Any,
    partial: Any,
    totals: Any,
) -> None:
    """First stage on shared features: ``partial[k]`` (M, D) and ``totals[k]`` (M, 2).

    All tasks pass over ``block`` rows while these are in the second-level cache, so that memory is
    read once whatever M is. Labels are packed task after task.
    """
    n_tasks = W.shape[0]
    n_samples = items[-1, 1] + items[-1, 2]
    for k in range(start, stop):
        partial[k] = 0
        totals[k] = 0
        end = items[k, 1] + items[k, 2]
        for row in range(items[k, 1], end, block):
            for m in range(n_tasks):
                _chunk(
                    tag,
                    address + row * stride,
                    stride,
                    min(block, end - row),
                    m * n_samples + row,
                    W[m],
                    bias[m],
                    samples,
                    partial[k, m],
                    totals[k, m],
                )


@compiled
def reduce_chunks(start: Any, stop: Any, first: Any, partial: Any, grad: Any) -> None:
    """Second stage: sum the chunks of each task in their order, ``first`` (M+1,) as in CSR.

    The features are cut into blocks; (task, block) pairs start <= job < stop are summed here.
    """
    n_blocks = blocks_of(grad.shape[1])
    for job in range(start, stop):
        m, begin = job // n_blocks, (job % n_blocks) * BLOCK
        end = min(begin + BLOCK, grad.shape[1])
        grad[m, begin:end] = 0
        for k in range(first[m], first[m + 1]):
            for d in range(begin, end):
                grad[m, d] += partial[k, d]


@compiled
def blocks_of(n_features: int) -> int:
    """Number of blocks of features that `reduce_chunks` sums separately."""
    return (n_features + BLOCK - 1) // BLOCK


@compiled
def epilogue(
    start: Any,
    stop: Any,
    scores: Any,
    first: Any,
    bias: Any,
    labels: Any,
    weights: Any,
    loss: Any,
    totals: Any,
) -> None:
    """Turn scores (M, n) of samples ``first`` to ``first + n`` into residuals, in place.

    Tasks start to stop are done here, and added to ``totals`` (M, 2) as in `_chunk`.
    """
    for m in range(start, stop):
        value = total = 0.0
        for i in range(scores.shape[1]):
            c = weights[m, first + i] if weights.size else 1.0
            y = labels[m, first + i]
            v, r = sample(float(scores[m, i]) + bias[m], float(y), float(c), loss)
            value += v
            total += r
            scores[m, i] = r
        totals[m, 0] += value
        totals[m, 1] += total
