"""Published weights from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

__all__ = ["read_weights"]


def read_weights(path: str | Path, expected: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Read a state dict that torch saved, with ``weights_only=True``: the file can't run code.

    Parameters
    ----------
    path
        The file.
    expected
        Tensors by name; more in the file (of layers that are left out) does no harm.
    name
        Of the network, for errors.

    Raises
    ------
    FileNotFoundError
        If the file isn't there.
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
    for key, tensor in expected.items():
        if getattr(found.get(key), "shape", None) != tensor.shape:
            msg = (
                f"{path} doesn't hold the weights of {name}: {key} is missing or of another shape."
            )
            raise ValueError(msg)
    return {key: found[key] for key in expected}
