"""Networks that begin where those of a finished run ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from proxmtl.backbones.networks import RANDOM
from proxmtl.backbones.training.model import Architecture, AttributeCNN
from proxmtl.io.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from proxmtl.backbones.networks import Ensemble

__all__ = ["networks_of_run"]


def networks_of_run(
    folder: Path, architecture: Architecture, names: Sequence[str]
) -> tuple[Ensemble, tuple[Tensor, Tensor]]:
    """Networks with the weights of a run, and the mean and scale of the pixels that they take.

    The paper trains the networks of single attributes first, and all of them together from there.
    Stages that keep their weights may be others than in that run.

    Parameters
    ----------
    folder
        Of a run of ``proxmtl train``.
    architecture
        Of the networks, for all attributes.
    names
        Of the attributes.

    Raises
    ------
    InputError
        If the folder holds no such model, or one of other networks or attributes.
    """
    model = AttributeCNN.load(folder)
    if model.names != tuple(names):
        raise InputError(
            folder,
            f"holds networks of other attributes, or in another order: {', '.join(model.names)}; "
            f"the labels have {', '.join(names)}.",
        )
    theirs = replace(model.architecture, frozen_stages=architecture.frozen_stages)
    if theirs != architecture:
        raise InputError(
            folder,
            f"holds other networks: {model.architecture}, and {architecture} is asked for; ask for "
            "the same, apart from the frozen stages.",
        )
    networks = architecture.ensemble(seed=0, weights=RANDOM)
    networks.load_state_dict(model.network.state_dict())
    return networks, model.inputs
