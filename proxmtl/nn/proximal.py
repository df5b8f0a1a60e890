"""A proximal step after each step of any torch optimizer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from proxmtl.regularizers import Regularizer
from proxmtl.regularizers.metric import has_direct_form, metric_prox

__all__ = ["ProximalOptimizer", "proximal_step_size"]

KNOWN: tuple[type[Optimizer], ...] = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
)
"""Optimizers whose steps :func:`proximal_step_size` knows, with those that derive from them."""

StepSize = Callable[[Optimizer, dict[str, Any], Tensor], float | Tensor]


class ProximalOptimizer(Optimizer):
    """Any torch optimizer, followed by ``W <- prox_{t R}(W)``: exact zeros while training.

    The wrapped optimizer goes first; then each penalised parameter that has a gradient is replaced
    by its prox with the step ``t`` of :func:`proximal_step_size`. Leave the penalty out of the loss
    that is differentiated. Parameter groups and state are the wrapped optimizer's own, so learning
    rate schedulers, ``GradScaler``, ``zero_grad``, ``state_dict`` and ``add_param_group`` work.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
    penalties : mapping
        From a parameter, or from the number of a parameter group (then each parameter in it), to
        its :class:`Regularizer`.
    step_size : callable, optional
        ``(optimizer, group, parameter) -> t``, a number or a tensor of the parameter's shape;
        default :func:`proximal_step_size`.

    Raises
    ------
    ValueError
        If a parameter is not the optimizer's, is penalised twice, or has a shape that its
        regularizer does not take; if there is no ``step_size`` and the optimizer is none of
        :data:`KNOWN`.

    References
    ----------
    Duchi and Singer, "Efficient online and batch learning using forward backward splitting", 2009;
    Yun, Lozano, Yang, "Adaptive proximal gradient methods for structured neural networks", 2021.
    """

    inner: Optimizer
    penalties: dict[Tensor, Regularizer]
    step_size: StepSize

    def __init__(
        self,
        optimizer: Optimizer,
        penalties: Mapping[Any, Regularizer],
        *,
        step_size: StepSize | None = None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ValueError(
                f"optimizer: got {type(optimizer).__name__}; give a torch optimizer, for example "
                "torch.optim.SGD(model.parameters(), lr=0.1)."
            )
        if step_size is None:
            check_known(optimizer)
        # Optimizer.__init__ would make groups and a state of its own
        self.__setstate__({"inner": optimizer, "step_size": step_size or proximal_step_size})
        self.penalties = self._by_parameter(penalties)

    def __getstate__(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in ("inner", "step_size", "penalties")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"defaults": state["inner"].defaults, **state})

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of the wrapped optimizer, as they are now."""
        return self.inner.param_groups

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # type: ignore[override]
        """State of the wrapped optimizer, as it is now."""
        return self.inner.state

    def _by_parameter(self, penalties: Mapping[Any, Regularizer]) -> dict[Tensor, Regularizer]:
        known = [p for group in self.param_groups for p in group["params"]]
        found: dict[Tensor, Regularizer] = {}
        for key, penalty in penalties.items():
            if isinstance(key, int):
                if not 0 <= key < len(self.param_groups):
                    raise ValueError(
                        f"penalties: group {key}, the optimizer has {len(self.param_groups)}."
                    )
                parameters = list(self.param_groups[key]["params"])
            else:
                parameters = [key]
            for p in parameters:
                shape = tuple(getattr(p, "shape", ()))
                if not any(p is other for other in known):
                    raise ValueError(
                        f"penalties: a key (shape {shape}) is no parameter of the optimizer; give "
                        "the parameter itself, or the number of its group."
                    )
                if p in found:
                    raise ValueError(
                        f"penalties: a parameter of shape {shape} is named twice; add the two "
                        "penalties with proxmtl.regularizers.add."
                    )
                penalty.value(p.detach())  # raises if the shape does not fit
                found[p] = penalty
        return found

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step of the wrapped optimizer, then the proximal steps."""
        before = {p: p.clone() for p, R in self.penalties.items() if not has_direct_form(R, p)}
        out = self.inner.step(closure) if closure is not None else self.inner.step()
        for group in self.param_groups:
            for p in group["params"]:
                penalty = self.penalties.get(p)
                if penalty is None or p.grad is None:
                    continue
                t = self.step_size(self.inner, group, p)
                if isinstance(t, Tensor) and t.ndim:
                    p.copy_(metric_prox(penalty, p, t, before.get(p, p)))
                else:
                    p.copy_(penalty.prox(p, t)[0])
        return out

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the wrapped optimizer; it has no penalty."""
        self.inner.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """State of the wrapped optimizer; the penalties are configuration, not state."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of the wrapped optimizer, with or without this wrapper around it."""
        self.inner.load_state_dict(state_dict)

    def penalty(self) -> Tensor:
        """Sum of the penalties at the parameters, 0-d: to be added to a loss for a report."""
        with torch.no_grad():
            values = [penalty.value(p) for p, penalty in self.penalties.items()]
        return torch.stack([v.to(values[0]) for v in values]).sum() if values else torch.zeros(())


