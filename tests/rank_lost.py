"""Three processes of which the second dies, or hangs, in the middle of a solve."""

import os
import sys
import time

from rank_cases import ELASTIC, problem

import proxmtl as pm
from proxmtl.ranks import ProcessRanks

ranks = ProcessRanks.join(minutes=0.05)


def callback(progress):
    if ranks.rank == 1 and progress.iteration == 3:
        if sys.argv[1] == "dies":
            os._exit(9)
        time.sleep(200)


pm.minimize(problem(ranks, ELASTIC), pm.FISTA(), stop=pm.MaxIterations(10**6), callback=callback)
