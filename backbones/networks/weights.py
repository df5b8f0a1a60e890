"""Initial weights: names for those at hand, and published ones from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["IMAGENET", "RANDOM", "load_weights"]

IMAGENET, RANDOM = "imagenet", "random"
"""Weights that come with a network or its library, and none; otherwise the name of a file."""


def load_weights(module: nn.Module, path: str | Path, name: str) -> None:
    """Load a state dict that torch saved, with ``weights_only=True``: the file can't run code.

    Parameters
    ----------
    module
        What to load into; tensors of the file that it does not have are ignored.
    path
        The file.
    name
        Of the network, for errors.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it can't be read, or a tensor is missing in it or of another shape.
    """
    if not Path(path).is_file():
        msg = f"{path} isn't there; give the file of the weights of {name}."
        raise FileNotFoundError(msg)
    try:
        given: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        msg = f"{path} can't be read as weights ({type(error).__name__}); get the file again."
        raise ValueError(msg) from error
    found = given if isinstance(given, dict) else {}
    expected = module.state_dict()
    for key, tensor in expected.items():
        if getattr(found.get(key), "shape", None) != tensor.shape:
            msg = (
                f"{path} doesn't hold the weights of {name}: {key} is missing or of another shape."
            )
            raise ValueError(msg)
    module.load_state_dict({key: found[key] for key in expected})
