"""scikit-learn estimators on top of the engine: many binary attributes at once."""

from proxmtl.estimators.baselines import baseline_estimator
from proxmtl.estimators.cross_validated import SharedPlusOwnClassifierCV, SingleTaskClassifierCV
from proxmtl.estimators.go_mtl import GOMTLClassifier
from proxmtl.estimators.latent import LatentMTLClassifier
from proxmtl.estimators.latent_cv import LatentMTLClassifierCV
from proxmtl.estimators.penalised import (
    GroupLassoClassifier,
    L21Classifier,
    LassoClassifier,
    RidgeMTLClassifier,
)
from proxmtl.estimators.shared_plus_own import SharedPlusOwnClassifier
from proxmtl.estimators.single_task import SingleTaskClassifier

__all__ = [
    "GOMTLClassifier",
    "GroupLassoClassifier",
    "L21Classifier",
    "LassoClassifier",
    "LatentMTLClassifier",
    "LatentMTLClassifierCV",
    "RidgeMTLClassifier",
    "SharedPlusOwnClassifier",
    "SharedPlusOwnClassifierCV",
    "SingleTaskClassifier",
    "SingleTaskClassifierCV",
    "baseline_estimator",
]
