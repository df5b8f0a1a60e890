"""Train in child processes that are killed at random moments, and in one that is left alone.

    python killed_runs.py FOLDER KILLS

Each child is forked before torch has started a thread, so the imports are paid once. Writes
FOLDER/alone/end.pt and FOLDER/killed/end.pt, and prints the epochs reached at each kill.
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


def train(folder):
    torch.set_num_threads(1)
    trainer = small_run(folder, epochs=4, n_train=60, head=latent_head(max_passes=20))
    history = [dataclasses.asdict(record) | {"seconds": 0.0} for record in trainer.run()]
    torch.save({"history": history, "network": trainer.network.state_dict()}, folder / END)


def child(folder):
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train(folder)
            status = 0
        finally:
            os._exit(status)
    return process


def main(folder, kills):
    alone, killed = folder / "alone", folder / "killed"
    alone.mkdir()
    killed.mkdir()
    begin = time.monotonic()
    _, status = os.waitpid(child(alone), 0)
    assert status == 0
    whole = time.monotonic() - begin
    moments = random.Random(kills)
    for _ in range(kills):
        process = child(killed)
        time.sleep(moments.uniform(0, whole / 2))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        checkpoint = read_checkpoint(killed)
        epochs = 0 if checkpoint is None else len(checkpoint.history)
        sys.stdout.write(f"{epochs}\n")
        (killed / END).unlink(missing_ok=True)
    _, status = os.waitpid(child(killed), 0)
    assert status == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
