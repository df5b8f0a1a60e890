"""M networks as one module: shared first stages, the rest stacked and run together."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxmtl.backbones.networks.network import Network


class Ensemble(nn.Module):
    """Images (B, C, H, W) to the features of M networks, (M, B, D).

    The paper trains one network an attribute: ``shared_stages=0``. With all stages shared there is
    one network. In between the first stages are a trunk that all attributes use. Parameters of the
    other stages are stacked, (M, ...). On a GPU all members run in one vectorised call, in which
    convolutions become grouped ones; on a CPU one after the other, which is no slower there.

    Parameters
    ----------
    make
        Returns a new network, initialised; called M times (once for the trunk's stages).
    n_members
        M.
    shared_stages
        Number of stages that all members share, from 0 to ``n_stages``.
    vectorised
        Whether to run all members in one call; None: on every device but a CPU.

    Raises
    ------
    ValueError
        If ``n_members`` or ``shared_stages`` is out of range.
    """

    def __init__(
        self,
        make: Callable[[], Network],
        n_members: int,
        *,
        shared_stages: int = 0,
        vectorised: bool | None = None,
    ) -> None:
        super().__init__()
        networks = [make() for _ in range(max(n_members, 1))]
        first = networks[0]
        if n_members < 1 or not 0 <= shared_stages <= first.n_stages:
            msg = (
                f"n_members={n_members}, shared_stages={shared_stages}: give at least one member "
                f"and 0 to {first.n_stages} shared stages."
            )
            raise ValueError(msg)
        self.n_members = n_members
        self.shared_stages = shared_stages
        self.vectorised = vectorised
        self.n_features = first.n_features
        self.input_shape = first.input_shape
        shared = first.stage_parameters(0, shared_stages)
        own = first.stage_parameters(shared_stages, first.n_stages)
        states = [network.state_dict() for network in networks]
        self.trunk = _parameters({name: states[0][name] for name in shared})
        self.members = _parameters(
            {name: torch.stack([state[name] for state in states]) for name in own}
        )
        # the layers without their tensors; in a list, so that it is no submodule
        self._skeleton = [copy.deepcopy(first).to("meta")]

    @property
    def is_one(self) -> bool:
        """Whether all stages are shared: the features of all members are then the same."""
        return self.shared_stages == self.skeleton.n_stages

    @property
    def skeleton(self) -> Network:
        """The network without parameters, which all members have in common."""
        return self._skeleton[0]

    def forward(self, images: Tensor) -> Tensor:
        """Features (M, B, D) of images (B, C, H, W)."""
        skeleton = self.skeleton.train(self.training)
        cut, last = self.shared_stages, self.skeleton.n_stages
        x: Tensor = torch.func.functional_call(skeleton, _plain(self.trunk), (images, 0, cut))
        if cut == last:
            return x.expand(self.n_members, *x.shape)

        def member(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(skeleton, parameters, (inputs, cut, last))
            return out

        stacked = _plain(self.members)
        kind = x.device.type
        if self.vectorised or (self.vectorised is None and kind != "cpu"):
            if torch.is_autocast_enabled(kind):  # which vmap does not see
                dtype = torch.get_autocast_dtype(kind)
                stacked = {name: tensor.to(dtype) for name, tensor in stacked.items()}
                x = x.to(dtype)
            run = torch.func.vmap(member, in_dims=(0, None), randomness="different")
            features: Tensor = run(stacked, x)
            return features
        rows = (
            {name: tensor[m] for name, tensor in stacked.items()} for m in range(self.n_members)
        )
        return torch.stack([member(row, x) for row in rows])

    def member(self, index: int) -> Network:
        """Return one network of its own, with a copy of its parameters."""
        network = copy.deepcopy(self.skeleton).to_empty(device=self.device)
        state = {name: tensor.detach() for name, tensor in _plain(self.trunk).items()}
        state |= {name: tensor.detach()[index] for name, tensor in _plain(self.members).items()}
        network.load_state_dict(state)
        return network

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


def _parameters(tensors: dict[str, Tensor]) -> nn.ParameterDict:
    # names of a ParameterDict hold no dots
    return nn.ParameterDict(
        {name.replace(".", "/"): nn.Parameter(tensor.clone()) for name, tensor in tensors.items()}
    )


def _plain(parameters: nn.ParameterDict) -> dict[str, Tensor]:
    return {name.replace("/", "."): tensor for name, tensor in parameters.items()}
