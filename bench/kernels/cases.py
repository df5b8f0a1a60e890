"""What is measured: a call, what it costs at least, the forms it competes with, and its proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Call = Callable[[], Any]


@dataclass
class Case:
    """One operation at one shape.

    Attributes
    ----------
    name, operation : str
    n_bytes, flops : int
        The floor: each operand read once and each result written once; multiply and add.
    limit : {"read", "copy", "flops", "flops bfloat16"}
        The ceiling that the floor is compared with.
    contenders : dict of str to callable
        Our backends, ``ours/...``, and the forms they compete with.
    check : callable
        Takes a contender's result; raises AssertionError when it is wrong.
    check_ours : callable, optional
        The same for ours, where others round more.
    """

    name: str
    operation: str
    n_bytes: int
    flops: int
    limit: str
    contenders: dict[str, Call]
    check: Callable[[Any], None]
    check_ours: Callable[[Any], None] | None = None


@dataclass
class Suite:
    """Case factories by name; a case's memory lives only while it is measured.

    Those whose names are in ``large`` take gigabytes and minutes.
    """

    factories: dict[str, Callable[[torch.device], Case]] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)

    def add(self, name: str, make: Callable[[torch.device], Case], *, large: bool = False) -> None:
        assert name not in self.factories, name
        self.factories[name] = make
        if large:
            self.large.add(name)


CPU, GPU = Suite(), Suite()


def backend(device: torch.device) -> str:
    """Name of ours on a device."""
    return "triton" if device.type == "cuda" else "numba"


def suite(device: torch.device) -> Suite:
    """Cases for a device, all operations registered."""
    from bench.kernels import hinge, prox  # noqa: F401 - they register their cases

    return GPU if device.type == "cuda" else CPU
