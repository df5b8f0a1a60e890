"""Conversion of a model whose top layers run in sequence to a network in stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from proxmtl.backbones.networks.network import Network
from proxmtl.io.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TAILS: tuple[Callable[[], list[nn.Module]], ...] = (
    list,
    lambda: [nn.Flatten()],
    lambda: [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    lambda: [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
)
"""What models do between their last maps and their classifier by functions, not by layers."""
DEPTH_LAYERS = ("StochasticDepth", "DropPath")
"""Classes of layers that skip a block at random, in torchvision and timm."""


class Chain(Network):
    """A classifier of images without its last linear layer, cut into stages.

    Its top layers (those of any ``nn.Sequential`` among them too) are run one after the other. A
    stage begins at each that has a kernel or a matrix; what follows up to the next (norms,
    activations, poolings) belongs to it. Whether the model is such a chain, and what it does by
    functions before its classifier, is found by a trial: the features must be those that the model
    itself gives its classifier, on random images. Every parameter must belong to a stage.

    Batch normalisation keeps its statistics, operations in place are made out of place, and layers
    that skip blocks at random are left out.

    Parameters
    ----------
    model
        Images (B, C, H, W) to class scores; changed, and held.
    input_shape
        (C, H, W).
    name
        How errors and records call it.
    normalisation
        See :class:`Network`.

    Raises
    ------
    ValueError
        If the model doesn't take such images, doesn't end in a linear layer, or isn't a chain.
    """

    def __init__(
        self,
        model: nn.Module,
        input_shape: tuple[int, int, int],
        name: str,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.input_shape = model.eval(), input_shape
        self.name, self.normalisation = name, normalisation
        last = _remove_classifier(model, name)
        module: Any
        for module in model.modules():
            if hasattr(module, "inplace"):
                module.inplace = False
            for child, layer in list(module.named_children()):
                if type(layer).__name__ in DEPTH_LAYERS:
                    setattr(module, child, nn.Identity())
        images = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0))
        layers = _chain(model, images, last, name)
        its_own = set(model.modules())
        self.tail = nn.ModuleList(layer for layer in layers if layer not in its_own)
        self._stages = _cut(layers)
        outside = {*self.state_dict()} - {*self.stage_tensors(0, self.n_stages)}
        if outside:
            msg = (
                f"network {name!r} isn't a chain of its top layers: no stage would hold "
                f"{min(outside)}; use another, or write a Network."
            )
            raise ValueError(msg)
        with torch.no_grad():
            self.n_features = self(images).shape[1]
        self.train()

    def stages(self) -> Sequence[Sequence[nn.Module]]:
        return self._stages


def _remove_classifier(model: nn.Module, name: str) -> str:
    """Put an identity in the place of the last linear layer; returns the top child it is in."""
    linear: list[str] = [
        path for path, module in model.named_modules() if isinstance(module, nn.Linear)
    ]
    if not linear:
        msg = (
            f"network {name!r} has no linear layer, so its classifier can't be told from the rest."
        )
        raise ValueError(msg)
    parent, _, child = linear[-1].rpartition(".")
    setattr(model.get_submodule(parent), child, nn.Identity())
    return linear[-1].split(".")[0]


def _chain(model: nn.Module, images: Tensor, last: str, name: str) -> list[nn.Module]:
    """Layers that together do what the model does, by trial."""
    with torch.no_grad():
        try:
            expected = model(images)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            reason = first_line(error)
            msg = f"network {name!r} doesn't take images of {tuple(images.shape[1:])}: {reason}"
            raise ValueError(msg) from error
        size = float(expected.abs().max())
        if not 0 < size < torch.inf:
            msg = (
                f"network {name!r} gives features that are all zero, or not finite, on random "
                "images: they can't tell whether it is a chain. Give it other weights."
            )
            raise ValueError(msg)
        body: list[nn.Module] = []
        head: list[nn.Module] = []
        for child, module in model.named_children():
            (head if head or child == last else body).extend(_flat(module))
        for tail in TAILS:
            layers = [*body, *tail(), *head]
            try:
                found = nn.Sequential(*layers)(images)
            except (RuntimeError, ValueError, TypeError):
                continue
            if (
                found.shape == expected.shape
                and found.ndim == 2
                and torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * size)
            ):
                return layers
    msg = (
        f"network {name!r} isn't a chain of its top layers up to a linear classifier, so it can't "
        "be cut into stages; use another, or write a Network."
    )
    raise ValueError(msg)


def _flat(module: nn.Module) -> Iterator[nn.Module]:
    if type(module) is nn.Sequential:
        for child in module:
            yield from _flat(child)
    else:
        yield module


def _cut(layers: list[nn.Module]) -> list[list[nn.Module]]:
    stages: list[list[nn.Module]] = [[]]
    begun = False
    for layer in layers:
        weighty = any(parameter.ndim > 1 for parameter in layer.parameters())
        if weighty and begun:
            stages.append([])
        begun = begun or weighty
        stages[-1].append(layer)
    return stages
