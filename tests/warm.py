"""What the server of forks has before it forks: modules, and kernels that have run.

The first call of a compiled kernel imports half of numba.
"""

import gc

import matplotlib.pyplot as plt  # noqa: F401 - forks draw
import numpy as np
import torch
import torch.distributed

import proxmtl as pm
import proxmtl.backbones
import proxmtl.cli.app
import proxmtl.experiments
import proxmtl.nn
import proxmtl.selection

torch.set_num_threads(1)
X = np.linspace(-1, 1, 24).reshape(8, 3) ** 2
Y = np.outer([0, 1, 0, 1, 1, 0, 1, 0], [1, 1])
for model in (pm.LatentMTLClassifier(max_passes=50), pm.GroupLassoClassifier()):
    model.fit(X, Y)
gc.collect()
gc.freeze()  # collections in forks write to no page of what is there
