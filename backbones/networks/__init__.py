"""Networks as sequences of stages, and ensembles of M networks."""

from proxmtl.backbones.networks.alexnet import AlexNet
from proxmtl.backbones.networks.chain import Chain
from proxmtl.backbones.networks.efficientnet_lite0 import EfficientNetLite0
from proxmtl.backbones.networks.ensemble import Ensemble
from proxmtl.backbones.networks.network import Network
from proxmtl.backbones.networks.registry import make_network, network_spec
from proxmtl.backbones.networks.small import SmallCNN
from proxmtl.backbones.networks.weights import IMAGENET, RANDOM

__all__ = [
    "IMAGENET",
    "RANDOM",
    "AlexNet",
    "Chain",
    "EfficientNetLite0",
    "Ensemble",
    "Network",
    "SmallCNN",
    "make_network",
    "network_spec",
]
