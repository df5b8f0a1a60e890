"""A small network for small images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from proxmtl.backbones.networks.network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence


class SmallCNN(Network):
    """Convolutions of 3 x 3 with group norm, halving the image from stage to stage.

    One stage per width, then global average pooling and a linear layer with ReLU. Made for images
    of 8 x 8 (digits) to about 96 x 96 on a CPU.

    Parameters
    ----------
    input_shape
        (C, H, W).
    widths
        Channels of each stage, each divisible by 4.
    n_features
        D.

    Raises
    ------
    ValueError
        If the image is too small for that many stages, or a width isn't divisible by 4.
    """

    name = "small"

    def __init__(
        self,
        input_shape: tuple[int, int, int] = (1, 8, 8),
        widths: tuple[int, ...] = (16, 32),
        n_features: int = 32,
    ) -> None:
        super().__init__()
        side = min(input_shape[1:])
        if not widths or any(width % 4 for width in widths) or side < 2 ** (len(widths) - 1):
            msg = (
                f"widths={widths} for images of {input_shape}: give multiples of 4, and no more "
                "stages than the image can be halved."
            )
            raise ValueError(msg)
        self.input_shape = input_shape
        self.n_features = n_features
        blocks, channels = [], input_shape[0]
        for i, width in enumerate(widths):
            pool: list[nn.Module] = [nn.MaxPool2d(2, ceil_mode=True)] if i else []
            convolution = nn.Conv2d(channels, width, kernel_size=3, padding=1)
            blocks.append(nn.Sequential(*pool, convolution, nn.GroupNorm(4, width), nn.ReLU()))
            channels = width
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, n_features), nn.ReLU()
        )
        self._stages: list[list[nn.Module]] = [[block] for block in [*blocks, self.head]]

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return self._stages
