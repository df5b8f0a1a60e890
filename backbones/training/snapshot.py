"""What an epoch moves, put aside: to go back to, or to go on from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from proxmtl.backbones.training.record import Epoch
    from proxmtl.backbones.training.trainer import Trainer

__all__ = ["Snapshot"]


@dataclass(frozen=True)
class Snapshot:
    """State of a trainer between two epochs.

    Random streams belong to the seed and the number of the epoch, so they need no state here.

    Attributes
    ----------
    network, optimizer, scheduler, layer
        Their ``state_dict``; the next solve starts from the layer's weights.
    standard
        Mean and scale of the features; empty before the first solve.
    history
        Records of the epochs so far; their number says where the run is.
    result
        Of the layer's last solve; not kept on disk.
    """

    network: dict[str, Any]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    layer: dict[str, Any]
    standard: tuple[Tensor, ...]
    history: tuple[Epoch, ...]
    result: Any = None

    @classmethod
    def take(cls, trainer: Trainer, *, copied: bool = True) -> Snapshot:
        """Take the state of a trainer.

        Parameters
        ----------
        trainer
            Between two epochs.
        copied
            Into main memory. Else the tensors are the trainer's own: to be written to disk, say,
            before it goes on.
        """

        def taken(value: Any) -> Any:
            return _in_main_memory(value) if copied else value

        return cls(
            network=taken(trainer.network.state_dict()),
            optimizer=taken(trainer.optimizer.state_dict()),
            scheduler=taken(trainer.scheduler.state_dict()),
            layer=taken(trainer.layer.state_dict()),
            standard=taken(trainer.standard or ()),
            history=tuple(trainer.history),
            result=trainer.layer.result,
        )

    def restore(self, trainer: Trainer) -> None:
        """Put a trainer of the same networks and head back into this state."""
        trainer.optimizer.zero_grad(set_to_none=True)  # of weights that go; room for the copy
        trainer.network.load_state_dict(self.network)
        # it takes the tensors of its state as they are, and goes on to change them in place
        trainer.optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        trainer.scheduler.load_state_dict(copy.deepcopy(self.scheduler))
        trainer.layer.load_state_dict(self.layer)
        trainer.layer.result = self.result
        device = trainer.network.device
        mean_and_scale = [tensor.to(device, copy=True) for tensor in self.standard]
        trainer.standard = (mean_and_scale[0], mean_and_scale[1]) if mean_and_scale else None
        trainer.history[:] = self.history


def _in_main_memory(value: Any) -> Any:
    """Copy what a ``state_dict`` is made of."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _in_main_memory(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_in_main_memory, value))
    return copy.deepcopy(value)
