"""What the float64 loops share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from proxmtl.kernels.group_index import GroupIndex

Vector = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def to_float64(tensor: torch.Tensor) -> NDArray[np.float64]:
    """Copy of a tensor as a float64 array."""
    return tensor.detach().to("cpu", torch.float64, copy=True).contiguous().numpy()


def along(array: NDArray[np.float64], axis: int) -> Iterator[NDArray[np.float64]]:
    """Writable views of the fibres of an array along an axis, in memory order of the others."""
    last = np.moveaxis(array, axis, -1)
    for position in np.ndindex(last.shape[:-1]):
        yield last[position]


def members_of(groups: GroupIndex) -> list[list[int]]:
    """Members of each group as lists."""
    bounds, members = (array.tolist() for array in groups.arrays)
    return [members[bounds[g] : bounds[g + 1]] for g in range(groups.n_groups)]


def weights_of(weights: torch.Tensor, n_groups: int) -> list[float]:
    """One weight per group."""
    given = weights.detach().to("cpu", torch.float64).reshape(-1)
    numbers: list[float] = given.expand(n_groups).tolist()
    return numbers


def norm(values: list[float]) -> float:
    """Euclidean norm, to the last digit; no square over- or underflows."""
    # hypot of an infinite number and NaN is infinite
    return math.nan if any(math.isnan(value) for value in values) else math.hypot(*values)


def soft(value: float, threshold: float) -> float:
    """Soft threshold of one number; NaN stays NaN."""
    if value > threshold:
        return value - threshold
    if value < -threshold:
        return value + threshold
    return value if value != value else 0.0  # noqa: PLR0124 - true for NaN alone


def shrink_factor(length: float, threshold: float) -> float:
    """Factor max(0, 1 - threshold / length); 1 for threshold 0, NaN for length NaN."""
    if threshold == 0:
        return 1.0
    if length == 0:
        return 0.0
    factor = 1.0 - threshold / length
    return 0.0 if factor < 0 else factor


def written(
    result: NDArray[np.float64], like: torch.Tensor, out: torch.Tensor | None
) -> torch.Tensor:
    """Result as a tensor like another, or in ``out``."""
    tensor = torch.from_numpy(result)
    if out is None:
        return torch.empty_like(like).copy_(tensor)
    return out.copy_(tensor)


def number(value: float, like: torch.Tensor) -> torch.Tensor:
    """0-d float64 tensor on the device of another."""
    return torch.tensor(value, dtype=torch.float64, device=like.device)
