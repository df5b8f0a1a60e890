"""Training with the attributes, and so their networks, divided among processes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from proxmtl.backbones.training.head import Head
from proxmtl.backbones.training.model import Architecture, AttributeCNN
from proxmtl.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from proxmtl.backbones.networks import Ensemble
    from proxmtl.backbones.training.trainer import Trainer
    from proxmtl.nn import SolvedHead

__all__ = ["DividedHead"]


@dataclass(frozen=True)
class DividedHead(Head):
    """A head of all attributes, on the networks of several processes.

    Each process ("rank") has the networks of some attributes and trains them; the head is solved on
    the features of all (:class:`~proxmtl.ShardedDesign`), which stay where they are. Give it to a
    :class:`Trainer` with the rank's own networks and attributes (:meth:`own`). All ranks give the
    same images, rows and settings, and get the same head.

    Parameters
    ----------
    head
        What is solved, of all attributes.
    names
        All attributes, at least one for each rank.
    ranks
        The processes, from :meth:`ProcessRanks.join`.

    Raises
    ------
    ValueError
        If there are more ranks than attributes.
    """

    head: Head
    names: tuple[str, ...]
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if len(self.names) < self.ranks.size:
            msg = f"names: {len(self.names)} for {self.ranks.size} processes; start fewer."
            raise ValueError(msg)

    def tasks_of(self, rank: int) -> range:
        """Numbers of the attributes of a rank: as many as the others have, give or take one."""
        n, size = len(self.names), self.ranks.size
        return range(n * rank // size, n * (rank + 1) // size)

    @property
    def own(self) -> tuple[str, ...]:
        """Attributes of this rank."""
        return tuple(self.names[task] for task in self.tasks_of(self.ranks.rank))

    def check(self, network: Ensemble, folder: Path | None) -> None:
        if self.ranks is ALONE:
            return
        if folder is not None:
            msg = (
                f"folder: got {folder}; a checkpoint is of one process, and this is one of "
                f"{self.ranks.size}. Leave it out, and save the model at the end."
            )
            raise ValueError(msg)
        if network.shared_stages > network.frozen_stages:
            msg = (
                f"shared_stages: {network.shared_stages}, of which {network.frozen_stages} are "
                "frozen; networks of several processes share none that learn."
            )
            raise ValueError(msg)

    def layer(self, n_features: int, n_tasks: int, **place: Any) -> SolvedHead[Any]:
        if n_tasks != len(self.own):
            msg = f"{n_tasks} networks for {len(self.own)} attributes: give one each."
            raise ValueError(msg)
        if self.ranks is not ALONE:
            place |= {"distributed": True, "tasks": self.tasks_of(self.ranks.rank)}
        return self.head.layer(n_features, len(self.names), **place)

    def model(
        self, trainer: Trainer, architecture: Architecture, description: Mapping[str, Any]
    ) -> AttributeCNN:
        """Return the networks of all ranks with the head as a model; every rank must call it.

        Parameters
        ----------
        trainer
            Of this rank, with this head.
        architecture
            Of its networks, for any number of attributes.
        description
            JSON-able; kept beside the model.
        """
        mine = trainer.model(architecture, description)
        if self.ranks is ALONE:
            return mine
        states = self.ranks.gathered(
            {name: tensor.cpu() for name, tensor in mine.network.state_dict().items()}
        )
        standards = self.ranks.gathered([tensor.cpu() for tensor in mine.standard])
        own = {f"members.{name}" for name in mine.network.members.state_dict()}
        whole = replace(architecture, n_members=len(self.names))
        network = whole.ensemble(weights="random")
        network.load_state_dict(
            {
                name: torch.cat([state[name] for state in states]) if name in own else tensor
                for name, tensor in states[0].items()
            }
        )
        mean, scale = (torch.cat(parts) for parts in zip(*standards, strict=True))
        return replace(
            mine,
            architecture=whole,
            network=network,
            factors={name: factor.cpu() for name, factor in mine.factors.items()},
            inputs=(mine.inputs[0].cpu(), mine.inputs[1].cpu()),
            standard=(mean, scale),
            names=self.names,
        )
