"""Readers of data sets in the layout in which they're distributed; no data is included."""

from proxmtl.backbones.data.awa import AwA, AwAClasses, load_awa, load_awa_classes
from proxmtl.backbones.data.awa2 import AwA2, load_awa2
from proxmtl.backbones.data.celeba import CelebA, load_celeba
from proxmtl.backbones.data.clothing import CLOTHING_GROUPS, Clothing, load_clothing
from proxmtl.backbones.data.files import ImageFiles, find_images
from proxmtl.backbones.data.location import data_root
from proxmtl.backbones.data.table import ImageTable
from proxmtl.backbones.data.wbcatt import WBCATT_GROUPS, WBCAtt, load_wbcatt

__all__ = [
    "CLOTHING_GROUPS",
    "WBCATT_GROUPS",
    "AwA",
    "AwA2",
    "AwAClasses",
    "CelebA",
    "Clothing",
    "ImageFiles",
    "ImageTable",
    "WBCAtt",
    "data_root",
    "find_images",
    "load_awa",
    "load_awa2",
    "load_awa_classes",
    "load_celeba",
    "load_clothing",
    "load_wbcatt",
]
