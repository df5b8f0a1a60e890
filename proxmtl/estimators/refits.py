"""Fits of all rows at the strengths that a search has chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from proxmtl.latent import LatentResult
from proxmtl.result import Result

__all__ = ["Refit", "of_each"]

Array = NDArray[Any]


class Refit(NamedTuple):
    """Fit of all attributes, on standardised features."""

    coef: Array
    """Shape (D, M)."""
    intercept: Array
    """Shape (M,)."""
    result: Result[torch.Tensor] | LatentResult


def of_each(fits: Mapping[int, Refit], chosen: NDArray[np.intp]) -> tuple[Array, Array]:
    """Coefficients (D, M) and intercepts (M,) of each attribute in the fit chosen for it."""
    D = len(next(iter(fits.values())).coef)
    coef, intercept = np.zeros((D, len(chosen))), np.zeros(len(chosen))
    for number, fitted in fits.items():
        mine = chosen == number
        coef[:, mine], intercept[mine] = fitted.coef[:, mine], fitted.intercept[mine]
    return coef, intercept
