"""Functions that run outside compiled graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["eager"]

F = TypeVar("F", bound=Callable[..., Any])


def eager(function: F) -> F:
    """Keep a function out of ``torch.compile``: a solve has loops that depend on its numbers."""
    wrapped: F = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
    return wrapped
