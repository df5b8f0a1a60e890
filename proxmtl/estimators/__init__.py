"""scikit-learn estimators on top of the engine: many binary attributes at once."""

from proxmtl.estimators.latent import LatentMTLClassifier
from proxmtl.estimators.single_task import SingleTaskClassifier

__all__ = ["LatentMTLClassifier", "SingleTaskClassifier"]
