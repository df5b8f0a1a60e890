"""Rows whose networks are trained end to end under their head: the CNN rows of Table III.

All rows of a plan have the same networks, rate, epochs and images. They differ in the head alone,
whose strength is chosen on the features of the networks as they start, by the validation part; so
is the epoch. Networks and head of that epoch are tested: unlike the rows on frozen features, these
are not fitted again on all rows to learn from, which would take as long once more. For the same
reason only the first of several validation parts, as there are with few labels, is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.experiments.protocol import Array, Fitted, Part
from proxmtl.backbones.experiments.selection import sigmoids
from proxmtl.backbones.images import SizedImages
from proxmtl.backbones.training import (
    Architecture,
    CropsAndFlips,
    Epoch,
    Krizhevsky,
    LatentHead,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)
from proxmtl.backbones.training.features import feature_standard, standardized
from proxmtl.backbones.training.head import Head, attribute_signs
from proxmtl.experiments import attribute_metrics
from proxmtl.groups import Groups
from proxmtl.latent import LatentMTL
from proxmtl.latent.strengths import Relative, RelativeStrengths

__all__ = ["PLANS", "Plan", "end_to_end", "stored_images"]

RIDGES = (10.0, 3.0, 1.0, 0.3)
"""Of the single-task head."""
SHARED = (0.3, 0.1, 0.03)
"""Of latent heads, in units of the critical strength of the first features."""
KEPT = (
    *("ap", "objective", "sgd_loss", "data_loss", "coef_spectral_norm", "coef_rank"),
    *("feature_scale", "score_drift", "gradient_norm", "learning_rate", "rejected"),
)
"""Figures of each epoch, in the log."""


@dataclass(frozen=True)
class Plan:
    """What all rows of a size have in common.

    Attributes
    ----------
    architecture
        Of the networks, for one attribute.
    weights
        They start from; as for :meth:`Architecture.ensemble`.
    side
        Of the images as they are kept; networks see crops of it.
    config
        Of the training.
    passes
        Budget of each solve.
    colours
        Whether colours are shifted, too.
    """

    architecture: Architecture
    weights: str
    side: int
    config: TrainingConfig
    passes: int = 100
    colours: bool = False

    def described(self) -> dict[str, Any]:
        """What figures depend on, JSON-able."""
        found = asdict(self)
        del found["config"]["workers"]
        return found


PLANS: dict[str, Plan] = {
    "cnn": Plan(
        Architecture(
            "efficientnet_lite0", shared_stages=9, frozen_stages=4, input_shape=(3, 64, 64)
        ),
        "imagenet",
        72,
        TrainingConfig(
            epochs=4,
            batch_size=32,
            learning_rate=3e-3,
            rollback_threshold=1.5,
            keep_best=True,
            channels_last=True,
        ),
    ),
    "alexnet": Plan(
        Architecture("torchvision:alexnet", input_shape=(3, 224, 224)),
        "imagenet",
        256,
        TrainingConfig(
            epochs=50,
            rollback_threshold=1.5,
            keep_best=True,
            autocast=True,
            channels_last=True,
            deterministic=False,
            workers=8,
        ),
        colours=True,
    ),
}
"""By the ends of the names of their rows: one small network for all attributes, as a CPU can train
it; and the paper's, a network for each attribute, for a GPU."""


def stored_images(images: SizedImages, side: int) -> Array:
    """Pixels (N, 3, side, side), uint8, of whole photographs, stretched."""
    unlabelled = np.zeros((len(images), 0))
    return ImageTable.from_images(images, unlabelled, (), side, fit="stretch").pixels


def end_to_end(name: str) -> tuple[Callable[[Part], Fitted], Mapping[str, Any]]:
    """The function that fits a row, and what configures it, by its name: ``"mg-cnn"``."""
    kind, plan = name.split("-")
    grid: Mapping[str, Any] = {"ridge": RIDGES} if kind == "s" else {"shared_strength": SHARED}
    return partial(_trained, kind, PLANS[plan]), {**grid, **PLANS[plan].described()}


