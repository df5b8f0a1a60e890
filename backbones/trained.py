"""The networks of a training run, on images from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.backbones.training import AttributeCNN
from proxmtl.io.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from proxmtl.backbones.images import Fit

__all__ = ["TrainedNetworks"]

IMAGES = "images"
"""Entry of a model's description: how its images became squares."""


class TrainedNetworks:
    """Features and scores of a training run, for images prepared as they were in it.

    Parameters
    ----------
    model
        The model.
    device
        Where to run it.

    Raises
    ------
    ValueError
        If its networks don't take colour images, or it doesn't say how images are prepared.
    """

    fit: Fit = "stretch"
    """How `ImageTable.read` makes squares of images, on which the networks were trained."""

    def __init__(self, model: AttributeCNN, device: torch.device | str = "cpu") -> None:
        shape = model.architecture.input_shape
        side = model.description.get(IMAGES, {}).get("side")
        if shape[0] != 3 or side is None:
            raise ValueError(
                f"these networks take arrays {shape}, not image files: they were trained by a "
                "program of its own. Use AttributeCNN.decision_function."
            )
        self.model = model.to(device)
        network = self.model.network
        self.name = f"{model.architecture.name} networks"
        self.input_size = int(side)
        self.n_features = network.n_features
        self.n_members = None if network.is_one else network.n_members

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> TrainedNetworks:
        """Read the model of a run folder that ``proxmtl train`` wrote.

        Raises
        ------
        InputError
            If there is none, it is damaged, or doesn't take image files.
        """
        model = AttributeCNN.load(folder)
        try:
            return cls(model, device)
        except ValueError as error:
            raise InputError(folder, str(error)) from error

    def to(self, device: torch.device | str) -> TrainedNetworks:
        """Move to a device; returns ``self``."""
        self.model = self.model.to(device)
        return self

    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Features (M, B, D), or (B, D) of one network, as they come out of the networks."""
        return self.model.features(pixels)

    def scores(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Scores (B, M); above zero means yes."""
        return self.model.decision_function(pixels)

    def tensors(self) -> dict[str, Tensor]:
        """What the features depend on, by name."""
        mean, scale = self.model.inputs
        return {**self.model.network.state_dict(), "input.mean": mean, "input.scale": scale}
