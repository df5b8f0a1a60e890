"""Models of torchvision and timm by name, if these packages are installed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import torch

from proxmtl.backbones.networks.chain import Chain
from proxmtl.backbones.networks.weights import IMAGENET, RANDOM, load_weights
from proxmtl.io.errors import first_line

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

LIBRARIES = ("torchvision", "timm")
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pixels of ImageNet in 0..1, by which models are commonly trained."""


def in_pixels(
    mean: tuple[float, ...] = MEAN, deviation: tuple[float, ...] = DEVIATION
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and scale of pixels of 0..255 from those of 0..1, by default ImageNet's."""
    return tuple(255 * m for m in mean), tuple(255 * s for s in deviation)


def library_network(
    library: str, model: str, input_shape: tuple[int, int, int] | None, weights: str | Path
) -> Chain:
    """Build a model of a library as a network in stages.

    Parameters
    ----------
    library
        ``"torchvision"`` or ``"timm"``.
    model
        Its name there.
    input_shape
        (C, H, W); None: that of the pretraining, if the model says it, else (3, 224, 224).
    weights
        ``"imagenet"``: the library's own, which it downloads where it hasn't yet; ``"random"``,
        without a download; or a file with a state dict of the model.

    Raises
    ------
    ImportError
        If the library can't be imported.
    FileNotFoundError
        If the file of weights does not exist.
    ValueError
        If it has no such model, the weights are of another, or it can't be cut (:class:`Chain`).
    """
    name = f"{library}:{model}"
    try:
        package = importlib.import_module("timm" if library == "timm" else "torchvision.models")
    except (ImportError, OSError, RuntimeError) as error:  # built for another torch, for one
        reason = first_line(error)
        msg = (
            f"network {name!r} needs {library}, which can't be imported ({reason}); for your "
            f"torch: pip install 'torch=={torch.__version__.split('+')[0]}' {library}"
        )
        raise ImportError(msg) from error
    pretrained = weights == IMAGENET
    listed = getattr(package, "list_models", None) if library == "torchvision" else None
    if listed is not None and model not in listed(module=package):
        # those of detection and segmentation get the weights of their trunk, asked or not
        msg = f"network {name!r} can't be had from torchvision: it is none of its classifiers."
        raise ValueError(msg)
    try:
        net: nn.Module = (
            package.create_model(model, pretrained=pretrained)
            if library == "timm"
            else package.get_model(model, weights="DEFAULT" if pretrained else None)
        )
    except (ValueError, RuntimeError) as error:
        msg = f"network {name!r} can't be had from {library}: {first_line(error)}"
        raise ValueError(msg) from error
    if weights not in (IMAGENET, RANDOM):
        load_weights(net, weights, name)
    described: Any = getattr(net, "pretrained_cfg", {})
    shape = input_shape or tuple(described.get("input_size", (3, 224, 224)))
    normalisation = in_pixels(described.get("mean", MEAN), described.get("std", DEVIATION))
    return Chain(net, shape, name, normalisation)
