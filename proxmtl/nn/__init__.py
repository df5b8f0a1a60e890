"""Solves as layers of torch networks, and proximal steps for any torch optimizer."""

from proxmtl.nn.head import LatentMTLHead
from proxmtl.nn.layer import ProblemTemplate, SolverLayer
from proxmtl.nn.proximal import ProximalOptimizer, proximal_step_size

__all__ = [
    "LatentMTLHead",
    "ProblemTemplate",
    "ProximalOptimizer",
    "SolverLayer",
    "proximal_step_size",
]
