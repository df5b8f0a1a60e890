"""Where a solve of the head starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from proxmtl.latent import Alternating, GramNewton, Hybrid, LatentMTL
from proxmtl.solvers import PALM, PANOC
from proxmtl.state import State

__all__ = ["prepared"]

STATES: dict[str, type[State]] = {
    "auto": Hybrid.state_type,
    "gram": GramNewton.state_type,
    "panoc": PANOC.state_type,
    "palm": PALM.state_type,
    "paper": Alternating.state_type,
}
"""State of each algorithm's solver, to read a saved one."""


def prepared(
    model: LatentMTL,
    blocks: tuple[Tensor | None, ...] | None,
    state: State | Mapping[str, Any] | None,
) -> tuple[LatentMTL, State | None]:
    """Return the model that starts from a state, from given factors, or from its own ``init``.

    K is then that of the start.
    """
    if isinstance(state, Mapping):
        state = STATES[model.algorithm].from_state_dict(dict(state))
    if state is not None:
        return replace(model, n_latents=None), state
    if blocks is not None:
        return replace(model, init=blocks, n_latents=None), None
    return model, None
