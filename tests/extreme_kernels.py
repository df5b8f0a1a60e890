"""Extreme parameters and features, and what each kernel does with them, in every backend.

What is right is what the naive loops in float64 say, to some roundings of the storage dtype.
"""

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from proxmtl import kernels
from proxmtl.kernels import BackendError

RIGHT = "right"
NAIVE, BACKENDS = "naive", ("torch", "numba", "triton")
SMALLEST = {torch.float64: 5e-324, torch.float32: 2.0**-149, torch.float16: 2.0**-24}
SMOOTHNESS = "ValueError: smoothness is .* so must one over it"
SHAPE = "ValueError: (axis is -1 but . has 0 dimensions|X has )"
ITEMS = 6

V = torch.randint(-40, 41, (4, ITEMS), generator=torch.Generator().manual_seed(5)) / 16.0
V = V.double()
W = torch.randint(-8, 9, (ITEMS, 3), generator=torch.Generator().manual_seed(6)).double() / 16
Y = torch.where(torch.arange(12).reshape(4, 3) % 5 < 2, 1.0, -1.0).double()


@dataclass(frozen=True)
class Case:
    """A parameter (fibres, items) with entries of the size ``unit``.

    ``repeats`` says how many copies of the small parameter ``of`` the large one is made of.
    """

    name: str
    V: torch.Tensor
    unit: float = 1.0
    group_size: int = 2
    of: torch.Tensor | None = None
    raises: str | None = None
    limit: str | None = None

    def expects(self, outcome: str) -> bool:
        """Whether an outcome is the right one; that a backend does not serve a call is one."""
        if self.raises is not None:
            return outcome.startswith(self.raises)
        limit = self.limit is not None and re.match(self.limit, outcome) is not None
        return outcome == RIGHT or outcome.startswith("not served") or limit


def _column(values: Any) -> torch.Tensor:
    changed = V.clone()
    changed[:, 1] = values
    return changed


@cache
def cases() -> dict[str, Case]:
    """All cases, by name."""
    dtype = "TypeError: "
    found = [
        *(
            Case(name, V * c, c)
            for name, c in (
                ("1e30", 2.0**100),
                ("1e-30", 2.0**-100),
                ("1e160", 2.0**532),
                ("1e-160", 2.0**-532),
            )
        ),
        *(
            Case(f"float32, {name}", (V * c).float(), c, limit=SMOOTHNESS)
            for name, c in (("1e30", 2.0**100), ("1e-30", 2.0**-100), ("1e-44", 2.0**-145))
        ),
        Case("1e-322", V * 2.0**-1070, 2.0**-1070, limit=SMOOTHNESS),
        Case("constant column", _column(3.7)),
        Case("zero column", _column(0)),
        Case("duplicated column", _column(V[:, 0])),
        Case("all columns zero", 0 * V),
        Case("duplicated rows", V[:1].repeat(4, 1)),
        Case("N = 1", V[:1]),
        Case("M = 1", V[:, :1], group_size=1),
        Case("K = 1", V, group_size=ITEMS),
        Case("10^5 features, ten rows", V.repeat(25_000, 1), of=V),
        Case("10^4 groups", V[:, :2].repeat(1, 10_000), of=V[:, :2]),
        Case("float32", V.float()),
        Case("float16", V.half()),
        Case("int8", (16 * V).to(torch.int8), raises=dtype),
        Case("bool", V > 0, raises=dtype),
        Case("Fortran order", V.T.contiguous().T),
        Case("every second item", V.repeat_interleave(2, 1)[:, ::2]),
        Case("features 0-d", torch.tensor(1.5).double(), limit=SHAPE),
        Case("features 3-d", V.reshape(2, 2, ITEMS), limit=SHAPE),
    ]
    return {case.name: case for case in found}


def _groups(n_items: int, size: int) -> kernels.GroupIndex:
    edges = torch.arange(0, n_items + 1, min(size, n_items))
    return kernels.GroupIndex(edges, torch.arange(n_items))


def _soft_threshold(case: Case, v: torch.Tensor, backend: str) -> tuple[Any, ...]:
    return kernels.soft_threshold(v, 1.0, step=0.5 * case.unit, backend=backend)


def _group_shrink(case: Case, v: torch.Tensor, backend: str) -> tuple[Any, ...]:
    groups = _groups(v.shape[-1] if v.dim() else 1, case.group_size)
    step = 0.5 * case.unit
    return kernels.group_shrink(v, groups, 1.0, step=step, l1=0.2, backend=backend)


