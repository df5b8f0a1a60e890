"""Processes of which the second dies, hangs, or loses its disk in the middle of a solve."""

import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from rank_cases import ELASTIC, problem

import proxmtl as pm
from proxmtl.io import Checkpoint, open_shards
from proxmtl.ranks import ProcessRanks

how, folder = sys.argv[1], Path(sys.argv[2])
ranks = ProcessRanks.join(minutes=0.05)
posed, kept = problem(ranks, ELASTIC), None
if how == "full":
    kept = Checkpoint(folder, seconds=0)
if how == "gone":
    generator = torch.Generator().manual_seed(ranks.rank)
    X = torch.randn(3000, 100, generator=generator)
    own = folder / str(ranks.rank)
    own.mkdir()
    for number, part in enumerate(torch.split(X, 1000)):
        np.save(own / f"part-{number}.npy", part.numpy())
    rows = pm.StreamedDesign(open_shards(own), intercept=True, memory=1 << 20)
    posed = pm.Problem.of(pm.ShardedDesign(rows, ranks), torch.sign(X[:, :2]), ELASTIC)


def callback(progress):
    if ranks.rank == 1 and progress.iteration == 3:
        if how == "dies":
            os._exit(9)
        if how == "hangs":
            time.sleep(200)
        if how == "full":  # no file may grow beyond this
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        if how == "gone":
            (folder / "1" / "part-1.npy").unlink()


stop = pm.MaxIterations(10**6)
pm.minimize(posed, pm.FISTA(), stop=stop, callback=callback, checkpoint=kept)
