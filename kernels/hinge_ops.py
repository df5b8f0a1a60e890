"""Loss and gradient of linear tasks in one pass over the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .dispatch import Operation, register
from .hinge_args import HingeResult, bind, check_tensors
from .library import define_hinge, needs_library, refuse_derivative

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["HINGE", "HingeResult", "hinge_value_and_grad"]

HINGE = register(
    Operation(
        name="hinge_value_and_grad",
        bind=bind,
        modules={
            "naive": "proxmtl.kernels.naive.hinge",
            "torch": "proxmtl.kernels.torch.hinge",
            "numba": "proxmtl.kernels.numba.hinge",
            "triton": "proxmtl.kernels.triton.hinge",
        },
    )
)
_HINGE_OP = define_hinge(HINGE)


def hinge_value_and_grad(
    X: torch.Tensor | Sequence[torch.Tensor],
    W: torch.Tensor,
    Y: torch.Tensor | Sequence[torch.Tensor],
    weights: torch.Tensor | Sequence[torch.Tensor] | None = None,
    bias: torch.Tensor | None = None,
    *,
    loss: str = "squared_hinge",
    return_scores: bool = False,
    deterministic: bool = True,
    backend: str | None = None,
) -> HingeResult:
    """Loss and gradient of M linear tasks, the features read once.

    With scores z_m = X_m w_m + b_m and residuals r_mi = c_mi φ'(z_mi; y_mi)::

        value_m = Σ_i c_mi φ(z_mi; y_mi)      grad_m = X_mᵀ r_m      grad_bias_m = Σ_i r_mi

    where φ is ½ max(0, 1 − y z)² (``"squared_hinge"``), log(1 + e^{−y z}) (``"logistic"``) or
    ½ (z − y)² (``"squared"``). The derivative with respect to the features is r_mi w_m.

    Parameters
    ----------
    X : Tensor (N, D), Tensor (M, N, D), or sequence of M tensors (N_m, D)
        Features: shared by all tasks, or of each task. float64, float32, bfloat16 or float16.
    W : Tensor (D, M)
        Weights, one column a task. Fastest as the transposed view of task-major memory.
    Y : Tensor (N, M) for shared X, (M, N) for X (M, N, D), or sequence of M tensors (N_m,)
        Labels −1 and +1; 0 is a missing label. For ``"squared"``, any target, 0 included.
    weights : like Y, optional
        Sample weights c ≥ 0, not checked: with a negative one the loss isn't convex. Where a
        weight is 0 the label is never looked at and may be NaN.
    bias : Tensor (M,), optional
        Offsets b of the scores.
    loss : {"squared_hinge", "logistic", "squared"}
    return_scores : bool
        Also return z, laid out like Y.
    deterministic : bool
        True: partial gradients are summed in an order that depends on the shapes alone (on a GPU
        also on its number of multiprocessors), so that equal calls give equal bits. False allows
        atomic additions on a GPU: not reproducible.
    backend : str, optional
        Name of the backend to use; default as `use_backend` and ``PROXMTL_BACKEND`` have it.

    Returns
    -------
    HingeResult
        ``(value, grad, grad_bias, scores)``; value in float64, the others in the accumulation
        dtype, float64 if X or W is float64 and float32 otherwise.

    Raises
    ------
    ValueError
        Shapes or devices that don't fit together, or an unknown loss.
    TypeError
        A dtype that isn't served.
    BackendError
        The backend asked for can't serve the call.
    """
    if needs_library(X, W, Y, weights, bias):
        return _through_library(X, W, Y, weights, bias, loss, return_scores, deterministic, backend)
    args = bind(
        X,
        W,
        Y,
        weights,
        bias,
        loss=loss,
        return_scores=return_scores,
        deterministic=deterministic,
    )
    result: HingeResult = HINGE.run(args, backend)
    return result


def _all(given: torch.Tensor | Sequence[torch.Tensor] | None) -> list[torch.Tensor]:
    if given is None:
        return []
    return [given] if isinstance(given, torch.Tensor) else list(given)


def _through_library(
    X: torch.Tensor | Sequence[torch.Tensor],
    W: torch.Tensor,
    Y: torch.Tensor | Sequence[torch.Tensor],
    weights: torch.Tensor | Sequence[torch.Tensor] | None,
    bias: torch.Tensor | None,
    *options: Any,
) -> HingeResult:
    check_tensors(X, W, Y, weights, bias)
    loss, return_scores, deterministic, backend = options
    features, labels, sample_weights = _all(X), _all(Y), _all(weights)
    refuse_derivative("Y", labels)
    refuse_derivative("weights", sample_weights)
    ragged = not isinstance(X, torch.Tensor)
    keep = return_scores or any(x.requires_grad for x in features)
    value, grad, grad_bias, scores = _HINGE_OP(
        features, W, labels, sample_weights, bias, ragged, loss, keep, deterministic, backend
    )
    public: torch.Tensor | tuple[torch.Tensor, ...] | None = None
    if return_scores:
        public = tuple(scores) if ragged else scores[0]
    return HingeResult(value, grad, grad_bias, public)
