"""Batches of training images, changed at random, made ahead by worker processes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from proxmtl.backbones.pixels import cropped

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from proxmtl.backbones.training.augment import Augmentation

__all__ = ["TrainingBatches"]


@dataclass(frozen=True)
class TrainingBatches(Dataset[Tensor]):
    """Batches of images, each a function of its rows and its seed alone.

    So it does not matter which process makes it, and when.

    Parameters
    ----------
    pixels
        (N, C, H, W) uint8.
    rows, seeds
        Of each batch.
    shape
        That the network takes.
    augmentation
        Random changes, drawn from the batch's seed.
    """

    pixels: NDArray[np.uint8]
    rows: Sequence[NDArray[np.intp]]
    seeds: Sequence[int]
    shape: tuple[int, int, int]
    augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        """Batch ``index``, (B, C, H, W) uint8."""
        images = self.pixels[self.rows[index]]
        return torch.from_numpy(cropped(images, self.shape, self.augmentation, self.seeds[index]))

    def loader(self, workers: int, *, pin_memory: bool = False) -> DataLoader[Tensor]:
        """All batches in order; with ``workers`` > 0 that many processes make them ahead.

        On Linux these are forked, whatever Python's default, and read the pixels where they are;
        elsewhere each is sent a copy of all pixels.
        """
        return DataLoader(
            self,
            batch_size=None,
            num_workers=workers,
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # it draws a seed, and would from the global one
        )
