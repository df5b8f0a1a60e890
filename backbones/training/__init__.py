"""Training of the attribute networks: images in, the solved ``W = L S`` on top, SGD below it."""

from proxmtl.backbones.training.augment import Augmentation, CropsAndFlips, Krizhevsky
from proxmtl.backbones.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from proxmtl.backbones.training.config import TrainingConfig
from proxmtl.backbones.training.divided import DividedHead
from proxmtl.backbones.training.head import Head, LatentHead, SingleTaskHead
from proxmtl.backbones.training.model import Architecture, AttributeCNN
from proxmtl.backbones.training.record import Epoch
from proxmtl.backbones.training.trainer import Trainer

__all__ = [
    "Architecture",
    "AttributeCNN",
    "Augmentation",
    "Checkpoint",
    "CropsAndFlips",
    "DividedHead",
    "Epoch",
    "Head",
    "Krizhevsky",
    "LatentHead",
    "SingleTaskHead",
    "Trainer",
    "TrainingConfig",
    "read_checkpoint",
    "write_checkpoint",
]
