"""Block coordinate descent on quadratic models of rows of weights, given their Gram matrices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from proxmtl.kernels.dispatch import BACKENDS, Operation, register
from proxmtl.kernels.fibres import checked_scale
from proxmtl.kernels.library import refuse_derivative

__all__ = ["BlockDescentArgs", "block_descent"]


@dataclass(frozen=True, slots=True)
class BlockDescentArgs:
    """Arguments of `block_descent`; all tensors are contiguous."""

    gram: torch.Tensor
    slopes: torch.Tensor
    weights: torch.Tensor
    penalty: torch.Tensor
    groups: torch.Tensor
    ridge: float
    reduction: float
    sweeps: int

    @property
    def device(self) -> torch.device:
        """Device of the call."""
        return self.slopes.device


def bind(
    gram: torch.Tensor,
    slopes: torch.Tensor,
    weights: torch.Tensor,
    *,
    penalty: torch.Tensor,
    groups: torch.Tensor,
    ridge: float = 0.0,
    reduction: float = 0.1,
    sweeps: int = 50,
) -> BlockDescentArgs:
    """Check the arguments of `block_descent`."""
    if slopes.dim() != 2 or weights.shape != slopes.shape:
        raise ValueError(
            f"slopes and weights have shapes {tuple(slopes.shape)} and {tuple(weights.shape)}; "
            "both must be (tasks, rows)"
        )
    n_tasks, n = slopes.shape
    if tuple(gram.shape) not in {(1, n, n), (n_tasks, n, n)}:
        raise ValueError(
            f"gram has shape {tuple(gram.shape)}; expected (1, {n}, {n}) or ({n_tasks}, {n}, {n})"
        )
    if tuple(groups.shape) != (n_tasks,):
        raise ValueError(f"groups has shape {tuple(groups.shape)}; expected ({n_tasks},)")
    if penalty.dim() != 2 or penalty.shape[1] != n:
        raise ValueError(f"penalty has shape {tuple(penalty.shape)}; expected (groups, {n})")
    for name, given in (
        ("gram", gram),
        ("slopes", slopes),
        ("weights", weights),
        ("penalty", penalty),
    ):
        refuse_derivative(name, given)
        if given.dtype != torch.float64:
            raise TypeError(f"{name} is {given.dtype}; block descent computes in float64")
    if groups.dtype != torch.int64:
        raise TypeError(f"groups is {groups.dtype}; pass int64")
    if n_tasks and not 0 <= int(groups.min()) <= int(groups.max()) < len(penalty):
        raise ValueError(f"groups: a number is out of range for {len(penalty)} rows of penalty")
    if sweeps < 0:
        raise ValueError(f"sweeps is {sweeps}; it must be 0 or more")
    return BlockDescentArgs(
        gram.detach().contiguous(),
        slopes.detach().contiguous(),
        weights.detach().contiguous(),
        penalty.detach().contiguous(),
        groups.contiguous(),
        checked_scale(ridge, "ridge"),
        checked_scale(reduction, "reduction"),
        int(sweeps),
    )


BLOCK_DESCENT = register(
    Operation(
        name="block_descent",
        bind=bind,
        modules={
            backend: f"proxmtl.kernels.{backend}.block_descent"
            for backend in BACKENDS
            if backend != "triton"  # each block waits for the one before it
        },
    )
)


def block_descent(
    gram: torch.Tensor,
    slopes: torch.Tensor,
    weights: torch.Tensor,
    *,
    penalty: torch.Tensor,
    groups: torch.Tensor,
    ridge: float = 0.0,
    reduction: float = 0.1,
    sweeps: int = 50,
    backend: str | None = None,
) -> torch.Tensor:
    """Minimise quadratic models plus norms of rows of weights, by block coordinate descent.

    With weights W and a step D, both written task by task, (M, n), the sum over tasks m::

        Σ_m (r_m' d_m + ½ d_m' H_m d_m) + Σ_g Σ_j p_gj ‖(W + D)_gj‖ + ridge ‖W + D‖²

    where the block ``(W + D)_gj`` holds the weights of row j in the tasks of group g. A step of a
    block minimises this along it, if the tasks of the group have one curvature there, and an upper
    bound with the largest of their curvatures otherwise; so the value never increases. The first
    sweep takes all blocks, later ones those that are not at rest at zero; once these have reached
    the accuracy, all once more. Each sweep is in a random order of its own, the same in every call.

    A block without curvature becomes zero if the penalty holds it there, and stays otherwise.

    Parameters
    ----------
    gram : Tensor, shape (M, n, n) or (1, n, n), float64
        H, positive semidefinite: of each task, or the same for all.
    slopes, weights : Tensor, shape (M, n), float64
        r and W.
    penalty : Tensor, shape (G, n), float64
        p, at least 0.
    groups : Tensor, shape (M,), int64
        Group of each task, from 0 to G - 1.
    ridge : float
        At least 0.
    reduction : float
        Sweeps end when the norm of the least subgradients met in one is at most this fraction of
        that at the start.
    sweeps : int
        Most sweeps.
    backend : str, optional
        As in `use_backend`.

    Returns
    -------
    Tensor, shape (M, n), float64
        ``W + D``.

    Raises
    ------
    ValueError
        A shape that does not fit, groups out of range, a negative number, an argument that
        requires grad.
    TypeError
        A dtype that is not served.

    References
    ----------
    Qin, Scheinberg, Goldfarb, "Efficient block-coordinate descent algorithms for the group lasso",
    2013; Simon, Friedman, Hastie, "A blockwise descent algorithm for group-penalized multiresponse
    and multinomial regression", 2013.
    """
    args = bind(
        gram,
        slopes,
        weights,
        penalty=penalty,
        groups=groups,
        ridge=ridge,
        reduction=reduction,
        sweeps=sweeps,
    )
    result: torch.Tensor = BLOCK_DESCENT.run(args, backend)
    return result
