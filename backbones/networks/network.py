"""What a trainable network offers: stages in a row, from images to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Network(nn.Module, ABC):
    """Images (B, C, H, W) to features (B, D), cut into stages that run one after the other.

    An ensemble shares the first of them and copies the rest, so each parameter belongs to one
    stage.

    Attributes
    ----------
    name
        A short name, for records and file names.
    input_shape
        (C, H, W) of an image.
    n_features
        D.
    """

    name: str
    input_shape: tuple[int, int, int]
    n_features: int

    @abstractmethod
    def stages(self) -> Sequence[Sequence[nn.Module]]:
        """Layers of each stage, in order; together all layers of the network."""

    @property
    def n_stages(self) -> int:
        """Number of stages."""
        return len(self.stages())

    def stage_parameters(self, first: int, last: int) -> list[str]:
        """Names of the parameters and buffers of the stages ``first .. last - 1``."""
        inside = {
            id(tensor)
            for stage in self.stages()[first:last]
            for layer in stage
            for tensor in [*layer.parameters(), *layer.buffers()]
        }
        named = [*self.named_parameters(), *self.named_buffers()]
        return [name for name, tensor in named if id(tensor) in inside]

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
