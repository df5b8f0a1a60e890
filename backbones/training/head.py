"""The head on the features: choice of the engine's layer, and of its solver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from proxmtl.latent import LatentMTL, LatentResult
from proxmtl.latent.strengths import RelativeStrengths
from proxmtl.losses import Loss, SquaredHinge
from proxmtl.nn import ConvexHead, LatentMTLHead
from proxmtl.ranks import ALONE, Ranks
from proxmtl.regularizers import SquaredFrobenius
from proxmtl.stopping import MaxPasses, RelativeGap

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from proxmtl.backbones.networks import Ensemble
    from proxmtl.nn import SolvedHead
    from proxmtl.result import Result

__all__ = ["Head", "LatentHead", "SingleTaskHead", "attribute_signs", "solve_report"]


class Head(ABC):
    """Recipe of a layer: one linear score per attribute, solved on the features of all images.

    Attributes
    ----------
    ranks
        Processes that train together (:class:`DividedHead`).
    """

    ranks: Ranks = ALONE

    def check(self, network: Ensemble, folder: Path | None) -> None:  # noqa: B027 - may be left out
        """Raise ``ValueError`` if networks can't be trained under it, or not in a folder."""

    @abstractmethod
    def layer(self, n_features: int, n_tasks: int, **place: Any) -> SolvedHead[Any]:
        """Make the layer; ``place``: its ``device`` and ``dtype``."""


@dataclass(frozen=True)
class LatentHead(Head):
    """Latent tasks shared by all attributes, ``W = L S``: a :class:`~proxmtl.nn.LatentMTLHead`.

    With groups this is the paper's MG-CNN, without them its M-CNN.

    Parameters
    ----------
    model
        Its ``init`` is used for the first solve only; from then on each solve starts from the last
        factors, unless these had collapsed to zero, from where no solve escapes. Dead latents are
        brought back where that lowers the objective, unless its ``revive`` is False.
    relative
        Strengths in units of the features and labels of the first solve, in place of the model's.
    """

    model: LatentMTL = field(default_factory=LatentMTL)
    relative: RelativeStrengths | None = None

    def layer(self, n_features: int, n_tasks: int, **place: Any) -> LatentMTLHead:
        return LatentMTLHead(
            n_features, n_tasks, relative=self.relative, **vars(self.model), **place
        )


@dataclass(frozen=True)
class SingleTaskHead(Head):
    """Each attribute alone, with a ridge: the paper's S-CNN, a :class:`~proxmtl.nn.ConvexHead`.

    ``min_W sum_m mean_i loss(x_mi' w_m + b_m) + strength ||W||_F^2``, convex, with a certified gap.

    Parameters
    ----------
    l2_strength
        > 0.
    data_loss
        Squared hinge by default; :class:`~proxmtl.Logistic` for the paper's softmax of two classes.
    class_weight
        ``"balanced"``, (weight of -1, weight of +1) or None.
    max_passes, tol
        Budget, and the relative gap at which it is solved.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    l2_strength: float = 1e-2
    data_loss: Loss = field(default_factory=SquaredHinge)
    class_weight: Any = None
    max_passes: float = 2000
    tol: float = 1e-4

    def __post_init__(self) -> None:
        if not (0 < self.l2_strength < float("inf") and self.max_passes > 0 and self.tol >= 0):
            msg = (
                f"l2_strength, max_passes, tol: got {self.l2_strength}, {self.max_passes}, "
                f"{self.tol}; use > 0, > 0 and >= 0."
            )
            raise ValueError(msg)

    def layer(self, n_features: int, n_tasks: int, **place: Any) -> ConvexHead:
        return ConvexHead(
            n_features,
            n_tasks,
            SquaredFrobenius(self.l2_strength),
            loss=self.data_loss,
            reduction="task_mean",
            class_weight=self.class_weight,
            stop=RelativeGap(self.tol) | MaxPasses(self.max_passes),
            **place,
        )


def attribute_signs(labels: NDArray[np.floating[Any]]) -> Tensor:
    """Labels as heads take them: +1 above zero, -1 else, NaN where missing."""
    return torch.from_numpy(np.where(np.isnan(labels), np.nan, np.where(labels > 0, 1.0, -1.0)))


def solve_report(result: LatentResult | Result[Tensor]) -> dict[str, Any]:
    """Plain figures of a solve; ``live_latents`` is None for a head without latents."""
    return {
        "status": result.status.name,
        "passes": float(result.passes),
        "relative_kkt": float(result.certificate.relative_kkt),
        "relative_gap": result.certificate.relative_gap,
        "live_latents": result.live_latents if isinstance(result, LatentResult) else None,
    }
