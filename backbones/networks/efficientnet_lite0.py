"""EfficientNet-Lite0 that is trained on: the network of :mod:`..efficientnet`, cut into stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from proxmtl.backbones.efficientnet import load_published, unloaded
from proxmtl.backbones.networks.network import IMAGENET, RANDOM, Network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Inverted residual blocks of each stage between the stem and the head; sizes change between."""
LEAST_SIDE = 32


class StagedEfficientNet(Network):
    """EfficientNet-Lite0: images (B, 3, H, W) to features (B, 1280), in nine stages.

    The stages are the stem, the seven groups of blocks of one width, and the last convolution with
    global average pooling. Paddings are those of TensorFlow ("SAME"), worked out for the size of
    the image. Batch normalisation keeps the statistics of the pretraining and learns its scale
    and shift; stochastic depth is left out.

    Parameters
    ----------
    input_shape
        (3, H, W), H and W at least 32; the published weights are of 224 x 224.
    weights
        ``"imagenet"``: the file that the optional package installs; ``"random"``; or a file with
        the published state dict.

    Raises
    ------
    ImportError
        If ``proxmtl[pretrained]`` isn't installed.
    FileNotFoundError, ValueError
        If the weights aren't there or are others, or the image is too small or not of colours.
    """

    name = "efficientnet_lite0"
    n_features = 1280
    normalisation = ((127.0,), (128.0,))

    def __init__(
        self,
        input_shape: tuple[int, int, int] = (3, 224, 224),
        weights: str | Path = IMAGENET,
    ) -> None:
        super().__init__()
        if input_shape[0] != 3 or min(input_shape[1:]) < LEAST_SIDE:
            msg = (
                f"input_shape={input_shape}: {self.name} takes images of three colours and at "
                f"least {LEAST_SIDE} x {LEAST_SIDE} pixels."
            )
            raise ValueError(msg)
        self.input_shape = input_shape
        net: Any = unloaded(input_shape[1:])
        if weights != RANDOM:
            load_published(net, None if weights == IMAGENET else weights)
        self.stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6())  # noqa: SLF001
        self.blocks: nn.ModuleList = net._blocks  # noqa: SLF001
        self.head = nn.Sequential(
            net._conv_head,  # noqa: SLF001
            net._bn1,  # noqa: SLF001
            nn.ReLU6(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        blocks = iter(self.blocks)
        groups = [[next(blocks) for _ in range(count)] for count in BLOCKS]
        self._stages: list[list[nn.Module]] = [[self.stem], *groups, [self.head]]
        self.train()

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return self._stages
