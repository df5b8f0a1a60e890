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

    The paper trains one network per attribute: ``shared_stages=0``. With all stages shared there is
    one network. In between, the first stages are a trunk that all attributes use. Parameters of the
    other stages are stacked, (M, ...). On a GPU all members run in one vectorised call, in which
    convolutions become grouped ones; on a CPU one after the other, which is no slower there.

    Parameters
    ----------
    make
        Returns a new network, initialised; called M times, once where all stages are shared.
    n_members
        M.
    shared_stages
        Number of stages that all members share, from 0 to ``n_stages``.
    frozen_stages
        Number of shared stages that keep their weights, fewer than all stages. Their tensors are
        not parameters: no optimizer sees them, no gradient is computed through them, and none
        of their activations is kept for the backward pass.
    vectorised
        Whether to run all members in one call; None: on every device but a CPU.

    Raises
    ------
    ValueError
        If ``n_members``, ``shared_stages`` or ``frozen_stages`` is out of range.

    Notes
    -----
    Buffers of the networks (the statistics of batch normalisation) stay buffers, stacked like the
    parameters: they are saved, but neither trained nor decayed.
    """

    def __init__(
        self,
        make: Callable[[], Network],
        n_members: int,
        *,
        shared_stages: int = 0,
        frozen_stages: int = 0,
        vectorised: bool | None = None,
    ) -> None:
        super().__init__()
        first = make()
        if n_members < 1 or not 0 <= shared_stages <= first.n_stages:
            msg = (
                f"n_members={n_members}, shared_stages={shared_stages}: give at least one member "
                f"and 0 to {first.n_stages} shared stages."
            )
            raise ValueError(msg)
        most = min(shared_stages, first.n_stages - 1)
        if not 0 <= frozen_stages <= most:
            msg = (
                f"frozen_stages={frozen_stages}: give 0 to {most}. What keeps its weights is "
                "shared by all members (raise shared_stages), and the last stage is trained; to "
                "train nothing, ask for no epochs."
            )
            raise ValueError(msg)
        self.n_members = n_members
        self.shared_stages = shared_stages
        self.frozen_stages = frozen_stages
        self.vectorised = vectorised
        self.n_features = first.n_features
        self.input_shape = first.input_shape
        self.normalisation = first.normalisation
        frozen = first.stage_tensors(0, frozen_stages)
        trained = first.stage_tensors(frozen_stages, shared_stages)
        # one network at a time: of the others only their own stages are kept
        others = 0 if shared_stages == first.n_stages else n_members - 1
        own = [first.stage_tensors(shared_stages, first.n_stages)]
        own += [make().stage_tensors(shared_stages, first.n_stages) for _ in range(others)]
        self.trunk = _Tensors({name: tensor.detach() for name, tensor in frozen.items()} | trained)
        self.members = _Tensors(
            {name: _stacked([tensors[name] for tensors in own]) for name in own[0]}
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
        x: Tensor = torch.func.functional_call(skeleton, self.trunk.named(), (images, 0, cut))
        if cut == last:
            return x.expand(self.n_members, *x.shape)

        def member(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(skeleton, parameters, (inputs, cut, last))
            return out

        stacked = self.members.named()
        kind = x.device.type
        if self.vectorised or (self.vectorised is None and kind != "cpu"):
            if torch.is_autocast_enabled(kind):  # which vmap does not see
                dtype = torch.get_autocast_dtype(kind)
                stacked = {
                    name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                    for name, tensor in stacked.items()
                }
                x = x.to(dtype)
            run = torch.func.vmap(member, in_dims=(0, None), randomness="different")
            features: Tensor = run(stacked, x)
            return features
        # unbound, not indexed M times: the gradients of the members are then stacked once, where
        # each index would write, and add, zeros for all members
        apart = {name: tensor.unbind() for name, tensor in stacked.items()}
        rows = ({name: parts[m] for name, parts in apart.items()} for m in range(self.n_members))
        return torch.stack([member(row, x) for row in rows])

    def member(self, index: int) -> Network:
        """Return one network of its own, with a copy of its parameters; all of them can learn."""
        network = copy.deepcopy(self.skeleton).to_empty(device=self.device)
        tensors = self.trunk.named()
        tensors |= {name: tensor[index] for name, tensor in self.members.named().items()}
        with torch.no_grad():
            for name, tensor in network.stage_tensors(0, network.n_stages).items():
                tensor.copy_(tensors[name])
        return network

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


class _Tensors(nn.Module):
    """Tensors by their names in a network: parameters where they are, copies, else buffers."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            copied = tensor.detach().clone()
            flat = name.replace(".", "/")  # names in a module hold no dots
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(flat, nn.Parameter(copied))
            else:
                self.register_buffer(flat, copied)

    def named(self) -> dict[str, Tensor]:
        """Tensors by the names that they have in a network."""
        every = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {name.replace("/", "."): tensor for name, tensor in every.items()}


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Stack (M, ...), a parameter where these are."""
    stack = torch.stack([tensor.detach() for tensor in tensors])
    return nn.Parameter(stack) if isinstance(tensors[0], nn.Parameter) else stack
