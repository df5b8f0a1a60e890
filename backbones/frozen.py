"""Networks with fixed weights as sources of features, by name, file or run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from proxmtl.backbones.networks.libraries import in_pixels
from proxmtl.backbones.networks.registry import NETWORKS, make_network
from proxmtl.backbones.networks.weights import IMAGENET, RANDOM
from proxmtl.backbones.pixels import to_input
from proxmtl.backbones.quantized import QuantizedNet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from proxmtl.backbones.extraction import FeatureNetwork
    from proxmtl.backbones.images import Fit
    from proxmtl.backbones.networks import Network

__all__ = ["PRETRAINED", "UNTRAINED", "FrozenNetwork", "load_network"]

PRETRAINED = "efficientnet_lite0"
UNTRAINED = "untrained"
"""Name of a small network with random weights, always the same ones."""


class FrozenNetwork:
    """A network in evaluation mode and without gradients, as a :class:`~.FeatureNetwork`.

    Parameters
    ----------
    network
        Changed: its weights are laid out with the channels last, which is about twice as fast on a
        CPU.
    device
        Where to run it.
    """

    n_members: int | None = None
    fit: Fit | None = None

    def __init__(self, network: Network | QuantizedNet, device: torch.device | str = "cpu") -> None:
        network.eval().requires_grad_(requires_grad=False)
        self.network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name, self.n_features = network.name, network.n_features
        self.input_size = network.input_shape[-1]
        pair = network.normalisation or in_pixels()
        self.mean, self.scale = (torch.tensor(part, device=device) for part in pair)

    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Features (B, D) of RGB images (B, 3, S, S) of 0..255."""
        with torch.inference_mode():
            images = to_input(torch.from_numpy(pixels), self.mean, self.scale, channels_last=True)
            features: Tensor = self.network(images)
        return features

    def tensors(self) -> dict[str, Tensor]:
        """What the features depend on, by name."""
        inputs = {"input.mean": self.mean, "input.scale": self.scale}
        return {**self.network.state_dict(), **inputs}


def load_network(
    name: str, device: torch.device | str = "cpu", weights: str | Path | None = None
) -> FeatureNetwork:
    """Load a network that makes features.

    Parameters
    ----------
    name
        A name that :func:`~proxmtl.backbones.networks.make_network` takes, such as
        ``"efficientnet_lite0"`` (needs ``proxmtl[pretrained]``) or ``"timm:resnet50"``; an
        ``.npz`` file with a quantized graph; a run folder of ``proxmtl train``; or
        ``"untrained"``: a small network with random weights, the same in every call, that tells
        colours and textures apart but has learned nothing.
    device
        Where to run it.
    weights
        Of a network by name: a file, ``"imagenet"`` (the default) or ``"random"``.

    Raises
    ------
    ValueError
        If there is no such network, it comes without weights, the optional packages are missing,
        or a file is damaged.
    """
    path = Path(name)
    if name == UNTRAINED:
        if weights is not None:
            raise ValueError(f"weights: {name!r} has its own, random ones; leave them out.")
        return _untrained(device)
    if name not in NETWORKS and (path.is_dir() or path.suffix == ".npz"):
        if weights is not None:
            raise ValueError(f"weights: {name} holds its own; leave them out.")
        if path.is_dir():
            from proxmtl.backbones.trained import TrainedNetworks  # noqa: PLC0415 - slow to import

            return TrainedNetworks.load(path, device)
        return FrozenNetwork(QuantizedNet(path), device)
    try:
        return FrozenNetwork(make_network(name, weights=weights or IMAGENET), device)
    except ImportError as error:
        raise ValueError(f"network: {error}") from error
    except ValueError as error:
        if not str(error).startswith("network: got"):
            raise
        raise ValueError(
            f"{error} An .npz file of a quantized network or a run folder of proxmtl train will "
            "do, too."
        ) from error


def _untrained(device: torch.device | str) -> FrozenNetwork:
    """A small network whose weights no global seed changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = make_network("small", weights=RANDOM, widths=(32, 64, 128), n_features=256)
    network.name = UNTRAINED
    return FrozenNetwork(network, device)
