"""The models of the paper's comparison as estimators, by name."""

from __future__ import annotations

import math
from typing import Any

from proxmtl.baselines import BASELINES
from proxmtl.estimators.classifier import LinearAttributeClassifier
from proxmtl.estimators.go_mtl import GOMTLClassifier
from proxmtl.estimators.latent import LatentMTLClassifier
from proxmtl.estimators.penalised import (
    GroupLassoClassifier,
    L21Classifier,
    LassoClassifier,
    RidgeMTLClassifier,
)
from proxmtl.estimators.single_task import SingleTaskClassifier
from proxmtl.naming import no_such

__all__ = ["baseline_estimator"]

_KINDS: dict[str, tuple[type[LinearAttributeClassifier], dict[str, Any]]] = {
    "s-extract": (SingleTaskClassifier, {}),
    "ridge": (RidgeMTLClassifier, {}),
    "logistic-ridge": (RidgeMTLClassifier, {"loss": "logistic"}),
    "lasso": (LassoClassifier, {}),
    "l21": (L21Classifier, {}),
    "decorrelated": (GroupLassoClassifier, {}),
    "go-mtl": (GOMTLClassifier, {}),
    "m-extract": (LatentMTLClassifier, {"groups": "singletons", "own_strength": math.inf}),
    "mg-extract": (LatentMTLClassifier, {"own_strength": math.inf}),
}


def baseline_estimator(name: str, groups: Any = None, **parameters: Any) -> Any:
    """Create the estimator of a model in :data:`proxmtl.baselines.BASELINES`.

    Parameters
    ----------
    name
        Name of the model.
    groups
        Groups of attributes, in any form that estimators accept; ignored by models without groups.
    parameters
        Parameters of the estimator.

    Raises
    ------
    ValueError
        If there is no such model, or it needs groups and none are given.
    """
    if name not in BASELINES:
        raise ValueError(f"baseline: {no_such(name, BASELINES)}")
    kind, defaults = _KINDS[name]
    given = {**defaults, **parameters}
    if BASELINES[name].grouped:
        if groups is None:
            raise ValueError(f"groups: {name} needs groups of attributes, got none.")
        given["groups"] = groups
    return kind(**given)
