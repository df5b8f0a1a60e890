"""Feature extractors and image data: thin clients of the engine."""

from proxmtl.backbones.archive import TarImages
from proxmtl.backbones.extract import Extracted, FeatureNetwork, extract, extract_to_file
from proxmtl.backbones.frozen import FrozenNetwork, load_network
from proxmtl.backbones.images import open_image, to_pixels
from proxmtl.backbones.quantized import QuantizedNet

__all__ = [
    "Extracted",
    "FeatureNetwork",
    "FrozenNetwork",
    "QuantizedNet",
    "TarImages",
    "extract",
    "extract_to_file",
    "load_network",
    "open_image",
    "to_pixels",
]
