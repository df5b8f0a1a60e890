# The public names, and where they live: `__init__.py` imports each when it is asked for.

from proxmtl.adjoints import (
    Envelope as Envelope,
    Implicit as Implicit,
    Unroll as Unroll,
)
from proxmtl.baselines import (
    BASELINES as BASELINES,
    Baseline as Baseline,
)
from proxmtl.designs import (
    FactoredDesign as FactoredDesign,
    ObservedDesign as ObservedDesign,
    ShardedDesign as ShardedDesign,
    SharedDesign as SharedDesign,
    StreamedDesign as StreamedDesign,
    TaskDesign as TaskDesign,
)
from proxmtl.estimators import (
    GOMTLClassifier as GOMTLClassifier,
    GroupLassoClassifier as GroupLassoClassifier,
    L21Classifier as L21Classifier,
    LassoClassifier as LassoClassifier,
    LatentMTLClassifier as LatentMTLClassifier,
    LatentMTLClassifierCV as LatentMTLClassifierCV,
    LatentMTLRegressor as LatentMTLRegressor,
    LatentMTLRegressorCV as LatentMTLRegressorCV,
    RidgeMTLClassifier as RidgeMTLClassifier,
    SharedPlusOwnClassifier as SharedPlusOwnClassifier,
    SharedPlusOwnClassifierCV as SharedPlusOwnClassifierCV,
    SharedPlusOwnRegressor as SharedPlusOwnRegressor,
    SharedPlusOwnRegressorCV as SharedPlusOwnRegressorCV,
    SingleTaskClassifier as SingleTaskClassifier,
    SingleTaskClassifierCV as SingleTaskClassifierCV,
    SingleTaskRegressor as SingleTaskRegressor,
    SingleTaskRegressorCV as SingleTaskRegressorCV,
)
from proxmtl.groups import (
    Groups as Groups,
)
from proxmtl.latent import (
    LatentMTL as LatentMTL,
    LatentProblem as LatentProblem,
    LatentResult as LatentResult,
)
from proxmtl.losses import (
    Huber as Huber,
    Logistic as Logistic,
    Loss as Loss,
    SmoothedHinge as SmoothedHinge,
    Squared as Squared,
    SquaredHinge as SquaredHinge,
    WestonWatkins as WestonWatkins,
)
from proxmtl.minimization import (
    minimize as minimize,
)
from proxmtl.nn import (
    LatentMTLHead as LatentMTLHead,
    ProblemTemplate as ProblemTemplate,
    ProximalOptimizer as ProximalOptimizer,
    SolverLayer as SolverLayer,
)
from proxmtl.problem import (
    Problem as Problem,
)
from proxmtl.ranks import (
    ProcessRanks as ProcessRanks,
    RankError as RankError,
)
from proxmtl.regularizers import (
    L1 as L1,
    L21 as L21,
    MCP as MCP,
    SCAD as SCAD,
    Box as Box,
    ElasticNet as ElasticNet,
    ExclusiveL1 as ExclusiveL1,
    FusedLasso as FusedLasso,
    GraphFused as GraphFused,
    GroupL2 as GroupL2,
    LatentOverlapGroupL2 as LatentOverlapGroupL2,
    LInf as LInf,
    NonNegative as NonNegative,
    Nuclear as Nuclear,
    OverlappingGroupL2 as OverlappingGroupL2,
    Regularizer as Regularizer,
    SharedPlusOwn as SharedPlusOwn,
    SparseGroupL2 as SparseGroupL2,
    SquaredFrobenius as SquaredFrobenius,
    SquaredGroupL2 as SquaredGroupL2,
    TotalVariation as TotalVariation,
    UnsupportedError as UnsupportedError,
    WeightedFrobenius as WeightedFrobenius,
    WeightedL1 as WeightedL1,
)
from proxmtl.result import (
    Certificate as Certificate,
    Result as Result,
    Status as Status,
)
from proxmtl.selection import (
    cross_validate as cross_validate,
    hypergradient as hypergradient,
    solve_batch as solve_batch,
    solve_latent_path as solve_latent_path,
    solve_path as solve_path,
    stability_selection as stability_selection,
    tune as tune,
)
from proxmtl.solvers import (
    FISTA as FISTA,
    IRLS as IRLS,
    LBFGS as LBFGS,
    MFISTA as MFISTA,
    PALM as PALM,
    PANOC as PANOC,
    PDHG as PDHG,
    PGD as PGD,
    SPGD as SPGD,
    AdPGM as AdPGM,
    BlockNewton as BlockNewton,
    CoordinateNewton as CoordinateNewton,
    DavisYin as DavisYin,
    NewtonCholesky as NewtonCholesky,
    ProxNewton as ProxNewton,
    ProxSVRG as ProxSVRG,
)
from proxmtl.stopping import (
    KKT as KKT,
    Gap as Gap,
    MaxIterations as MaxIterations,
    MaxPasses as MaxPasses,
    MaxSeconds as MaxSeconds,
    ObjectiveChange as ObjectiveChange,
    RelativeGap as RelativeGap,
    RelativeKKT as RelativeKKT,
)
from proxmtl.targets import (
    Targets as Targets,
)

__version__: str
