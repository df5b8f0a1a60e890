"""proxmtl: proximal optimisation for structured-sparse, multi-task models on deep features.

A :class:`Problem` is a loss on the scores of a design, plus regularizers; a solver moves the
parameters; a :class:`Result` says how good the answer provably is. :class:`LatentMTL` is the model
``W = L S`` with shared latent tasks and group-sparse combinations.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers; at run time _WHERE, the same, is followed
    from proxmtl.adjoints import Envelope, Implicit, Unroll
    from proxmtl.baselines import BASELINES, Baseline
    from proxmtl.designs import FactoredDesign, SharedDesign, TaskDesign
    from proxmtl.estimators import (
        GOMTLClassifier,
        GroupLassoClassifier,
        L21Classifier,
        LassoClassifier,
        LatentMTLClassifier,
        RidgeMTLClassifier,
        SingleTaskClassifier,
    )
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
    from proxmtl.minimization import minimize
    from proxmtl.nn import LatentMTLHead, ProblemTemplate, ProximalOptimizer, SolverLayer
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
        SharedPlusOwn,
        SparseGroupL2,
        SquaredFrobenius,
        SquaredGroupL2,
        TotalVariation,
        UnsupportedError,
        WeightedFrobenius,
        WeightedL1,
    )
    from proxmtl.result import Certificate, Result, Status
    from proxmtl.selection import (
        cross_validate,
        hypergradient,
        solve_batch,
        solve_latent_path,
        solve_path,
        stability_selection,
        tune,
    )
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
        NewtonCholesky,
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
    "NewtonCholesky",
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
    "SharedPlusOwn",
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

_WHERE = {
    "proxmtl.adjoints": ("Envelope", "Implicit", "Unroll"),
    "proxmtl.baselines": ("BASELINES", "Baseline"),
    "proxmtl.designs": ("FactoredDesign", "SharedDesign", "TaskDesign"),
    "proxmtl.estimators": (
        "GOMTLClassifier",
        "GroupLassoClassifier",
        "L21Classifier",
        "LassoClassifier",
        "LatentMTLClassifier",
        "RidgeMTLClassifier",
        "SingleTaskClassifier",
    ),
    "proxmtl.groups": ("Groups",),
    "proxmtl.latent": ("LatentMTL", "LatentProblem", "LatentResult"),
    "proxmtl.losses": (
        "Huber",
        "Logistic",
        "Loss",
        "SmoothedHinge",
        "Squared",
        "SquaredHinge",
        "WestonWatkins",
    ),
    "proxmtl.minimization": ("minimize",),
    "proxmtl.nn": ("LatentMTLHead", "ProblemTemplate", "ProximalOptimizer", "SolverLayer"),
    "proxmtl.problem": ("Problem",),
    "proxmtl.regularizers": (
        "L1",
        "L21",
        "MCP",
        "SCAD",
        "Box",
        "ElasticNet",
        "ExclusiveL1",
        "FusedLasso",
        "GraphFused",
        "GroupL2",
        "LatentOverlapGroupL2",
        "LInf",
        "NonNegative",
        "Nuclear",
        "OverlappingGroupL2",
        "Regularizer",
        "SharedPlusOwn",
        "SparseGroupL2",
        "SquaredFrobenius",
        "SquaredGroupL2",
        "TotalVariation",
        "UnsupportedError",
        "WeightedFrobenius",
        "WeightedL1",
    ),
    "proxmtl.result": ("Certificate", "Result", "Status"),
    "proxmtl.selection": (
        "cross_validate",
        "hypergradient",
        "solve_batch",
        "solve_latent_path",
        "solve_path",
        "stability_selection",
        "tune",
    ),
    "proxmtl.solvers": (
        "FISTA",
        "IRLS",
        "MFISTA",
        "PALM",
        "PANOC",
        "PDHG",
        "PGD",
        "SPGD",
        "AdPGM",
        "DavisYin",
        "NewtonCholesky",
        "ProxNewton",
        "ProxSVRG",
    ),
    "proxmtl.stopping": (
        "KKT",
        "Gap",
        "MaxIterations",
        "MaxPasses",
        "MaxSeconds",
        "ObjectiveChange",
        "RelativeGap",
        "RelativeKKT",
    ),
    "proxmtl.targets": ("Targets",),
}
"""Where the public names live: imported when asked for, as torch alone takes seconds to import, and
``proxmtl --help`` needs none of it."""

_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}
_ROOMS = frozenset(module.removeprefix("proxmtl.") for module in _WHERE) | {"kernels"}


if not TYPE_CHECKING:  # a type checker that saw it would take any name for public

    def __getattr__(name: str) -> Any:
        """Import a public name, or a room, when it is asked for."""
        if name in _MODULE_OF:
            value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        elif name in _ROOMS:
            value = importlib.import_module(f"proxmtl.{name}")
        else:
            raise AttributeError(f"module 'proxmtl' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
