"""Some entries of a product of two matrices: the operation and its contract."""

from __future__ import annotations

from typing import NamedTuple

import torch

from proxmtl.kernels.dispatch import register_everywhere
from proxmtl.kernels.library import refuse_derivative, refuse_tangent
from proxmtl.kernels.sampled import SampledEntries, checked_matrices

__all__ = ["SampledProductArgs", "sampled_product"]


class SampledProductArgs(NamedTuple):
    """Arguments of `sampled_product`; all tensors are contiguous."""

    X: torch.Tensor
    W: torch.Tensor
    entries: SampledEntries

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.X.device


def bind(
    X: torch.Tensor, W: torch.Tensor, entries: SampledEntries, *, checked: bool = False
) -> SampledProductArgs:
    """Check the arguments of `sampled_product`."""
    checked_matrices(X=X, W=W)
    if X.dim() != 2 or W.dim() != 2 or X.shape[1] != W.shape[1]:
        raise ValueError(
            f"X and W have shapes {tuple(X.shape)} and {tuple(W.shape)}; expected (n, D) and (M, D)"
        )
    entries = entries if checked else entries.checked(len(X), len(W))
    return SampledProductArgs(X.detach().contiguous(), W.detach().contiguous(), entries)


SAMPLED_PRODUCT = register_everywhere("sampled_product", bind)


def sampled_product(
    X: torch.Tensor,
    W: torch.Tensor,
    entries: SampledEntries,
    *,
    checked: bool = False,
    backend: str | None = None,
) -> torch.Tensor:
    """Entries of ``X W'`` at some places, which takes no more than 2 E D operations (SDDMM)::

        z_e = Σ_d x_id w_md        for the row i and the task m of the place e

    Parameters
    ----------
    X : Tensor, shape (n, D)
        float32 or float64. The fastest are rows that stay in a cache, since they are read in any
        order.
    W : Tensor, shape (M, D)
        Of the same dtype; a row for each task.
    entries : SampledEntries
    checked : bool
        Whether the entries were checked before (`SampledEntries.checked`); others write anywhere.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    Tensor, shape (E,)
        The value of the place j at ``entries.positions[j]``.

    Raises
    ------
    ValueError
        A shape that doesn't fit, a place outside, or X or W require grad: there is no derivative
        here.
    TypeError
        A dtype that isn't served.
    """  # noqa: D400 - the first line ends in a formula
    refuse_tangent(X, W)
    for name, given in (("X", X), ("W", W)):
        refuse_derivative(name, given)
    args = bind(X, W, entries, checked=checked)
    result: torch.Tensor = SAMPLED_PRODUCT.run(args, backend)
    return result
