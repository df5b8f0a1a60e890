"""A solve by the processes of several hosts: ``host_job.py FOLDER SECONDS_AN_ITERATION``.

Each writes its number beside the checkpoints while it works, and at the end its solution.
"""

import os
import sys
import time
from pathlib import Path

import torch
from rank_cases import ELASTIC, problem

import proxmtl as pm
from proxmtl.io import Checkpoint
from proxmtl.ranks import ProcessRanks, RankError

folder, pause = Path(sys.argv[1]), float(sys.argv[2])
ranks = ProcessRanks.join(minutes=0.1)
begun = []


def callback(progress):
    begun.append(progress.iteration)
    if len(begun) == 4:
        (folder / f"{ranks.rank}.pid").write_text(str(os.getpid()))
    time.sleep(pause)


try:
    result = pm.minimize(
        problem(ranks, ELASTIC),
        pm.FISTA(),
        stop=pm.MaxIterations(40),
        callback=callback,
        checkpoint=Checkpoint(folder / f"host-{ranks.rank}", seconds=0),
    )
except RankError as error:
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    os._exit(3)
found = {"solution": result.solution, "begun": begun[0]}
torch.save(found, folder / f"{ranks.rank}.pt")
