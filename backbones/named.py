"""Networks by what a user calls them: a name, a file, a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proxmtl.backbones.efficientnet import EfficientNetLite0
from proxmtl.backbones.quantized import QuantizedNet

if TYPE_CHECKING:
    import torch

    from proxmtl.backbones.extract import FeatureNetwork

__all__ = ["PRETRAINED", "load_network"]

PRETRAINED = "efficientnet_lite0"


def load_network(name: str, device: torch.device | str = "cpu") -> FeatureNetwork:
    """Load a network that makes features.

    Parameters
    ----------
    name
        ``"efficientnet_lite0"`` (needs ``proxmtl[pretrained]``), an ``.npz`` file with a quantized
        graph, or a run folder of ``proxmtl train``.
    device
        Where to run it.

    Raises
    ------
    ValueError
        If there is no such network, the optional packages are missing, or a file is damaged.
    """
    path = Path(name)
    if name != PRETRAINED and path.is_dir():
        from proxmtl.backbones.trained import TrainedNetworks  # noqa: PLC0415 - seconds to import

        return TrainedNetworks.load(path, device)
    if name != PRETRAINED and path.suffix != ".npz":
        raise ValueError(
            f"network: got {name!r}; use '{PRETRAINED}', an .npz file of a quantized network, or a "
            "run folder of proxmtl train."
        )
    try:
        network = EfficientNetLite0() if name == PRETRAINED else QuantizedNet(path)
    except ImportError as error:
        raise ValueError(f"network: {error}") from error
    return network.to(device)
