"""Figures of a solved head and the features below it, which say whether SGD there is stable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from proxmtl.experiments import attribute_metrics
from proxmtl.numerics import column_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from proxmtl.nn import SolvedHead
    from proxmtl.ranks import Ranks

__all__ = ["feature_moments", "held_out_means", "score_drift", "solved_figures"]


def feature_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations over the images, (M, 1, D) or (1, D), of (M, N, D) or (N, D)."""
    if features.ndim == 3:
        means, deviations = zip(*map(feature_moments, features), strict=True)
        return torch.stack(means), torch.stack(deviations)
    moments = column_moments(features)
    return moments.mean[None].to(features), moments.std[None].to(features)


@torch.no_grad()
def score_drift(layer: SolvedHead[Any], before: Tensor, now: Tensor) -> float:
    """Largest change of an attribute's mean score by that of the mean features, the head fixed."""
    return float((layer(now) - layer(before)).abs().max())


@torch.no_grad()
def solved_figures(
    layer: SolvedHead[Any], features: Tensor, labels: Tensor, deviations: Tensor
) -> dict[str, Any]:
    """Figures of a head that has just been solved, by their names in :class:`Epoch`.

    Parameters
    ----------
    layer
        The head.
    features
        (M, N, D) or (N, D), those that it was solved on.
    labels
        (N, M), -1, +1 or NaN.
    deviations
        Of the features.
    """
    singular = torch.linalg.svdvals(layer.coef_as(torch.float64))
    rounding = max(layer.coef.shape) * torch.finfo(layer.coef.dtype).eps
    return {
        "data_loss": float(layer.network_loss(features, labels, checked=True)),
        "coef_norm": float(singular.square().sum().sqrt()),
        "coef_spectral_norm": float(singular[0]),
        "coef_rank": int((singular > rounding * singular[0]).sum()),
        "feature_scale": float(deviations.square().mean().sqrt()),
    }


def held_out_means(
    scores: Tensor, labels: NDArray[Any], names: Sequence[str], ranks: Ranks
) -> tuple[float, float]:
    """Mean accuracy and mean average precision over the attributes of all processes.

    Parameters
    ----------
    scores, labels
        (N, M) of the attributes of this process: above zero means yes; 1, 0 or NaN.
    names
        Of these attributes.
    ranks
        The processes.
    """
    table = attribute_metrics(scores.cpu().numpy(), labels, names)
    means = pd.concat(ranks.gathered(table[["accuracy", "ap"]])).mean()
    return float(means["accuracy"]), float(means["ap"])
