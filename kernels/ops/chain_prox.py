"""Total variation along an axis: the operation and its contract."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from proxmtl.kernels.dispatch import Operation, register
from proxmtl.kernels.fibres import checked_axis, checked_float, checked_scale
from proxmtl.kernels.library import refuse_derivative, refuse_tangent
from proxmtl.kernels.weights import checked_weights

__all__ = ["ChainArgs", "chain_prox"]


@dataclass(frozen=True, slots=True)
class ChainArgs:
    """Arguments of `chain_prox`: weights (1,) or one per edge along the axis."""

    V: torch.Tensor
    weights: torch.Tensor
    step: float
    axis: int

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.V.device


def bind(
    V: torch.Tensor, weights: torch.Tensor | float, *, step: float = 1.0, axis: int = -1
) -> ChainArgs:
    """Check the arguments of `chain_prox`."""
    checked_float(V, "V")
    axis = checked_axis(V, axis)
    edges = (*V.shape[:axis], max(V.shape[axis] - 1, 0), *V.shape[axis + 1 :])
    given = checked_weights(weights, edges, V.device)
    return ChainArgs(V.detach(), given, checked_scale(step, "step"), axis)


CHAIN_PROX = register(
    Operation(
        name="chain_prox",
        bind=bind,
        modules={
            backend: f"proxmtl.kernels.{backend}.chain_prox"
            for backend in ("naive", "torch", "numba")
        },
    )
)


def chain_prox(
    V: torch.Tensor,
    weights: torch.Tensor | float,
    *,
    step: float = 1.0,
    axis: int = -1,
    backend: str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Prox of weighted total variation along an axis, and the penalty there.

    ::

        x = argmin ½ ‖x - v‖² + step Σ_i w_i |x_{i+1} - x_i|        value = Σ_i w_i |x_{i+1} - x_i|

    for each fibre, exactly and in time linear in its length; see `proxmtl.kernels.chain`. The walk
    along a fibre is sequential: there is no GPU kernel, and tensors on a GPU are copied to the CPU.

    Parameters
    ----------
    V : Tensor
        Any shape and strides; float64, float32, bfloat16 or float16; computed in float64.
    weights : float or Tensor
        w ≥ 0: one number, or what broadcasts to the shape of V with one entry less on the axis. An
        edge of weight 0 cuts its chain in two.
    step : float
        At least 0. Not part of the value.
    axis : int
    backend : str, optional
        As in `use_backend`; none for Triton.

    Returns
    -------
    tuple of Tensor
        x like V, and the value in float64 (0-d). A fibre that isn't finite comes out NaN.

    Raises
    ------
    ValueError
        A negative or NaN weight or step, a shape that doesn't fit, or V, the weights or the
        step require grad: there is no derivative here.
    TypeError
        A dtype that isn't served.
    """
    refuse_tangent(V, weights, step)
    for name, given in (("V", V), ("weights", weights), ("step", step)):
        refuse_derivative(name, given)
    args = bind(V, weights, step=step, axis=axis)
    result: tuple[torch.Tensor, torch.Tensor] = CHAIN_PROX.run(args, backend)
    return result
