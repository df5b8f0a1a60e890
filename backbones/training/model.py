"""A trained model: networks, the solved head on them, and how images are prepared."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from proxmtl.backbones.networks import RANDOM, Ensemble, Network, make_network, network_spec
from proxmtl.backbones.pixels import cropped
from proxmtl.backbones.training.described import check_described, check_sizes
from proxmtl.backbones.training.features import network_features, standardized
from proxmtl.io.errors import InputError, first_line
from proxmtl.io.model import ModelState, read_model_state, write_model_state
from proxmtl.io.names import DESCRIPTION_FILE
from proxmtl.nn.linear import linear_scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Architecture", "AttributeCNN"]

KIND = "AttributeCNN"
PAIR = ("mean", "scale")


@dataclass(frozen=True)
class Architecture:
    """Which networks: enough to build them again.

    Parameters
    ----------
    name
        One of :func:`~proxmtl.backbones.networks.make_network`.
    n_members
        M, one network per attribute.
    shared_stages
        First stages that all networks share: 0 is the paper's, ``n_stages`` one network for all.
    frozen_stages
        First stages that keep their weights, at most the shared ones.
    input_shape
        (C, H, W) of the images; AlexNet takes (3, 224, 224).
    widths, n_features
        Sizes of :class:`SmallCNN`; the others have their own.

    Raises
    ------
    ValueError
        If there is no such network.
    """

    name: str = "small"
    n_members: int = 1
    shared_stages: int = 0
    input_shape: tuple[int, int, int] = (1, 8, 8)
    widths: tuple[int, ...] = (16, 32)
    n_features: int = 32
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        network_spec(self.name)

    def network(self, weights: str | Path | None = None) -> Network:
        """Make one network; ``weights`` as in :meth:`ensemble`."""
        return make_network(
            self.name,
            self.input_shape,
            weights=weights,
            widths=self.widths,
            n_features=self.n_features,
        )

    def ensemble(self, seed: int | None = None, weights: str | Path | None = None) -> Ensemble:
        """Make the networks, all with the same initial weights.

        As in the paper, where all start from one pretrained network: a latent task is a direction
        in the features of every network, so feature d must mean the same in all of them.

        Parameters
        ----------
        seed
            Of the initial weights; the global generator is left as it was. None: use that one.
        weights
            From which every network starts: a file, ``"imagenet"`` or ``"random"``; None: published
            ones where they are installed with the network, else random ones.

        Raises
        ------
        ValueError
            If the weights aren't for this network, or stages are out of range.
        ImportError
            If the network needs an optional package that isn't installed.
        """
        if seed is None:
            return self._copies(weights)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self._copies(weights)

    def one(self) -> Architecture:
        """The same for one attribute."""
        return replace(self, n_members=1)

    def _copies(self, weights: str | Path | None) -> Ensemble:
        first = self.network(weights)
        return Ensemble(
            lambda: copy.deepcopy(first),
            self.n_members,
            shared_stages=self.shared_stages,
            frozen_stages=self.frozen_stages,
        )


@dataclass(frozen=True)
class AttributeCNN:
    """Networks with a solved head.

    Attributes
    ----------
    architecture, network
        How the networks are built, and they themselves.
    factors
        Of the head: ``L``, ``S``, ``intercept`` and perhaps ``V``, or ``W``, ``intercept``.
    inputs, standard
        (mean, scale) that are taken from the pixels, and from the features, and divided by.
    names
        Of the M attributes.
    description
        More to keep beside the model, JSON-able.
    """

    architecture: Architecture
    network: Ensemble
    factors: dict[str, Tensor]
    inputs: tuple[Tensor, Tensor]
    standard: tuple[Tensor, Tensor]
    names: tuple[str, ...]
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def coef(self) -> Tensor:
        """W (D, M)."""
        factors = self.factors
        if "W" in factors:
            return factors["W"]
        shared = factors["L"] @ factors["S"]
        return shared + factors["V"] if "V" in factors else shared

    def to(self, device: torch.device | str) -> AttributeCNN:
        """Return the model on a device; its networks are moved."""

        def moved(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return pair[0].to(device), pair[1].to(device)

        return replace(
            self,
            network=self.network.to(device),
            factors={name: tensor.to(device) for name, tensor in self.factors.items()},
            inputs=moved(self.inputs),
            standard=moved(self.standard),
        )

    def features(self, pixels: NDArray[np.uint8]) -> Tensor:
        """Features (M, B, D) of a batch of images, as they come out; (B, D) of one network."""
        self.network.eval()
        images = torch.from_numpy(cropped(pixels, self.network.input_shape))
        with torch.inference_mode():
            return network_features(self.network, images, self.inputs)

    def decision_function(self, pixels: NDArray[np.uint8], batch_size: int = 256) -> Tensor:
        """Scores (N, M) of images (N, C, H, W) of 0..255; above zero means yes."""
        coef, intercept = self.coef.float(), self.factors["intercept"].float()
        parts = []
        for start in range(0, len(pixels), batch_size):
            features = self.features(pixels[start : start + batch_size])
            with torch.inference_mode():
                parts.append(linear_scores(standardized(features, self.standard), coef, intercept))
        return torch.cat(parts)

    def save(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and ``model.json`` into a folder; nothing is pickled."""
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"head.{name}": t for name, t in self.factors.items()}
        for part, pair in {"input": self.inputs, "features": self.standard}.items():
            tensors |= {f"{part}.{name}": t for name, t in zip(PAIR, pair, strict=True)}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        description = {**self.description, "names": list(self.names), "stages": self._stages()}
        write_model_state(folder, ModelState(KIND, asdict(self.architecture), arrays, description))

    def _stages(self) -> list[list[str]]:
        """Classes of the layers of each stage: the cut of a :class:`Chain` is found by a trial."""
        stages = self.network.skeleton.stages()
        return [[type(layer).__name__ for layer in stage] for stage in stages]

    @classmethod
    def load(cls, folder: str | Path, *, hub: bool | None = None) -> AttributeCNN:
        """Read what :meth:`save` wrote; nothing is downloaded.

        Parameters
        ----------
        folder
            Of the model.
        hub
            Whether its networks may be looked up on a hub, where their name says so
            (``timm:hf-hub:...``); None: as the environment says, ``PROXMTL_ALLOW_HUB=1``.

        Raises
        ------
        InputError
            If the folder holds no such model, it is damaged, its description and its arrays are
            not of one size, or its networks would be looked up on a hub.
        """
        state = read_model_state(folder)
        if state.kind != KIND:
            raise InputError(
                folder,
                f"holds a {state.kind}, not networks that were trained; give the run folder of "
                "proxmtl train.",
            )
        try:
            check_described(state, hub=hub)
            parameters = dict(state.parameters)
            for name in ("input_shape", "widths"):
                parameters[name] = tuple(parameters[name])
            architecture = Architecture(**parameters)
            check_sizes(architecture, state)
            parts: dict[str, dict[str, Tensor]] = {
                part: {} for part in ("network", "head", "input", "features")
            }
            for key, array in state.arrays.items():
                part, _, name = key.partition(".")
                parts[part][name] = torch.from_numpy(np.array(array))
            network = architecture.ensemble(seed=0, weights=RANDOM)
            network.load_state_dict(parts["network"])
            description = dict(state.description)
            names = tuple(description.pop("names"))
            stages = description.pop("stages", None)
            inputs, standard = ({k: parts[part][k] for k in PAIR} for part in ("input", "features"))
            model = cls(
                architecture,
                network,
                parts["head"],
                (inputs["mean"], inputs["scale"]),
                (standard["mean"], standard["scale"]),
                names,
                description,
            )
            shape = tuple(model.coef.shape)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                Path(folder) / DESCRIPTION_FILE,
                f"doesn't describe a whole model ({first_line(error)}).",
            ) from error
        if stages not in (None, model._stages()):
            raise InputError(
                folder,
                "holds networks that were cut into other stages than they are now: the library "
                "that they come from has changed. Install the version they were trained with.",
            )
        if shape != (network.n_features, len(names)):
            raise InputError(folder, f"doesn't describe a whole model: W has shape {shape}.")
        return model
