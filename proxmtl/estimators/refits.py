"""Fits of all rows at the strengths that a search has chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.latent import LatentResult
from proxmtl.result import Result

__all__ = ["Refit", "Strengths", "of_each"]

Array = NDArray[Any]


class Strengths(NamedTuple):
    """Absolute strengths."""

    shared: float
    """Of the shared part; inf: none."""
    own: float
    """Of the own part."""


class Refit(NamedTuple):
    """Fit of all attributes."""

    coef: Array
    """Shape (D, M)."""
    intercept: Array
    """Shape (M,)."""
    result: Result[torch.Tensor] | LatentResult
    strengths: Strengths
    part: Any
    """The shared part on the features of the solve, as its model has it; None without one."""
    factors: Array | None = None
    """Factors (D,) of the standardised features in the solve; None: all are 1."""
    counted: float = 0.0
    """Passes that the problem has counted, and the result too."""

    def weights(self, coef: Array) -> Array:
        """Coefficients (D, K) on standardised features, from those on the features of the solve."""
        return coef if self.factors is None else coef * self.factors[:, np.newaxis]


def of_each(fits: Mapping[int, Refit], chosen: NDArray[np.intp]) -> tuple[Array, Array]:
    """Coefficients (D, M) and intercepts (M,) of each attribute in the fit chosen for it."""
    D = len(next(iter(fits.values())).coef)
    coef, intercept = np.zeros((D, len(chosen))), np.zeros(len(chosen))
    for number, fitted in fits.items():
        mine = chosen == number
        coef[:, mine], intercept[mine] = fitted.coef[:, mine], fitted.intercept[mine]
    return coef, intercept
