"""Readers of data sets in the layout in which they're distributed; no data is included."""

from proxmtl.backbones.data.awa import AwA, load_awa
from proxmtl.backbones.data.celeba import CelebA, load_celeba
from proxmtl.backbones.data.clothing import CLOTHING_GROUPS, Clothing, load_clothing
from proxmtl.backbones.data.files import ImageFiles, find_images
from proxmtl.backbones.data.location import data_root
from proxmtl.backbones.data.table import ImageTable

__all__ = [
    "CLOTHING_GROUPS",
    "AwA",
    "CelebA",
    "Clothing",
    "ImageFiles",
    "ImageTable",
    "data_root",
    "find_images",
    "load_awa",
    "load_celeba",
    "load_clothing",
]
