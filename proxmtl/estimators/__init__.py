"""scikit-learn estimators for many attributes (tasks) at once, with binary or real labels."""

from proxmtl.estimators.baselines import baseline_estimator
from proxmtl.estimators.classifiers_cv import SharedPlusOwnClassifierCV, SingleTaskClassifierCV
from proxmtl.estimators.clusters import cluster_attributes
from proxmtl.estimators.files import load_model, save_model
from proxmtl.estimators.go_mtl import GOMTLClassifier
from proxmtl.estimators.latent import LatentMTLClassifier, LatentMTLRegressor
from proxmtl.estimators.latent_cv import LatentMTLClassifierCV, LatentMTLRegressorCV
from proxmtl.estimators.penalised import (
    GroupLassoClassifier,
    L21Classifier,
    LassoClassifier,
    RidgeMTLClassifier,
)
from proxmtl.estimators.regressors_cv import SharedPlusOwnRegressorCV, SingleTaskRegressorCV
from proxmtl.estimators.shared_plus_own import SharedPlusOwnClassifier, SharedPlusOwnRegressor
from proxmtl.estimators.single_task import SingleTaskClassifier, SingleTaskRegressor

__all__ = [
    "GOMTLClassifier",
    "GroupLassoClassifier",
    "L21Classifier",
    "LassoClassifier",
    "LatentMTLClassifier",
    "LatentMTLClassifierCV",
    "LatentMTLRegressor",
    "LatentMTLRegressorCV",
    "RidgeMTLClassifier",
    "SharedPlusOwnClassifier",
    "SharedPlusOwnClassifierCV",
    "SharedPlusOwnRegressor",
    "SharedPlusOwnRegressorCV",
    "SingleTaskClassifier",
    "SingleTaskClassifierCV",
    "SingleTaskRegressor",
    "SingleTaskRegressorCV",
    "baseline_estimator",
    "cluster_attributes",
    "load_model",
    "save_model",
]
