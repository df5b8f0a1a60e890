"""What a frozen feature extractor offers: an embedding of images, and the logits behind it."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from proxmtl.backbones.images import Fit


class Backbone(nn.Module, ABC):
    """A pretrained network, frozen: no parameter has a gradient, no layer is in training mode.

    Attributes
    ----------
    name
        A short name, for records and file names.
    input_size
        Side of the square input image in pixels.
    n_features
        Length D of the embedding.
    pixel_offset, pixel_scale
        The network sees ``(pixel - pixel_offset) / pixel_scale`` of RGB values in 0..255.
    n_members
        None: one network, as for every :class:`~.FeatureNetwork`.
    fit
        None: images may become squares in any way.
    """

    name: str
    input_size: int
    n_features: int
    n_members: int | None = None
    fit: Fit | None = None
    pixel_offset: float
    pixel_scale: float

    @abstractmethod
    def embed(self, images: Tensor) -> Tensor:
        """Embedding (B, D) of normalised images (B, 3, S, S)."""

    @abstractmethod
    def logits(self, embedding: Tensor) -> Tensor:
        """Class scores (B, C) of embeddings (B, D): the head that the network was trained with."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed RGB images.

        Parameters
        ----------
        pixels
            (B, 3, S, S) with S = ``input_size``, values 0..255, any dtype.

        Returns
        -------
        Tensor
            (B, D) float32.

        Raises
        ------
        ValueError
            If the shape is another one.
        """
        expected = (3, self.input_size, self.input_size)
        if tuple(pixels.shape[1:]) != expected:
            msg = (
                f"pixels has shape {tuple(pixels.shape)}; {self.name} takes (B, 3, "
                f"{self.input_size}, {self.input_size}): resize with to_pixels."
            )
            raise ValueError(msg)
        images = (pixels.to(torch.float32) - self.pixel_offset) / self.pixel_scale
        return self.embed(images.contiguous(memory_format=torch.channels_last))

    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Embedding (B, D) of RGB images (B, 3, S, S) of 0..255, without gradients."""
        device = next(itertools.chain(self.buffers(), self.parameters())).device
        with torch.inference_mode():
            embedded: Tensor = self(torch.from_numpy(pixels).to(device))
        return embedded

    def tensors(self) -> dict[str, Tensor]:
        """What the features depend on, by name."""
        constants = torch.tensor([self.pixel_offset, self.pixel_scale], dtype=torch.float64)
        return {**self.state_dict(), "pixels": constants}

    def freeze(self) -> Backbone:
        """Switch to evaluation mode and stop all gradients; returns ``self``.

        Weights are laid out with the channels last, which is about twice as fast on a CPU.
        """
        self.eval()
        self.requires_grad_(requires_grad=False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self
