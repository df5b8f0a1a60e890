"""The contract of a trainable network: a sequence of stages from images to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Sequence


class Network(nn.Module, ABC):
    """Images (B, C, H, W) to features (B, D), cut into stages that run one after the other.

    An ensemble shares the first of them and copies the rest, so each parameter belongs to one
    stage. A subclass with batch normalisation ends its constructor by ``self.train()``.

    Attributes
    ----------
    name
        A short name, for records and file names.
    input_shape
        (C, H, W) of an image.
    n_features
        D.
    normalisation
        (mean, scale) of the pixels (0..255) that the network was pretrained with, one number per
        channel or one for all: its input is ``(pixel - mean) / scale``. None: any will do.
    """

    name: str
    input_shape: tuple[int, int, int]
    n_features: int
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Layers of each stage, in order; together all layers of the network."""

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return len(self.stages())

    def stage_tensors(self, first: int, last: int) -> dict[str, Tensor]:
        """Parameters and buffers of the stages ``first .. last - 1``, by name."""
        inside = {
            id(tensor)
            for stage in self.stages()[first:last]
            for layer in stage
            for tensor in [*layer.parameters(), *layer.buffers()]
        }
        named = [*self.named_parameters(), *self.named_buffers()]
        return {name: tensor for name, tensor in named if id(tensor) in inside}

    def train(self, mode: bool = True) -> Self:
        """Switch to training, except for batch normalisation, which keeps its statistics.

        Those are of the pretraining: the statistics of a small batch would make the features of an
        image depend on the others of its batch, and differ from those that the head is solved on.
        """
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, _BatchNorm):
                layer.training = False
        return self

    def forward(self, images: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Run the stages ``first .. last - 1``; all of them by default.

        Raises
        ------
        ValueError
            If images (or what an earlier stage gave) have another shape than the network takes.
        """
        if first == 0 and tuple(images.shape[1:]) != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            msg = f"images have shape {tuple(images.shape)}; {self.name} takes (B, {shape})."
            raise ValueError(msg)
        x = images
        for stage in self.stages()[first:last]:
            for layer in stage:
                x = layer(x)
        return x
