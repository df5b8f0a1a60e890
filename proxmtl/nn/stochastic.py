"""One proximal gradient step on the factors, from a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from proxmtl.latent import LatentProblem

__all__ = ["alternating_step", "mean_over_processes"]


def mean_over_processes(block: Tensor) -> Tensor:
    """Mean over the processes, the same on all."""
    total = block.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def alternating_step(
    problem: LatentProblem,
    parameters: Sequence[Tensor],
    lr: float | None,
    mean: Callable[[Tensor], Tensor] | None,
) -> None:
    """Move the blocks of the problem in place, in the order of its sweep.

    ``lr`` None: one over the curvature of each block. ``mean``: over the processes of a distributed
    run, of gradients and curvatures.
    """
    for moving in problem.sweep:
        blocks = tuple(p.detach().to(problem.design.dtype) for p in parameters)
        _, grads = problem.smooth_value_and_grads(blocks)
        grads = grads if mean is None else tuple(mean(grad) for grad in grads)
        if lr is None:
            curvatures = problem.curvatures(blocks)
            curvatures = curvatures if mean is None else tuple(mean(c) for c in curvatures)
            # a task without a label in the batch has no curvature, and no gradient either
            lengths = tuple(1 / c.clamp_min(torch.finfo(c.dtype).tiny ** 0.5) for c in curvatures)
        else:
            lengths = tuple(block.new_tensor(lr) for block in blocks)
        moved = tuple(b - t * g for b, t, g in zip(blocks, lengths, grads, strict=True))
        new, _ = problem.prox(moved, lengths)
        for number in moving:
            parameters[number].copy_(new[number])
