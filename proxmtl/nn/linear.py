"""Scores of linear heads, and their features without the means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from proxmtl.arrays import as_float_tensor
from proxmtl.designs import Design
from proxmtl.designs.checks import check_finite
from proxmtl.numerics import column_moments
from proxmtl.ranks import ALONE, Ranks

__all__ = ["Centred", "Features", "check_all_finite", "linear_scores", "unstandardized"]

Features = Tensor | Sequence[Tensor]

NOT_FINITE = (
    "drop or impute such samples, or the network has diverged: lower its learning rate and start "
    "from weights of before"
)


def linear_scores(features: Tensor, W: Tensor, intercept: Tensor | None) -> Tensor:
    """``x_m' w_m + b_m``: scores (B, M) of features (M, B, D), one matrix per task, or (B, D)."""
    shared = features.ndim == 2
    scores = features @ W if shared else torch.einsum("mbd,dm->bm", features, W)
    return scores if intercept is None else scores + intercept.to(scores.dtype)


def unstandardized(
    W: Tensor, intercept: Tensor | None, mean: Any, scale: Any
) -> tuple[Tensor, Tensor | None]:
    """W (D, M) and intercepts (M,) of ``(x - mean) / scale`` as those of ``x``.

    Raises
    ------
    ValueError
        If ``mean`` or ``scale`` is not D finite numbers, or a scale is not positive.
    """
    if scale is not None:
        divisor = _by_feature("scale", scale, W)
        if not bool((divisor > 0).all()):
            raise ValueError(f"scale: got {float(divisor.min()):.6g}; a scale must be > 0.")
        W = W / divisor[:, None]
    if mean is not None:
        shift = _by_feature("mean", mean, W) @ W
        intercept = -shift if intercept is None else intercept - shift
    return W, intercept


def _by_feature(name: str, given: Any, W: Tensor) -> Tensor:
    numbers = as_float_tensor(name, given).to(W)
    if numbers.shape != W.shape[:1] or not bool(numbers.isfinite().all()):
        raise ValueError(
            f"{name}: shape {tuple(numbers.shape)}; give a finite number for each of the "
            f"{len(W)} features."
        )
    return numbers


def check_all_finite(features: Features) -> None:
    """Raise ``ValueError`` if a dense feature is NaN or infinite, with what it says of networks."""
    one = isinstance(features, Tensor) and features.ndim == 2
    for m, part in enumerate([features] if one else features):
        if part.layout == torch.strided:
            check_finite("features" if one else f"features[{m}]", part, NOT_FINITE)


class Centred:
    """Features minus their means: the same model, its intercept apart, but better conditioned.

    As networks move, the means of their features drift, and directions that all samples share come
    to dominate the curvature. An intercept takes the means up exactly:
    ``X W + b = (X - 1 m') W + (b + m' W)``.

    Parameters
    ----------
    features : (N, D) or (M, N, D) Tensor, or sequence of M Tensors (N_m, D)
        Left as they are where they are sparse: without their means they would not be.
    wanted : bool
        False, for a model without an intercept: the means are zero.
    design : Design, optional
        Which says of what processes share the samples, or have features of some of the tasks.

    Attributes
    ----------
    features
        Of the same form.
    """

    def __init__(
        self, features: Features, *, wanted: bool = True, design: Design | None = None
    ) -> None:
        parts = [features] if isinstance(features, Tensor) else list(features)
        self.features: Any = features
        self.means: Tensor | None = None
        shared = isinstance(features, Tensor) and features.ndim == 2
        ranks = ALONE if design is None else design.ranks
        self._tasks = None if design is None or shared else design.tasks
        self._ranks = ranks
        if not wanted or any(part.layout != torch.strided for part in parts):
            return
        means = [_means(part) for part in parts]
        if ranks is not ALONE and self._tasks is None:
            means = _over_ranks(ranks, parts, means)
        centred = [part - mean[..., None, :] for part, mean in zip(parts, means, strict=True)]
        if isinstance(features, Tensor):
            self.features, self.means = centred[0], means[0]
        else:
            self.features, self.means = centred, torch.stack(means)

    def inside(self, W: Tensor, intercept: Tensor) -> Tensor:
        """Intercept for the centred features, of one for the features as they were."""
        return intercept + self._shift(W, intercept)

    def outside(self, W: Tensor, intercept: Tensor) -> Tensor:
        """Intercept for the features as they were, of one for the centred features."""
        return intercept - self._shift(W, intercept)

    def _shift(self, W: Tensor, like: Tensor) -> Tensor:
        if self.means is None:
            return torch.zeros_like(like)
        means, wide = self.means.to(torch.float64), W.to(torch.float64)
        if means.ndim == 1:
            return (means @ wide).to(like)
        if self._tasks is None:
            return (means * wide.T).sum(1).to(like)
        own = (means * wide[:, self._tasks].T).sum(1)
        whole = own.new_zeros(len(like)).index_copy_(0, self._tasks, own)
        return self._ranks.total(whole).to(like)


def _over_ranks(ranks: Ranks, parts: list[Tensor], means: list[Tensor]) -> list[Tensor]:
    """Means over the samples of all ranks."""
    numbers = [
        mean.new_tensor(part.shape[-2], dtype=torch.float64)
        for part, mean in zip(parts, means, strict=True)
    ]
    sums = [mean.to(torch.float64) * n for mean, n in zip(means, numbers, strict=True)]
    found = ranks.sum(*sums, *numbers)
    pairs = zip(found[: len(parts)], found[len(parts) :], parts, strict=True)
    return [(total / n).to(part.dtype) for total, n, part in pairs]


def _means(part: Tensor) -> Tensor:
    """Means over the samples, (D,) or (M, D), in the features' precision."""
    if part.ndim == 2:
        return column_moments(part).mean.to(part.dtype)
    return torch.stack([_means(one) for one in part])
