"""Features of images on which a head is solved: network outputs, standardised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.backbones.pixels import to_input
from proxmtl.numerics import column_moments

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxmtl.backbones.networks import Ensemble

__all__ = ["DivergenceError", "feature_standard", "joined", "network_features", "standardized"]


class DivergenceError(ValueError):
    """The networks give features on which the head can't be solved."""


def network_features(
    network: Ensemble,
    images: Tensor,
    inputs: tuple[Tensor, Tensor],
    *,
    autocast: bool = False,
    channels_last: bool = False,
) -> Tensor:
    """Features (M, B, D) of a batch of images from M networks; (B, D) if all are one network.

    Parameters
    ----------
    network
        The networks, in training or evaluation mode.
    images
        (B, C, H, W) pixels 0..255, in the input size of the networks.
    inputs
        Mean and scale of the pixels, on the device of the network.
    autocast
        Use bfloat16 for the operations that torch's autocast considers safe.
    channels_last
        Memory layout of the images.
    """
    pixels = to_input(images, *inputs, channels_last=channels_last)
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=autocast):
        features: Tensor = network(pixels)
    # all members are one network: one matrix for all attributes, not M views of it
    return features[0] if network.is_one else features


def joined(parts: Iterable[Tensor], n_images: int, dtype: torch.dtype) -> Tensor:
    """Features (M, N, D) or (N, D) of N images, at least one, from those of their batches.

    Each batch is put in its place as it comes: no second copy of all of them is made.
    """
    out, done = torch.empty(0), 0
    for part in parts:
        if not done:
            shape = (*part.shape[:-2], n_images, part.shape[-1])
            out = torch.zeros(shape, dtype=dtype, device=part.device)
        size = part.shape[-2]
        out[..., done : done + size, :] = part
        done += size
    return out


def feature_standard(features: Tensor, *, wanted: bool) -> tuple[Tensor, Tensor]:
    """Mean and scale (M, 1, D) or (1, D) of features (M, N, D) or (N, D); 0 and 1 if not wanted."""
    if features.ndim == 3:
        means, scales = zip(
            *(feature_standard(one, wanted=wanted) for one in features), strict=True
        )
        return torch.stack(means), torch.stack(scales)
    if not wanted:
        row = torch.zeros_like(features[:1], dtype=torch.float32)
        return row, torch.ones_like(row)
    moments = column_moments(features)
    # a unit that is (nearly) off at the start may come on later: its scale is that of the others
    typical = float(moments.std.mean()) or 1.0
    scale = torch.where(moments.std < 0.1 * typical, typical, moments.std)
    return moments.mean[None].float(), scale[None].float()


def standardized(features: Tensor, standard: tuple[Tensor, Tensor]) -> Tensor:
    """Features less a mean, divided by a scale."""
    mean, scale = standard
    return (features.to(mean.dtype) - mean) / scale
