"""Readers of published data sets, as they are distributed; no data is included."""

from proxmtl.backbones.experiments.location import data_root

from .awa import AwA, AwAClasses, load_awa, load_awa_classes
from .awa2 import AwA2, load_awa2
from .celeba import load_celeba
from .clothing import CLOTHING_GROUPS, Clothing, load_clothing
from .labelled_images import LabelledImages
from .mulan import MULAN_LABELS, MultiLabel, load_mulan
from .tiny_awa import TinyAwA, load_tiny_awa
from .wbcatt import WBCATT_GROUPS, WBCAtt, load_wbcatt

__all__ = [
    "CLOTHING_GROUPS",
    "MULAN_LABELS",
    "WBCATT_GROUPS",
    "AwA",
    "AwA2",
    "AwAClasses",
    "Clothing",
    "LabelledImages",
    "MultiLabel",
    "TinyAwA",
    "WBCAtt",
    "data_root",
    "load_awa",
    "load_awa2",
    "load_awa_classes",
    "load_celeba",
    "load_clothing",
    "load_mulan",
    "load_tiny_awa",
    "load_wbcatt",
]
