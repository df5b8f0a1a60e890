"""Networks that are trained: AlexNet, a small one, and M of them at once."""

from proxmtl.backbones.networks.alexnet import AlexNet
from proxmtl.backbones.networks.ensemble import Ensemble
from proxmtl.backbones.networks.network import Network
from proxmtl.backbones.networks.small import SmallCNN

__all__ = ["AlexNet", "Ensemble", "Network", "SmallCNN"]
