"""Kernel tests: shared cases, and memory that is never innocently zero."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # prox_cases: test modules aren't a package


@pytest.fixture(autouse=True, scope="module")
def poisoned_memory():
    """Fill uninitialised memory with NaN, so that a result nobody wrote is seen."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (torch, "empty"),
            (torch, "empty_like"),
            (torch.Tensor, "new_empty"),
            (np, "empty"),
        ):
            patch.setattr(owner, name, _filled(getattr(owner, name)))
        yield


def _filled(allocate):
    def poisoned(*args, **kwargs):
        fresh = allocate(*args, **kwargs)
        if isinstance(fresh, np.ndarray):
            if fresh.dtype.kind == "f":
                fresh.fill(np.nan)
        elif fresh.is_floating_point():
            fresh.fill_(float("nan"))
        return fresh

    return poisoned
