"""Settings of the joint model, checked before work starts."""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import Any

import numpy as np

__all__ = ["check_strengths", "checked_number"]


def check_strengths(model: Any) -> None:
    """Raise ``ValueError`` unless strengths are finite and >= 0; own parts may have none."""
    for name in ("group_strength", "l1_strength", "frobenius_strength", "own_strength"):
        value = getattr(model, name)
        if value is None and name == "own_strength":
            continue
        if not (isinstance(value, (int, float)) and np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: got {value!r}; it must be finite and >= 0.")


def checked_number(K: Any) -> Any:
    """Whatever has an index as a plain number: starts tell numbers from names by their type."""
    with suppress(TypeError):
        number = operator.index(K)
        if number >= 1 and not isinstance(K, bool):
            return number
    if K is None or (isinstance(K, str) and K == "auto"):
        return K
    raise ValueError(f"n_latents: got {K!r}; use a whole number of at least 1, 'auto' or None.")
