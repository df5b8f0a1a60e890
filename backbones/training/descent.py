"""SGD on the networks: its optimizer, the schedule of its rate, and a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from proxmtl.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from torch import nn

    from proxmtl.backbones.training.config import TrainingConfig

__all__ = ["Descent"]


class Descent:
    """SGD with momentum on networks, at a rate that falls when the objective does not.

    Parameters
    ----------
    network
        Whose parameters move.
    config
        Rate, momentum, weight decay, the norm at which gradients are clipped, and the schedule.
    ranks
        Processes that each have some of the networks: the norm is that of all.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, ranks: Ranks = ALONE) -> None:
        self.config, self.ranks = config, ranks
        self.parameters = list(network.parameters())
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        self.scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer,
            factor=config.factor,
            patience=config.patience - 1,  # bad ones let pass
        )

    @property
    def rate(self) -> float:
        """The present one."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, loss: Tensor) -> Tensor:
        """Move along the gradient of a loss; returns its norm before clipping, on its device."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        own = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        norm = self.ranks.total(own.square()).sqrt()
        if self.config.clip_norm < math.inf:
            clip_grads_with_norm_(self.parameters, self.config.clip_norm, norm)
        self.optimizer.step()
        return norm

    def lower(self) -> None:
        """Lower the rate and drop the momentum, which led astray."""
        self.optimizer.state.clear()
        for group in self.optimizer.param_groups:
            group["lr"] *= self.config.factor
