"""Context manager for deterministic operations of torch."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["reproducible"]


@contextlib.contextmanager
def reproducible(wanted: bool) -> Iterator[None]:
    """Make operations that are not reproducible raise, if that is wanted or was so before."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(wanted or before, warn_only=warn_only and not wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
