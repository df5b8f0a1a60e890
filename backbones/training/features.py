"""From images to the features that a head is solved on: the networks, and constants taken out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.backbones.training.pixels import to_input

if TYPE_CHECKING:
    from proxmtl.backbones.networks import Ensemble

__all__ = ["feature_standard", "network_features", "standardized"]


def network_features(
    network: Ensemble,
    images: Tensor,
    inputs: tuple[Tensor, Tensor],
    *,
    autocast: bool = False,
    channels_last: bool = False,
) -> Tensor:
    """Features (M, B, D) as they come out of the networks; (B, D) where these are one.

    Parameters
    ----------
    network
        In the mode, training or evaluation, that is wanted.
    images
        (B, C, H, W) of 0..255, of the shape that the network takes.
    inputs
        Mean and scale of the pixels, on the device of the network.
    autocast
        Run it in bfloat16 where that is safe.
    channels_last
        Memory layout of the images.
    """
    pixels = to_input(images, *inputs, channels_last=channels_last)
    with torch.autocast(pixels.device.type, torch.bfloat16, enabled=autocast):
        features: Tensor = network(pixels)
    # all members are one network: one matrix for all attributes, not M views of it
    return features[0] if network.is_one else features


def feature_standard(features: Tensor, *, wanted: bool) -> tuple[Tensor, Tensor]:
    """Mean and scale (M, 1, D) or (1, D) of features (M, N, D) or (N, D), those of the start.

    Unless it is ``wanted`` they are 0 and 1.
    """
    mean, scale = features.mean(-2, keepdim=True), features.std(-2, keepdim=True)
    if not wanted:
        return torch.zeros_like(mean).float(), torch.ones_like(scale).float()
    # a unit that is (nearly) off at the start may come on later: its scale is that of the others
    typical = scale.mean(-1, keepdim=True).clamp_min(torch.finfo(scale.dtype).tiny)
    return mean.float(), torch.where(scale < 0.1 * typical, typical, scale).float()


def standardized(features: Tensor, standard: tuple[Tensor, Tensor]) -> Tensor:
    """Features less a mean, divided by a scale."""
    mean, scale = standard
    return (features.to(mean.dtype) - mean) / scale
