"""`hinge_value_and_grad` in plain torch: two products with the features, any device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from proxmtl.kernels.dispatch import always

from .products import shared_grad, shared_scores, wide_blocks

if TYPE_CHECKING:
    from proxmtl.kernels.ops.hinge_args import HingeArgs, HingeResult

supports = always


def run(args: HingeArgs) -> HingeResult:
    """Scores, residuals and gradient as two matrix products and an elementwise epilogue."""
    if args.kind == "shared":
        return run_shared(args)
    if args.kind == "dense" and args.storage == args.dtype:
        return _run_dense(args)
    value = torch.zeros(args.n_tasks, dtype=torch.float64, device=args.device)
    grad = args.weights.new_zeros(args.n_tasks, args.n_features)
    grad_bias = args.weights.new_zeros(args.n_tasks)
    kept = []
    for m, (x, y, c) in enumerate(args.tasks()):
        scores = torch.cat([block @ args.weights[m] for block in wide_blocks(x, args.dtype)])
        if args.bias is not None:
            scores += args.bias[m]
        value[m], residual = epilogue(scores, y, c, args.loss)
        start = 0
        for block in wide_blocks(x, args.dtype):
            grad[m] += residual[start : start + len(block)] @ block
            start += len(block)
        grad_bias[m] = residual.sum()
        kept.append(scores)
    if args.kind == "dense":
        kept = [torch.stack(kept)] if kept else list(args.empty_scores())
    return args.result(value, grad, grad_bias, tuple(kept))


def run_shared(args: HingeArgs) -> HingeResult:
    """All tasks at once on one matrix, scores kept task-major."""
    x = args.features[0]
    scores = shared_scores(args.weights, x)
    if args.bias is not None:
        scores += args.bias[:, None]
    c = None if args.sample_weights is None else args.sample_weights[0]
    value, residual = epilogue(scores, args.labels[0], c, args.loss)
    return args.result(value, shared_grad(residual, x), residual.sum(1), (scores,))


def _run_dense(args: HingeArgs) -> HingeResult:
    x = args.features[0]
    scores = torch.bmm(x, args.weights[:, :, None])[:, :, 0]
    if args.bias is not None:
        scores = scores + args.bias[:, None]
    c = None if args.sample_weights is None else args.sample_weights[0]
    value, residual = epilogue(scores, args.labels[0], c, args.loss)
    grad = torch.bmm(residual[:, None, :], x)[:, 0, :]
    return args.result(value, grad, residual.sum(1), (scores,))


def epilogue(
    scores: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, loss: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value, summed in float64 over the last axis, and residual of given scores."""
    if loss == "squared_hinge":
        slack = (1 - labels * scores).clamp_min(0)
        phi, slope = 0.5 * slack * slack, -labels * slack
    elif loss == "logistic":
        margin = labels * scores
        # torch's softplus is linear from 20 on, 2e-9 too little in float64.
        phi = (-margin).clamp_min(0) + torch.log1p(torch.exp(-margin.abs()))
        slope = -labels * torch.sigmoid(-margin)
    else:
        slope = scores - labels
        phi = 0.5 * slope * slope
    if weights is not None:
        missing = weights == 0
        phi, slope = phi * weights, slope * weights
        if loss != "squared":
            missing |= labels == 0
    elif loss != "squared":
        missing = labels == 0
    else:
        return phi.sum(-1, dtype=torch.float64), slope
    phi, slope = phi.masked_fill(missing, 0), slope.masked_fill(missing, 0)
    return phi.sum(-1, dtype=torch.float64), slope
