"""What the environment says of processes that were started together."""

from __future__ import annotations

import os

__all__ = ["attempt", "named_by_environment"]


def named_by_environment() -> tuple[int, int] | None:
    """Number of this process, and number of processes, where a first one is named."""
    for names in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if "MASTER_ADDR" in os.environ and all(name in os.environ for name in names):
            rank, size = (int(os.environ[name]) for name in names)
            return rank, size
    return None


def attempt() -> str:
    """Name of this start of the processes, the same on all of them.

    torchrun keeps one store over its restarts, and in it the addresses of processes that have died.
    """
    # of several hosts' agents, one may not count a restart that another's process has caused
    one_host = os.environ.get("GROUP_WORLD_SIZE") == "1"
    return f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') if one_host else '0'}"