def _overlap_dual_sweep(case: Case, v: torch.Tensor, backend: str) -> tuple[Any, ...]:
    x, n_items = v.clone(), v.shape[-1] if v.dim() else 1
    groups = _groups(n_items, case.group_size)
    dual = torch.zeros_like(x)
    kernels.overlap_dual_sweep(
        x, dual, groups, 1.0, step=0.5 * case.unit, sweeps=1, backend=backend
    )
    return x, dual


def _smoothed_group_grad(case: Case, v: torch.Tensor, backend: str) -> tuple[Any, ...]:
    groups = _groups(v.shape[-1] if v.dim() else 1, case.group_size)
    smoothness = case.unit
    found = kernels.smoothed_group_grad(v, groups, 1.0, smoothness, backend=backend)
    return found.grad, found.penalty


def _chain_prox(case: Case, v: torch.Tensor, backend: str) -> tuple[Any, ...]:
    return kernels.chain_prox(v, 1.0, step=0.5 * case.unit, backend=backend)


def _hinge(case: Case, v: torch.Tensor, backend: str) -> tuple[Any, ...]:
    """Features in a unit, weights in one over it: the scores are those of plain numbers."""
    rows = v.shape[0] if v.dim() else 1
    inverse = 2.0 ** min(-math.log2(case.unit), 1000 if case.V.dtype == torch.float64 else 120)
    weights = W[:1].repeat(v.shape[-1] if v.dim() else 1, 1)
    if v.shape[-1:] == (ITEMS,):
        weights = W
    labels = Y.repeat(-(-rows // len(Y)), 1)[:rows]
    found = kernels.hinge_value_and_grad(
        v, (weights * inverse).to(v.dtype), labels.to(v.dtype), backend=backend
    )
    return found.value, found.grad


HINGE, CHAIN = "hinge_value_and_grad", "chain_prox"
OPERATIONS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "soft_threshold": _soft_threshold,
    "group_shrink": _group_shrink,
    "overlap_dual_sweep": _overlap_dual_sweep,
    "smoothed_group_grad": _smoothed_group_grad,
    CHAIN: _chain_prox,
    HINGE: _hinge,
}


def outcome(operation: str, case: Case, backend: str) -> str:
    """What a backend does: ``right``, ``not served`` and why, an error, or what is wrong."""
    run = OPERATIONS[operation]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            seen = run(case, case.V, backend)
        except BackendError as error:
            return f"not served: {' '.join(str(error).split())}"
        except Exception as error:  # noqa: BLE001 - any is an outcome
            return f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _difference(case, operation, seen)


def _difference(case: Case, operation: str, seen: tuple[Any, ...]) -> str:
    wanted = _reference(case, operation)
    dtype = case.V.dtype
    eps = torch.finfo(dtype).eps
    for number, (one, other) in enumerate(zip(seen, wanted, strict=True)):
        other = other.expand(1) if not other.dim() else other  # noqa: PLW2901
        found = one.double().reshape(other.shape)
        size = float(other.abs().max())
        # a sum of n positive numbers is wrong by n roundings at most, and by the value of one that
        # is below the smallest; what is beyond the range of the dtype is infinite in it
        n = 64 + (case.V.numel() if not one.dim() else 0)
        other = torch.where(  # noqa: PLW2901
            other.abs() > torch.finfo(one.dtype).max, torch.sign(other) * torch.inf, other
        )
        atol = n * (eps * (size if size < torch.inf else 0.0) + SMALLEST[dtype])
        close = torch.isclose(found, other, rtol=n * eps, atol=atol)
        if not bool(close.all()):
            worst = float((found - other).abs()[~close].max())
            return f"wrong: result {number} is off by {worst:.2g} of {size:.2g}"
    return RIGHT


def _reference(case: Case, operation: str) -> list[torch.Tensor]:
    """Of the naive loops in float64, contiguous; of a large parameter, from its repeated part."""
    key = case.name, operation
    if key not in _REFERENCES:
        # sums over all items, and chains of them, are no copies of those of a few
        whole = case.of is None or (operation in (HINGE, CHAIN) and case.of.shape[-1] < ITEMS)
        part = case.V if whole else case.of
        small = OPERATIONS[operation](case, part.double().contiguous(), NAIVE)
        if not whole:
            small = tuple(_grown(result, case, operation) for result in small)
        _REFERENCES[key] = [result.double() for result in small]
    return _REFERENCES[key]


def _grown(result: torch.Tensor, case: Case, operation: str) -> torch.Tensor:
    copies = case.V.numel() // case.of.numel()
    if operation == HINGE or not result.dim():
        return result * copies
    return result.repeat([a // b for a, b in zip(case.V.shape, case.of.shape, strict=True)])


_REFERENCES: dict[tuple[str, str], list[torch.Tensor]] = {}