def check_known(optimizer: Optimizer) -> None:
    """Raise ``ValueError`` for an optimizer that is none of :data:`KNOWN`."""
    if not isinstance(optimizer, KNOWN):
        raise ValueError(
            f"optimizer: the length of the steps of {type(optimizer).__name__} is not known here; "
            f"use one of {', '.join(kind.__name__ for kind in KNOWN)}, or give "
            "step_size=lambda optimizer, group, parameter: ..., how far a step moves per unit of a "
            "constant gradient."
        )


def proximal_step_size(
    optimizer: Optimizer, group: dict[str, Any], parameter: Tensor
) -> float | Tensor:
    """How far one step moves a parameter per unit of a constant gradient.

    With this ``t`` a point where nothing moves satisfies ``-grad in dR``: it is stationary for loss
    plus penalty. SGD: the learning rate, over ``1 - momentum`` where there is momentum. Optimizers
    that divide by the size of past gradients (Adam, AdamW, NAdam, RMSprop, Adagrad, Adadelta) have
    a step for each coordinate: a tensor of the parameter's shape. A coordinate that has hardly seen
    a gradient has a very long step, and the prox sets it to zero, as nothing but the penalty acts
    on it.

    Raises
    ------
    ValueError
        For an optimizer that is none of :data:`KNOWN`, or has not made a step yet.
    """
    check_known(optimizer)
    rate = float(group["lr"])
    momentum = float(group.get("momentum") or 0.0)
    if momentum < 1:
        rate *= (1 - float(group.get("dampening") or 0.0) * (momentum > 0)) / (1 - momentum)
    if isinstance(optimizer, torch.optim.SGD):
        return rate
    state = optimizer.state.get(parameter, {})
    if "step" not in state:
        raise ValueError(
            f"parameter: {type(optimizer).__name__} has not moved it yet; its step is known after "
            "optimizer.step()."
        )
    eps = float(group.get("eps") or 0.0)
    tiny = torch.finfo(parameter.dtype).tiny ** 0.5  # under a root: keeps a step finite

    def over(squares: Tensor) -> Tensor:
        sizes: Tensor = squares.clamp_min(0.0).sqrt().add(eps).clamp_min(tiny)
        return rate / sizes

    steps = float(state.get("step", 1))
    if "acc_delta" in state:  # Adadelta: both means under the root
        squares: Tensor = (state["acc_delta"] + eps) / (state["square_avg"] + eps).clamp_min(tiny)
        return squares.sqrt().mul(rate)
    if "exp_avg_sq" in state:  # Adam, AdamW, NAdam
        name = "max_exp_avg_sq" if "max_exp_avg_sq" in state else "exp_avg_sq"
        return over(state[name] / (1 - float(group["betas"][1]) ** steps))
    if "grad_avg" in state:  # RMSprop, centred
        return over(state["square_avg"] - state["grad_avg"].square())
    if "square_avg" in state:  # RMSprop
        return over(state["square_avg"])
    # Adagrad
    return over(state["sum"]) / (1 + (steps - 1) * float(group.get("lr_decay") or 0.0))
