"""Prox of total variation along chains, compiled: linear in the length, rows on several threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxmtl.kernels.chain import run_chains, solve_chain, solve_rows
from proxmtl.kernels.ops.chain_prox import ChainArgs

from .arrays import cpu_floats
from .jit import compiled, compiled_with_callers
from .pool import cuts, run_pieces, shares

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

compiled_with_callers(solve_chain)
_rows = compiled(solve_rows)


def supports(args: ChainArgs) -> tuple[bool, str]:
    """float32 and float64 on the CPU."""
    return cpu_floats(args.V)


def run(args: ChainArgs) -> tuple[torch.Tensor, torch.Tensor]:
    """Prox of every fibre, and the penalty there."""
    return run_chains(args, _solve)


def _solve(v: NDArray[np.float64], radius: NDArray[np.float64], x: NDArray[np.float64]) -> None:
    parts = cuts(len(v), max(1, min(len(v), shares(v.size))))
    run_pieces(_rows, [(v[a:b], radius[a:b], x[a:b]) for a, b in parts])
