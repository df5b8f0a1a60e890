"""Feature extractors and image data: thin clients of the engine."""

from proxmtl.backbones.backbone import Backbone
from proxmtl.backbones.efficientnet import EfficientNetLite0
from proxmtl.backbones.extract import extract
from proxmtl.backbones.images import TarImages, open_image, to_pixels
from proxmtl.backbones.quantized import QuantizedNet

__all__ = [
    "Backbone",
    "EfficientNetLite0",
    "QuantizedNet",
    "TarImages",
    "extract",
    "open_image",
    "to_pixels",
]
