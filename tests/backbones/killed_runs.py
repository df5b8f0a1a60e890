"""Train in child processes that are killed at random moments, and in one that is left alone.

    python killed_runs.py FOLDER KILLS

Each child is forked before torch has started a thread, so the imports are paid once. Writes
FOLDER/alone/end.pt and FOLDER/killed/end.pt, and prints the checkpoints that each kill left. A
moment is a few checkpoints (0 to 2) after the start and a random time later: by time alone nearly
all would fall into the first solve, in which kernels are loaded.
"""

import dataclasses
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from training_cases import latent_head, small_run

from proxmtl.backbones.training import read_checkpoint

END = "end.pt"


def train(folder, epochs):
    torch.set_num_threads(1)
    trainer = small_run(folder, epochs=epochs, n_train=60, head=latent_head(max_passes=20))
    history = [dataclasses.asdict(record) | {"seconds": 0.0} for record in trainer.run()]
    torch.save({"history": history, "network": trainer.network.state_dict()}, folder / END)


def child(folder, epochs):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train(folder, epochs)
            status = 0
        finally:
            os._exit(status)
    return process


def await_checkpoints(process, path, count):
    """Return when a checkpoint was replaced that often, or the process has ended."""
    last = path.stat().st_mtime_ns if path.exists() else 0
    while count and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        now = path.stat().st_mtime_ns if path.exists() else 0
        count -= now != last
        last = now
        time.sleep(0.001)


def main(folder, kills):
    alone, killed = folder / "alone", folder / "killed"
    alone.mkdir()
    killed.mkdir()
    epochs = kills + 2
    begin = time.monotonic()
    _, status = os.waitpid(child(alone, epochs), 0)
    assert status == 0
    each = (time.monotonic() - begin) / (epochs + 1)
    moments = random.Random(kills)
    for _ in range(kills):
        process = child(killed, epochs)
        await_checkpoints(process, killed / ".train" / "checkpoint.pt", moments.randrange(3))
        time.sleep(moments.uniform(0, each))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        checkpoint = read_checkpoint(killed)
        left = 0 if checkpoint is None else len(checkpoint.history)
        sys.stdout.write(f"{left}\n")
        (killed / END).unlink(missing_ok=True)
    _, status = os.waitpid(child(killed, epochs), 0)
    assert status == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
