"""The envelope theorem: the gradient of the optimal value."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from proxmtl.adjoints.base import Adjoint, Sensitivity, Trace
from proxmtl.latent import LatentProblem
from proxmtl.problem import Problem
from proxmtl.regularizers import UnsupportedError

__all__ = ["Envelope"]


@dataclass(frozen=True)
class Envelope(Adjoint):
    """Differentiate the optimal value ``V(X, s) = min_W F(W; X, s)`` only (Danskin).

    ``dV/dX_m = diag(c phi'(z_m)) 1 w_m'`` at the minimiser, and ``dV/ds_j`` is the penalty at unit
    strength: the gradient of the objective with W* held fixed. Takes one product and no linear
    system. The error is of first order in ``||W - W*||``. For the factored problem the rule holds
    at a strict local minimiser that changes continuously, so use warm starts.
    """

    def trace(self, problem: Problem | LatentProblem, blocks: tuple[Tensor, ...]) -> Trace:
        return _Trace(problem, blocks)


class _Trace(Trace):
    def of_solution(
        self,
        q: tuple[Tensor, ...],  # noqa: ARG002
        *,
        features: bool,  # noqa: ARG002
        strengths: bool,  # noqa: ARG002
    ) -> Sensitivity:
        raise UnsupportedError(
            "adjoint: Envelope() differentiates the objective at the solution, not the solution "
            "itself. Go back from the objective, or use Implicit() or Unroll(k)."
        )
