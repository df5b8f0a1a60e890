"""Validation of the description of trained networks in ``model.json`` before they are built.

The sizes that it names are compared with the arrays beside it, so that what is built is no larger
than the file. Names that a library would look up on the network raise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from proxmtl.backbones.networks import RANDOM
from proxmtl.groups import Groups
from proxmtl.io.schema import either, null, number, sequence, table, tables, text, whole

if TYPE_CHECKING:
    from proxmtl.backbones.training.model import Architecture
    from proxmtl.io.model import ModelState

__all__ = ["HUB_VARIABLE", "check_described", "check_sizes"]

HUB_VARIABLE = "PROXMTL_ALLOW_HUB"
SIDE, STAGES, COUNT = 2**14, 2**12, 2**31
HEADS = ({"L", "S", "intercept"}, {"L", "S", "V", "intercept"}, {"W", "intercept"})

_figure = either(null, number())
_PARAMETERS = table(
    {
        "name": text,
        "n_members": whole(1, COUNT),
        "shared_stages": whole(0, STAGES),
        "frozen_stages": whole(0, STAGES),
        "input_shape": sequence(whole(1, SIDE), 3),
        "widths": sequence(whole(1, COUNT)),
        "n_features": whole(1, COUNT),
    }
)
_DESCRIPTION = table(
    {"names": sequence(text)},
    {
        "stages": sequence(sequence(text)),
        "groups": tables(sequence(text)),
        "epochs": whole(0, COUNT),
        "images": table({"side": whole(1, SIDE)}),
        "solve": table(
            {},
            {
                "status": either(null, text),
                "passes": _figure,
                "relative_kkt": _figure,
                "relative_gap": _figure,
                "live_latents": _figure,
            },
        ),
    },
)


def check_described(state: ModelState, *, hub: bool | None = None) -> None:
    """Raise if a description is not one of trained networks, or asks for the network.

    Parameters
    ----------
    state
        What was read.
    hub
        Whether the networks may be looked up on the network by their name; None: as the
        environment says, ``PROXMTL_ALLOW_HUB=1``.

    Raises
    ------
    ValueError
        With the place in the document, and what was seen there.
    """
    _PARAMETERS(state.parameters, "parameters")
    _DESCRIPTION(state.description, "description")
    name = state.parameters["name"]
    allowed = os.environ.get(HUB_VARIABLE) == "1" if hub is None else hub
    if name.count(":") > 1 and not allowed:
        raise ValueError(
            f"parameters.name: {name[:80]!r} would be looked up outside the library, perhaps on "
            f"the network; if you trust the file and want that, set {HUB_VARIABLE}=1"
        )
    n_members, n_names = state.parameters["n_members"], len(state.description["names"])
    shapes = {key: array.shape for key, array in state.arrays.items()}
    head = {key[5:]: shape for key, shape in shapes.items() if key.startswith("head.")}
    flat = [name for name, shape in head.items() if len(shape) != 2]
    if set(head) not in HEADS or flat != ["intercept"] or len(head["intercept"]) != 1:
        raise ValueError(f"arrays: the head has {sorted(head)[:5]}, or of other shapes")
    columns = {shape[-1] for name, shape in head.items() if name != "L"}
    if {n_members, n_names} | columns != {n_members}:
        raise ValueError(
            f"parameters.n_members: {n_members} networks for {n_names} names and a head of "
            f"{sorted(columns)} attributes"
        )
    groups = state.description.get("groups")
    if groups:
        Groups.from_names(groups, state.description["names"])


def check_sizes(architecture: Architecture, state: ModelState) -> None:
    """Compare the networks that are to be built with the arrays, taking no memory for either.

    Those of libraries are as large as their names say, and are compared when they are built.

    Raises
    ------
    ValueError
        If they differ.
    """
    if ":" in architecture.name:
        return
    with torch.device("meta"):
        planned = architecture.one().ensemble(weights=RANDOM).state_dict()
    expected = {
        f"network.{name}": (
            (architecture.n_members, *tensor.shape[1:])
            if name.startswith("members.")
            else tuple(tensor.shape)
        )
        for name, tensor in planned.items()
    }
    found = {key: array.shape for key, array in state.arrays.items() if key.startswith("network.")}
    for name in expected.keys() | found.keys():
        if expected.get(name) != found.get(name):
            raise ValueError(
                f"parameters: networks of these have {name} of shape {expected.get(name)}, and the "
                f"arrays {found.get(name)}"
            )
