"""Solves as layers of torch networks, and proximal steps for any torch optimizer."""

from proxmtl.nn.convex_head import ConvexHead
from proxmtl.nn.head import LatentMTLHead
from proxmtl.nn.layer import ProblemTemplate, SolverLayer
from proxmtl.nn.proximal import ProximalOptimizer, proximal_step_size
from proxmtl.nn.solved_head import SolvedHead

__all__ = [
    "ConvexHead",
    "LatentMTLHead",
    "ProblemTemplate",
    "ProximalOptimizer",
    "SolvedHead",
    "SolverLayer",
    "proximal_step_size",
]