def _candidates(kind: str, groups: Groups, passes: int, seed: int) -> list[tuple[float, Head]]:
    """Strengths and heads, the strongest penalty first."""
    if kind == "s":
        return [(ridge, SingleTaskHead(ridge, max_passes=passes)) for ridge in RIDGES]
    model = LatentMTL(None if kind == "m" else groups, max_passes=passes, random_state=seed)
    own: Relative = "auto" if kind == "own" else math.inf
    return [(a, LatentHead(model, RelativeStrengths(a, own))) for a in SHARED]


def _trained(kind: str, plan: Plan, part: Part) -> Fitted:
    """Choose the strength, train, and go back to the epoch that the validation part chooses."""
    fit, held = part.parts[0]
    table = ImageTable(part.X, part.Y, part.names, tuple(map(str, range(len(part.X)))))
    side = plan.architecture.input_shape[-1]
    config = replace(plan.config, seed=part.seed)

    def trainer(architecture: Architecture, head: Head, table: ImageTable) -> Trainer:
        networks = architecture.ensemble(part.seed, plan.weights).to(part.device)
        augmentation = Krizhevsky(side) if plan.colours else CropsAndFlips(side)
        return Trainer(
            networks, head, table, config, train=fit, test=held, augmentation=augmentation
        )

    one = replace(plan.architecture, shared_stages=0, frozen_stages=0)
    starts = trainer(one, SingleTaskHead(), table.with_attributes(part.names[:1]))
    frozen = starts.features(np.arange(len(table.pixels)))[0]
    del starts
    candidates = _candidates(kind, part.groups, plan.passes, part.seed)
    aps = _frozen_scores(candidates, frozen, part, fit, held)
    strength, head = candidates[int(np.argmax(aps))]
    option = "ridge" if kind == "s" else "shared_strength"
    architecture = replace(plan.architecture, n_members=len(part.names))
    run = trainer(architecture, head, table)
    history = run.run()
    model = run.model(architecture, {})
    calibrated = sigmoids(model.decision_function(part.X[held]).cpu().numpy(), part.Y[held])

    def log_odds(images: Array) -> Array:
        scores = model.decision_function(images).cpu().numpy().astype(np.float64)
        found: Array = calibrated.slopes * (scores + calibrated.shifts)
        return found

    validation = [
        {option: a, "ap": round(ap, 5)} for (a, _), ap in zip(candidates, aps, strict=True)
    ]
    notes: dict[str, Any] = {"epochs": [_plain(epoch) for epoch in history]}
    if kind != "s":
        notes["live_latents"] = history[run.chosen].live_latents
    return Fitted(log_odds, {option: strength, "epoch": run.chosen}, validation, notes)


def _frozen_scores(
    candidates: Sequence[tuple[float, Head]],
    features: torch.Tensor,
    part: Part,
    fit: Array,
    held: Array,
) -> list[float]:
    """Mean average precision of each head on the validation part, the networks as they start."""
    standard = feature_standard(features[fit], wanted=True)  # the scale of the training
    scaled = standardized(features, standard)
    signs = attribute_signs(part.Y[fit]).to(scaled)
    found = []
    for _, head in candidates:
        layer = head.layer(scaled.shape[-1], len(part.names), device=scaled.device)
        layer.solve(scaled[fit], signs)
        scores = layer(scaled[held]).detach().cpu().numpy()
        found.append(float(attribute_metrics(scores, part.Y[held], part.names)["ap"].mean()))
    return found


def _plain(epoch: Epoch) -> dict[str, Any]:
    """Figures of an epoch that are numbers, rounded."""
    figures = {name: getattr(epoch, name) for name in KEPT}
    return {
        name: float(f"{value:.4g}")
        for name, value in figures.items()
        if value is not None and math.isfinite(value)
    }
