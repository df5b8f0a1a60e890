"""Checks of the model's parameters before work starts."""

from __future__ import annotations

import operator
from contextlib import suppress
from typing import Any

import numpy as np

__all__ = ["check_strengths", "checked_number"]


def check_strengths(model: Any) -> None:
    """Raise ``ValueError`` unless all strengths are finite and >= 0 (``own_strength``: or None)."""
    for name in ("group_strength", "l1_strength", "frobenius_strength", "own_strength"):
        value = getattr(model, name)
        if value is None and name == "own_strength":
            continue
        if not (isinstance(value, (int, float)) and np.isfinite(value) and value >= 0):
            raise ValueError(f"{name}: got {value!r}; it must be finite and >= 0.")


def checked_number(K: Any) -> Any:
    """Convert an integer of any type (such as NumPy's) to int; return other values as they are."""
    with suppress(TypeError):
        number = operator.index(K)
        if number >= 1 and not isinstance(K, bool):
            return number
    if K is None or (isinstance(K, str) and K == "auto"):
        return K
    raise ValueError(f"n_latents: got {K!r}; use a whole number of at least 1, 'auto' or None.")
