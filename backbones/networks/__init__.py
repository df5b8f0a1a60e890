"""Networks that are trained, and M of them at once."""

from proxmtl.backbones.networks.alexnet import AlexNet
from proxmtl.backbones.networks.chain import Chain
from proxmtl.backbones.networks.efficientnet_lite0 import StagedEfficientNet
from proxmtl.backbones.networks.ensemble import Ensemble
from proxmtl.backbones.networks.network import RANDOM, Network
from proxmtl.backbones.networks.registry import check_network_name, make_network
from proxmtl.backbones.networks.small import SmallCNN

__all__ = [
    "RANDOM",
    "AlexNet",
    "Chain",
    "Ensemble",
    "Network",
    "SmallCNN",
    "StagedEfficientNet",
    "check_network_name",
    "make_network",
]
