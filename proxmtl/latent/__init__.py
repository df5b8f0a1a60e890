"""The paper's model: ``W = L S``, latent tasks L combined by group-sparse S; and its solvers."""

from proxmtl.latent.alternating import Alternating
from proxmtl.latent.gram_newton import GramNewton
from proxmtl.latent.hybrid import Hybrid
from proxmtl.latent.initial import rebalance
from proxmtl.latent.model import LatentMTL, LatentResult
from proxmtl.latent.problem import LatentProblem
from proxmtl.latent.refactor import Refactored, refactor
from proxmtl.latent.strengths import RelativeStrengths

__all__ = [
    "Alternating",
    "GramNewton",
    "Hybrid",
    "LatentMTL",
    "LatentProblem",
    "LatentResult",
    "Refactored",
    "RelativeStrengths",
    "rebalance",
    "refactor",
]
