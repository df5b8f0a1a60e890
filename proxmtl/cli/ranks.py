"""Commands that several processes run together, as torchrun starts them."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxmtl.ranks import Ranks

__all__ = ["TOGETHER", "check_command", "first", "several", "speaks", "together"]

TOGETHER = ("fit", "tune")
"""Commands that ranks run together."""
LONGEST = 7 * 24 * 60.0
"""Minutes that a rank waits for the fits of others where it does not exchange anything inside."""


def _rank() -> tuple[int, int]:
    """Number of this process, and number of processes, by the environment."""
    for rank, size in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        # a process of Slurm that is alone has these numbers, too, and no first one's address
        if rank == "RANK" or "MASTER_ADDR" in os.environ:
            with contextlib.suppress(KeyError, ValueError):
                return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def first() -> bool:
    """Whether this process speaks, and writes: it is alone, or the first of several."""
    return _rank()[0] == 0


def several() -> bool:
    """Whether this process is one of several."""
    return _rank()[1] > 1


def speaks(error: BaseException) -> bool:
    """Whether this process says an error, which another one may say, too.

    The first says all; others what they alone know: not what another rank has told them, and not
    what is wrong with the arguments, which are the same for all.
    """
    if first():
        return True
    found = sys.modules.get("proxmtl.ranks")
    if found is None or not found.joined():
        return not isinstance(error, ValueError | TypeError)
    return not isinstance(error.__cause__, found.Told)


def check_command(name: str | None) -> None:
    """Raise ``ValueError`` if several processes run a command that is for one."""
    _, size = _rank()
    if size > 1 and name not in TOGETHER:
        raise ValueError(
            f"{name}: runs in one process, and this is one of {size} (WORLD_SIZE); start it "
            f"without torchrun. Several processes can share: {', '.join(TOGETHER)}."
        )


@contextlib.contextmanager
def together(out: Path, *, apart: bool = False) -> Iterator[tuple[Ranks, Path]]:
    """Join the other processes; give the ranks, and where this one writes its run.

    The first rank writes what was asked for, others what is thrown away.

    Parameters
    ----------
    out
        The run folder.
    apart
        Whether each rank fits by itself, for which the others wait as long as it takes.
    """
    from proxmtl.ranks import ALONE, MINUTES, ProcessRanks  # noqa: PLC0415 - imports torch

    if not several():
        yield ALONE, out
        return
    ranks = ProcessRanks.join(minutes=LONGEST if apart else MINUTES)
    if ranks.rank == 0:
        yield ranks, out
        return
    with tempfile.TemporaryDirectory() as folder:
        yield ranks, Path(folder) / "run"
