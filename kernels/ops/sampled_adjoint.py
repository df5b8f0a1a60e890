"""The adjoint of some entries of a product: the operation and its contract."""

from __future__ import annotations

from typing import NamedTuple

import torch

from proxmtl.kernels.dispatch import register_everywhere
from proxmtl.kernels.library import refuse_derivative, refuse_tangent
from proxmtl.kernels.sampled import SampledEntries, checked_matrices

__all__ = ["SampledAdjointArgs", "sampled_adjoint"]


class SampledAdjointArgs(NamedTuple):
    """Arguments of `sampled_adjoint`; all tensors are contiguous."""

    X: torch.Tensor
    values: torch.Tensor
    entries: SampledEntries
    out: torch.Tensor

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.X.device

    @property
    def written(self) -> tuple[torch.Tensor, ...]:
        """Tensors of the caller's that are written to."""
        return (self.out,)


def bind(
    X: torch.Tensor,
    values: torch.Tensor,
    entries: SampledEntries,
    out: torch.Tensor,
    *,
    checked: bool = False,
) -> SampledAdjointArgs:
    """Check the arguments of `sampled_adjoint`."""
    checked_matrices(X=X, values=values)
    if X.dim() != 2 or out.dim() != 2 or X.shape[1] != out.shape[1]:
        raise ValueError(
            f"X and out have shapes {tuple(X.shape)} and {tuple(out.shape)}; expected (n, D) and "
            "(M, D)"
        )
    if tuple(values.shape) != (entries.n_places,):
        raise ValueError(
            f"values have shape {tuple(values.shape)}; give one for each of {entries.n_places} "
            "places"
        )
    if out.dtype != torch.float64 or not out.is_contiguous() or out.device != X.device:
        raise ValueError("out must be contiguous, in float64 and on the device of X")
    entries = entries if checked else entries.checked(len(X), len(out))
    return SampledAdjointArgs(X.detach().contiguous(), values.detach().contiguous(), entries, out)


SAMPLED_ADJOINT = register_everywhere("sampled_adjoint", bind)


def sampled_adjoint(
    X: torch.Tensor,
    values: torch.Tensor,
    entries: SampledEntries,
    out: torch.Tensor,
    *,
    checked: bool = False,
    backend: str | None = None,
) -> torch.Tensor:
    """Add the adjoint of `sampled_product` at some values: the product of a sparse matrix with X.

    ::

        G_m += Σ_e r_e x_i        over the places e of the task m, in the row i

    The sum of a call is made in the dtype of X, place by place in the order of the entries, and
    added to ``out`` in float64: equal calls give equal bits on any number of threads.

    Parameters
    ----------
    X : Tensor, shape (n, D)
        float32 or float64.
    values : Tensor, shape (E,)
        r, of the same dtype; that of the place j at ``entries.positions[j]``.
    entries : SampledEntries
    out : Tensor, shape (M, D), float64
        G, contiguous; overwritten.
    checked : bool
        Whether the entries were checked before (`SampledEntries.checked`); others write anywhere.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    Tensor
        ``out``.

    Raises
    ------
    ValueError
        A shape that doesn't fit, a place outside, or X, the values or ``out`` require grad: there
        is no derivative here.
    TypeError
        A dtype that isn't served.
    """
    refuse_tangent(X, values, out)
    for name, given in (("X", X), ("values", values), ("out", out)):
        refuse_derivative(name, given)
    SAMPLED_ADJOINT.run(bind(X, values, entries, out, checked=checked), backend)
    return out
