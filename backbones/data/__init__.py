"""Images on disk, and tables of images with attributes."""

from proxmtl.backbones.data.files import ImageFiles, find_images
from proxmtl.backbones.data.table import ImageTable

__all__ = ["ImageFiles", "ImageTable", "find_images"]
