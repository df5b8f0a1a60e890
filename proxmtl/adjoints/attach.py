"""Attaching a solution to torch's autograd graph, with a backward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from proxmtl.adjoints.base import Adjoint, Sensitivity, Trace
from proxmtl.adjoints.envelope import Envelope
from proxmtl.adjoints.loss_at import check_features
from proxmtl.adjoints.once import once_differentiable
from proxmtl.adjoints.strengths import acting_penalties
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem

__all__ = ["Attached", "attach"]

TWICE = (
    "This solve can be differentiated once. Its backward pass holds the solution (or its active "
    "set) fixed, so differentiating it again would leave out how these move, and give a wrong "
    "second derivative rather than none. Take differences of the gradient instead."
)


class Attached(NamedTuple):
    """A solution and its objective in the autograd graph.

    Attributes
    ----------
    solution : Tensor, or tuple of Tensor for the factored problem
    objective : Tensor
        0-d, in the solution's dtype.
    """

    solution: Any
    objective: Tensor


def attach(
    problem: Problem | LatentProblem,
    solution: Tensor | tuple[Tensor, ...],
    features: Tensor | Sequence[Tensor] = (),
    strengths: Tensor | None = None,
    adjoint: Adjoint | None = None,
) -> Attached:
    """Make a solution a differentiable function of the features and the strengths.

    Parameters
    ----------
    problem : Problem or LatentProblem
    solution : Tensor, or tuple of Tensor
        Solution of the problem, as returned by a solver.
    features : (N, D) or (M, N, D) Tensor, or sequence of M Tensors (N_m, D)
        The features of the problem's design, attached to their graph.
    strengths : Tensor, shape (number of penalties,), optional
        The strengths of the problem, attached to their graph, in the order of
        ``problem.regularizers``; for the factored problem those of the group norm, the L1 norm, the
        ridge on L, and own parts (if it has any).
    adjoint : Adjoint
        Default :class:`Envelope`: the objective has a gradient, the solution has none.

    Returns
    -------
    Attached
        ``solution`` and ``objective``; only first derivatives are available.

    Raises
    ------
    ValueError
        If the features or the strengths are not those of the problem.
    UnsupportedError
        If the adjoint does not support the problem; the message names one that does.
    """
    blocks = solution if isinstance(solution, tuple) else (solution,)
    if isinstance(problem, LatentProblem):
        problem.check_point(blocks)
    else:
        problem.check_point(blocks[0])
    stacked = isinstance(features, Tensor) and features.ndim == 3
    given = [features] if isinstance(features, Tensor) else list(features)
    if given:
        parts = list(given[0]) if stacked else given
        check_features(problem.design, parts)
    known = torch.tensor([term.strength for term, _ in acting_penalties(problem)])
    if strengths is not None:
        fits = strengths.shape == known.shape
        if not fits or not torch.allclose(strengths.detach().cpu().to(known), known, rtol=1e-5):
            raise ValueError(
                f"strengths: got {strengths.detach().cpu().tolist()}, the problem was solved with "
                f"{known.tolist()}; give those it was solved with."
            )
    trace = (adjoint or Envelope()).trace(problem, tuple(block.detach() for block in blocks))
    out: Any = _Attach.apply(trace, stacked, strengths, *given)  # type: ignore[no-untyped-call]
    objective, *found = out
    return Attached(tuple(found) if isinstance(solution, tuple) else found[0], objective)


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, trace: Trace, stacked: bool, strengths: Tensor | None, *features: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.trace, ctx.stacked = trace, stacked
        ctx.save_for_backward(strengths, *features)
        ctx.set_materialize_grads(False)
        objective = trace.blocks[0].new_tensor(trace.objective())
        return objective, *(block.clone() for block in trace.blocks)

    @staticmethod
    def backward(ctx: Any, by_objective: Tensor | None, *q: Tensor | None) -> Any:
        trace, inputs = ctx.trace, ctx.saved_tensors
        strengths, *features = inputs
        wanted = {
            "features": any(ctx.needs_input_grad[3:]),
            "strengths": ctx.needs_input_grad[2],
        }
        total = Sensitivity()
        device = trace.blocks[0].device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            if by_objective is not None:
                total = total.plus(trace.of_objective(**wanted), by_objective)
            if any(part is not None for part in q):
                pairs = zip(q, trace.blocks, strict=True)
                whole = tuple(torch.zeros_like(b) if p is None else p for p, b in pairs)
                total = total.plus(trace.of_solution(whole, **wanted))
            by_strengths = None
            if wanted["strengths"] and total.strengths is not None:
                by_strengths = total.strengths.to(strengths)
            found: list[Tensor | None] = [None] * len(features)
            if total.features:
                parts = [torch.stack(total.features)] if ctx.stacked else list(total.features)
                found = [part.to(like) for part, like in zip(parts, features, strict=True)]
        grads = once_differentiable([by_strengths, *found], [*inputs, by_objective, *q], TWICE)
        return None, None, *grads
