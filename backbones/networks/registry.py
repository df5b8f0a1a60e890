"""Networks by name, the same names for training and for frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from proxmtl.backbones.networks.alexnet import AlexNet
from proxmtl.backbones.networks.efficientnet_lite0 import EfficientNetLite0
from proxmtl.backbones.networks.libraries import LIBRARIES, library_network
from proxmtl.backbones.networks.small import SmallCNN
from proxmtl.backbones.networks.weights import IMAGENET, RANDOM, load_weights
from proxmtl.naming import no_such

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from proxmtl.backbones.networks.network import Network

__all__ = ["NETWORKS", "Spec", "make_network", "network_spec"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Spec:
    """What a name stands for.

    Attributes
    ----------
    make
        Called with the shape of the images and the initial weights; returns the network.
    shape
        (C, H, W) of the images where the caller has none; None: the network knows its own.
    weights
        Initial weights where the caller names none: ``"imagenet"`` or ``"random"``.
    """

    make: Callable[..., Network]
    shape: Shape | None = (3, 224, 224)
    weights: str = RANDOM


def _small(shape: Shape, weights: str | Path, **sizes: Any) -> SmallCNN:
    if weights != RANDOM:
        raise _without_weights("small", weights, "give 'random'")
    return SmallCNN(shape, **sizes)


def _alexnet(shape: Shape, weights: str | Path, *, lrn: bool) -> AlexNet:  # noqa: ARG001 - its own
    network = AlexNet(lrn=lrn)
    if weights == IMAGENET:
        name = "alexnet_lrn" if lrn else "alexnet"
        raise _without_weights(name, weights, "give the file of torchvision's")
    if weights != RANDOM:
        load_weights(network, weights, network.name)
    return network


def _without_weights(name: str, weights: str | Path, offer: str) -> ValueError:
    return ValueError(f"weights: got {str(weights)!r}, and {name!r} comes without; {offer}.")


NETWORKS = {
    "small": Spec(_small, shape=(3, 64, 64)),
    "alexnet": Spec(partial(_alexnet, lrn=False)),
    "alexnet_lrn": Spec(partial(_alexnet, lrn=True)),
    "efficientnet_lite0": Spec(EfficientNetLite0, weights=IMAGENET),
}


def network_spec(name: str) -> Spec:
    """What a name stands for; models of a library are not looked up, it may not be installed.

    Raises
    ------
    ValueError
        If there is no network of that name.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    library, _, model = name.partition(":")
    if library in LIBRARIES and model:
        return Spec(partial(library_network, library, model), shape=None)
    libraries = [f"{library}:NAME" for library in LIBRARIES]
    raise ValueError(f"network: {no_such(name, [*NETWORKS, *libraries])}")


def make_network(
    name: str,
    input_shape: Shape | None = None,
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
        (C, H, W); AlexNet has its own. None: that of the network's pretraining.
    weights
        File of published weights; ``"imagenet"``: those that are installed with the network, or
        that the library downloads; ``"random"``: by torch's global generator. None: installed ones
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
    spec = network_spec(name)
    sizes = {"widths": widths, "n_features": n_features} if name == "small" else {}
    return spec.make(input_shape or spec.shape, weights or spec.weights, **sizes)
