"""Runs that are killed at random moments, and started again by torchrun: where they end.

    python bench/kills.py                # 20 kills of two ranks that stream shards from a folder

Two processes solve a problem whose features lie in shards, with a checkpoint every half second.
At random moments one of them is killed (SIGKILL). torchrun ends the other and starts both again,
and they go on from the last state that both have written. The solution must be that of a run that
was never interrupted, bit by bit, and the folder of the checkpoint must be whole. Writes
bench/results/kills.json.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import record
import torch
import typer

from proxmtl import (
    FISTA,
    L1,
    Logistic,
    MaxIterations,
    Problem,
    ProcessRanks,
    ShardedDesign,
    StreamedDesign,
    minimize,
)
from proxmtl.io import Checkpoint, open_shards

ROWS, D, M = 40_000, 256, 4
"""Rows of a rank."""


def solve(folder: Path, out: Path) -> None:
    """What each process runs."""
    torch.set_num_threads(1)
    ranks = ProcessRanks.join(minutes=1)
    (out.parent / f"{out.stem}-{ranks.rank}.pid").write_text(str(os.getpid()), encoding="utf-8")
    own = StreamedDesign(open_shards(folder / str(ranks.rank)), intercept=True, memory=1 << 24)
    Y = np.load(folder / f"labels-{ranks.rank}.npy")
    design = ShardedDesign(own, ranks)
    posed = Problem.of(design, Y, L1(1e-3), loss=Logistic(), reduction="mean")
    kept = Checkpoint(out.with_suffix(".kept"), seconds=0.5)
    result = minimize(posed, FISTA(), stop=MaxIterations(150), checkpoint=kept)
    if ranks.rank == 0:
        torch.save(result.solution, out)


def write_data(folder: Path) -> None:
    """Shards and labels of two ranks."""
    truth = np.random.default_rng(9).standard_normal((D, M))
    for rank in range(2):
        rng = np.random.default_rng(rank)
        (folder / str(rank)).mkdir()
        parts = [rng.standard_normal((ROWS // 4, D), dtype=np.float32) for _ in range(4)]
        for k, part in enumerate(parts):
            np.save(folder / str(rank) / f"part-{k}.npy", part)
        noise = rng.standard_normal((ROWS, M)) * 4
        np.save(folder / f"labels-{rank}.npy", np.sign(np.concatenate(parts) @ truth + noise))


def start(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", "--max-restarts=1000", __file__]
    command += ["--solve", str(folder), "--out", str(out)]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main(
    kills: Annotated[int, typer.Option(help="Kills in all.")] = 20,
    solve_in: Annotated[Path | None, typer.Option("--solve", hidden=True)] = None,
    out: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Kill ranks, and compare where their runs end."""
    if solve_in is not None:
        assert out is not None
        solve(solve_in, out)
        return
    draw = random.Random(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        start(folder, folder / "whole.pt").wait()
        whole = torch.load(folder / "whole.pt")
        done = run = 0
        while done < kills:
            target = folder / f"run-{run}.pt"
            process = start(folder, target)
            row = {"run": run, "kills": 0}
            while process.poll() is None:
                time.sleep(draw.uniform(8.0, 25.0))
                pid = target.parent / f"{target.stem}-{draw.randrange(2)}.pid"
                if done < kills and process.poll() is None and pid.exists():
                    try:
                        os.kill(int(pid.read_text(encoding="utf-8")), signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    done += 1
                    row["kills"] += 1
            row["code"] = process.returncode
            row["same"] = target.exists() and torch.equal(torch.load(target), whole)
            print(row, flush=True)
            rows.append(row)
            run += 1
    record.save("kills", {"kills": done, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
