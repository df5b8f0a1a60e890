"""Kernel tests: shared cases, and memory that is never innocently zero."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # prox_cases: test modules aren't a package


@pytest.fixture(autouse=True, scope="module")
def poisoned_memory():
    """Fill what `torch.empty` returns with NaN, so that a result nobody wrote is seen."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("empty", "empty_like"):
            patch.setattr(torch, name, _filled(getattr(torch, name)))
        yield


def _filled(allocate):
    def poisoned(*args, **kwargs):
        fresh = allocate(*args, **kwargs)
        return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

    return poisoned
