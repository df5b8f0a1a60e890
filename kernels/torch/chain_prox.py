"""Prox of total variation along chains, by the plain loop: it serves where nothing compiles it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.kernels.chain import run_chains, solve_rows
from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.chain_prox import ChainArgs

if TYPE_CHECKING:
    import torch

# The loop runs on the CPU: tensors from elsewhere are copied there and back.
supports = always


def run(args: ChainArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Prox of every fibre, and the penalty there."""
    return run_chains(args, solve_rows)
