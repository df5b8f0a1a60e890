"""proxmtl: proximal optimisation for structured-sparse, multi-task models on deep features.

A :class:`Problem` is a loss on the scores of a design, plus regularizers; a solver moves the
parameters; a :class:`Result` says how good the answer provably is. :class:`LatentMTL` is the model
``W = L S`` with shared latent tasks and group-sparse combinations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmtl.baselines import BASELINES, Baseline
from proxmtl.designs import FactoredDesign, SharedDesign, TaskDesign
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL, LatentProblem, LatentResult
from proxmtl.losses import (
    Huber,
    Logistic,
    Loss,
    SmoothedHinge,
    Squared,
    SquaredHinge,
    WestonWatkins,
)
from proxmtl.minimize import minimize
from proxmtl.problem import Problem
from proxmtl.regularizers import (
    L1,
    L21,
    MCP,
    SCAD,
    Box,
    ElasticNet,
    ExclusiveL1,
    FusedLasso,
    GraphFused,
    GroupL2,
    LatentOverlapGroupL2,
    LInf,
    NonNegative,
    Nuclear,
    OverlappingGroupL2,
    Regularizer,
    SparseGroupL2,
    SquaredFrobenius,
    SquaredGroupL2,
    TotalVariation,
    UnsupportedError,
    WeightedFrobenius,
    WeightedL1,
)
from proxmtl.result import Certificate, Result, Status
from proxmtl.solvers import (
    FISTA,
    IRLS,
    MFISTA,
    PALM,
    PANOC,
    PDHG,
    PGD,
    SPGD,
    AdPGM,
    DavisYin,
    ProxNewton,
    ProxSVRG,
)
from proxmtl.stopping import (
    KKT,
    Gap,
    MaxIterations,
    MaxPasses,
    MaxSeconds,
    ObjectiveChange,
    RelativeGap,
    RelativeKKT,
)
from proxmtl.targets import Targets

if TYPE_CHECKING:
    from proxmtl.adjoints import Envelope, Implicit, Unroll
    from proxmtl.estimators import (
        GOMTLClassifier,
        GroupLassoClassifier,
        L21Classifier,
        LassoClassifier,
        LatentMTLClassifier,
        RidgeMTLClassifier,
        SingleTaskClassifier,
    )
    from proxmtl.nn import LatentMTLHead, ProblemTemplate, ProximalOptimizer, SolverLayer
    from proxmtl.selection import (
        cross_validate,
        hypergradient,
        solve_batch,
        solve_latent_path,
        solve_path,
        stability_selection,
        tune,
    )

__version__ = "0.1.0"

__all__ = [
    "BASELINES",
    "FISTA",
    "IRLS",
    "KKT",
    "L1",
    "L21",
    "MCP",
    "MFISTA",
    "PALM",
    "PANOC",
    "PDHG",
    "PGD",
    "SCAD",
    "SPGD",
    "AdPGM",
    "Baseline",
    "Box",
    "Certificate",
    "DavisYin",
    "ElasticNet",
    "Envelope",
    "ExclusiveL1",
    "FactoredDesign",
    "FusedLasso",
    "GOMTLClassifier",
    "Gap",
    "GraphFused",
    "GroupL2",
    "GroupLassoClassifier",
    "Groups",
    "Huber",
    "Implicit",
    "L21Classifier",
    "LInf",
    "LassoClassifier",
    "LatentMTL",
    "LatentMTLClassifier",
    "LatentMTLHead",
    "LatentOverlapGroupL2",
    "LatentProblem",
    "LatentResult",
    "Logistic",
    "Loss",
    "MaxIterations",
    "MaxPasses",
    "MaxSeconds",
    "NonNegative",
    "Nuclear",
    "ObjectiveChange",
    "OverlappingGroupL2",
    "Problem",
    "ProblemTemplate",
    "ProxNewton",
    "ProxSVRG",
    "ProximalOptimizer",
    "Regularizer",
    "RelativeGap",
    "RelativeKKT",
    "Result",
    "RidgeMTLClassifier",
    "SharedDesign",
    "SingleTaskClassifier",
    "SmoothedHinge",
    "SolverLayer",
    "SparseGroupL2",
    "Squared",
    "SquaredFrobenius",
    "SquaredGroupL2",
    "SquaredHinge",
    "Status",
    "Targets",
    "TaskDesign",
    "TotalVariation",
    "Unroll",
    "UnsupportedError",
    "WeightedFrobenius",
    "WeightedL1",
    "WestonWatkins",
    "cross_validate",
    "hypergradient",
    "minimize",
    "solve_batch",
    "solve_latent_path",
    "solve_path",
    "stability_selection",
    "tune",
]

_LAZY = (
    dict.fromkeys(
        (
            "GOMTLClassifier",
            "GroupLassoClassifier",
            "L21Classifier",
            "LassoClassifier",
            "LatentMTLClassifier",
            "RidgeMTLClassifier",
            "SingleTaskClassifier",
        ),
        "proxmtl.estimators",
    )
    | dict.fromkeys(
        (
            "cross_validate",
            "hypergradient",
            "solve_batch",
            "solve_latent_path",
            "solve_path",
            "stability_selection",
            "tune",
        ),
        "proxmtl.selection",
    )
    | dict.fromkeys(
        ("Envelope", "Implicit", "Unroll"),
        "proxmtl.adjoints",
    )
    | dict.fromkeys(
        ("LatentMTLHead", "ProblemTemplate", "ProximalOptimizer", "SolverLayer"),
        "proxmtl.nn",
    )
)


def __getattr__(name: str) -> Any:
    """Import only when asked for what needs scikit-learn or pandas, or is a room apart."""
    if name in _LAZY:
        import importlib  # noqa: PLC0415

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'proxmtl' has no attribute {name!r}")
