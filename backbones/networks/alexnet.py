"""AlexNet up to its first fully connected layer: the network of the paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from proxmtl.backbones.networks.network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence


class AlexNet(Network):
    """Five convolutions and fc6: images (B, 3, 224, 224) to features (B, 4096).

    The paper replaces the last two layers by ``W = L S``, so the features are those of fc6.
    Parameters are named as in torchvision's AlexNet, whose published ImageNet weights therefore
    load (`make_network`); its fc7 and fc8 are left out.

    Parameters
    ----------
    lrn
        Local response normalisation after the first two layers, as in the original network; the
        published weights of torchvision's were trained without it.
    dropout
        Rate before fc6; the original has 0.5.

    References
    ----------
    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012; the layer sizes are those of Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014.
    """

    name = "alexnet"
    input_shape = (3, 224, 224)
    n_features = 4096

    def __init__(self, *, lrn: bool = False, dropout: float = 0.5) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(64, 192, kernel_size=5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
            nn.Conv2d(192, 384, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(kernel_size=3, stride=2),
        )
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096))
        # without parameters, so the names of the others stay those of torchvision
        norm: list[nn.Module] = [nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)] * lrn
        f = list(self.features)
        self._stages: list[list[nn.Module]] = [
            [*f[0:2], *norm, f[2]],
            [*f[3:5], *norm, f[5]],
            f[6:8],
            f[8:10],
            f[10:13],
            [nn.Flatten(), *self.classifier, nn.ReLU()],
        ]

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return self._stages
