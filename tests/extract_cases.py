"""A tiny network and images without end, for tests of extraction and for its child processes.

    python extract_cases.py FOLDER

measures, in processes forked before torch has started a thread, the peak memory of a short and a
long extraction, and kills another again and again, at random moments after so many images. Prints
JSON.
"""

import json
import os
import random
import signal
import sys
import traceback
from pathlib import Path

import numpy as np
import torch

from proxmtl.backbones import extract_to_file


class Mixer:
    """Features by a random matrix; as wide as asked, and with as many members.

    Its weights are small integers, so that no sum is rounded: an image has the same features,
    bit for bit, in batches of any size and by any instructions of the processor.
    """

    name = "mixer"
    input_size = 4
    fit = None

    def __init__(self, n_features=5, n_members=None, seed=0):
        self.n_features, self.n_members = n_features, n_members
        members = n_members or 1
        random_ = np.random.default_rng(seed)
        weights = random_.integers(-9, 10, (members, 48, n_features)).astype(np.float32)
        self.weights = torch.from_numpy(weights)

    def features(self, pixels):
        flat = torch.from_numpy(pixels).reshape(1, len(pixels), -1).float() / 256
        features = flat @ self.weights
        return features if self.n_members else features[0]

    def tensors(self):
        return {"weights": self.weights}


class Squares:
    """N small images, made when they are asked for."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __iter__(self):
        for i in range(self.n):
            yield np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)


def forked(work):
    """Do some work in a child; give its exit status and its peak memory in bytes."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            if status:
                traceback.print_exc()
            os._exit(status)
    return process


def ended(process):
    _, status, usage = os.wait4(process, 0)
    return status, usage.ru_maxrss * 1024


def kill_soon_after(images, seconds):
    """Make a progress that has the system end this process a moment after so many images."""

    def progress(done, total):
        if images <= done < images + 8:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)

    return progress


def main(folder):
    torch.set_num_threads(1)
    report = {"peak": []}
    for n in (300, 2100):
        out, wide = folder / f"{n}.npy", Mixer(n_features=16384)
        status, peak = ended(
            forked(lambda out=out, n=n, wide=wide: extract_to_file(Squares(n), wide, out))
        )
        assert status == 0
        report["peak"].append(peak)
    narrow = Mixer(n_members=3)
    alone, again = folder / "alone.npy", folder / "killed.npy"

    def work(out, progress=None):
        names = [f"{i}.png" for i in range(1500)]
        extract_to_file(Squares(1500), narrow, out, ids=names, progress=progress)

    assert ended(forked(lambda: work(alone)))[0] == 0
    moments = random.Random(0)
    report["done"] = []
    for images in (16, 300, 600, 900, 1200):
        progress = kill_soon_after(images, moments.uniform(1e-6, 4e-3))
        status, _ = ended(forked(lambda progress=progress: work(again, progress)))
        assert status == signal.SIGALRM
        records = sorted((folder / "killed.npy.partial").glob("0*.json"))
        report["done"].append(json.loads(records[-1].read_text())["done"] if records else 0)
    assert ended(forked(lambda: work(again)))[0] == 0
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
