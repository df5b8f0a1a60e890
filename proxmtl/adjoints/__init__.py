"""Differentiation of a solve: of its value, by its optimality conditions, or by unrolling steps."""

from proxmtl.adjoints.attach import Attached, attach
from proxmtl.adjoints.base import Adjoint, Sensitivity, Trace
from proxmtl.adjoints.envelope import Envelope
from proxmtl.adjoints.implicit import Implicit
from proxmtl.adjoints.linear import LinearSolution, conjugate_gradients, gmres, neumann
from proxmtl.adjoints.linearised import ConvexLinearised, JointLinearised, Linearised, linearised
from proxmtl.adjoints.once import once_differentiable
from proxmtl.adjoints.prox_map import ProxMap
from proxmtl.adjoints.strengths import acting_penalties, gradient_slope, value_slope
from proxmtl.adjoints.unroll import Unroll

__all__ = [
    "Adjoint",
    "Attached",
    "ConvexLinearised",
    "Envelope",
    "Implicit",
    "JointLinearised",
    "LinearSolution",
    "Linearised",
    "ProxMap",
    "Sensitivity",
    "Trace",
    "Unroll",
    "acting_penalties",
    "attach",
    "conjugate_gradients",
    "gmres",
    "gradient_slope",
    "linearised",
    "neumann",
    "once_differentiable",
    "value_slope",
]
