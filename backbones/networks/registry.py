"""Networks by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.backbones.networks.alexnet import AlexNet
from proxmtl.backbones.networks.efficientnet_lite0 import StagedEfficientNet
from proxmtl.backbones.networks.libraries import LIBRARIES, library_network
from proxmtl.backbones.networks.network import IMAGENET, RANDOM, Network
from proxmtl.backbones.networks.small import SmallCNN

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_network_name", "make_network"]

NAMES = ("small", "alexnet", "alexnet_lrn", "efficientnet_lite0")


def check_network_name(name: str) -> None:
    """Raise ``ValueError`` if there is no network of that name.

    Names of a library's models are not looked up: it may not be installed.
    """
    library, _, model = name.partition(":")
    if name not in NAMES and not (library in LIBRARIES and model):
        known = ", ".join(map(repr, NAMES))
        msg = f"network: got {name!r}; use one of {known}, 'torchvision:NAME' or 'timm:NAME'."
        raise ValueError(msg)


def make_network(
    name: str,
    input_shape: tuple[int, int, int],
    *,
    weights: str | Path | None = None,
    widths: tuple[int, ...] = (16, 32),
    n_features: int = 32,
) -> Network:
    """Build a network.

    Parameters
    ----------
    name
        ``"small"``, ``"alexnet"``, ``"alexnet_lrn"`` (with local response normalisation),
        ``"efficientnet_lite0"``, or the name of a model of a library:
        ``"torchvision:resnet18"``, ``"timm:resnet18"``.
    input_shape
        (C, H, W); AlexNet has its own.
    weights
        File of published weights; ``"imagenet"``: those that are installed with the network, or
        that the library gets; ``"random"``: by torch's global generator. None: installed ones
        for ``"efficientnet_lite0"``, else random ones.
    widths, n_features
        Of :class:`SmallCNN`; the others have their own.

    Raises
    ------
    ValueError
        If there is no such network, or the weights aren't for it.
    ImportError
        If it needs an optional package that isn't installed.
    """
    check_network_name(name)
    if name == "efficientnet_lite0":
        return StagedEfficientNet(input_shape, IMAGENET if weights is None else weights)
    library, _, model = name.partition(":")
    if model:
        return library_network(library, model, input_shape, weights or RANDOM)
    given = None if weights == RANDOM else weights
    if given == IMAGENET or (name == "small" and given is not None):
        offer = "leave them out" if name == "small" else "give the file of torchvision's"
        msg = f"weights: got {str(weights)!r}, and {name!r} comes without; {offer}."
        raise ValueError(msg)
    if name == "small":
        return SmallCNN(input_shape, widths, n_features)
    network = AlexNet(lrn=name == "alexnet_lrn")
    if given is not None:
        network.load_imagenet(given)
    return network
