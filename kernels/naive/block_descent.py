"""Block coordinate descent with the gradient of the model computed anew for each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from proxmtl.kernels.dispatch import always
from proxmtl.kernels.ops.coordinate_descent import SEED, shuffle

from .loops import to_float64

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxmtl.kernels.ops.block_descent import BlockDescentArgs

supports = always


def run(args: BlockDescentArgs) -> torch.Tensor:
    """Weights after the step."""
    gram, slopes = to_float64(args.gram), to_float64(args.slopes)
    before, penalty = to_float64(args.weights), to_float64(args.penalty)
    groups = args.groups.cpu().numpy()
    gram = np.broadcast_to(gram, (len(slopes), *gram.shape[1:]))
    members = [np.flatnonzero(groups == g) for g in range(len(penalty))]
    w, n = before.copy(), before.shape[1]

    def gradient(tasks: NDArray[np.int64], j: int) -> NDArray[np.float64]:
        bent = np.einsum("mi,mi->m", gram[tasks, j], w[tasks] - before[tasks])
        return np.asarray(slopes[tasks, j] + bent + 2 * args.ridge * w[tasks, j])

    blocks = [(g, j) for g in range(len(members)) if len(members[g]) for j in range(n)]
    at_start = [_violation(gradient(members[g], j), w[members[g], j], penalty[g, j])
                for g, j in blocks]  # fmt: skip
    wanted = args.reduction * float(np.linalg.norm(at_start))
    resting, full, state, order = np.zeros(penalty.shape, bool), True, SEED, list(range(n))
    for _ in range(args.sweeps):
        met = []
        state = shuffle(order, state)
        for j in order:
            for g, tasks in enumerate(members):
                if not len(tasks) or (resting[g, j] and not full):
                    continue
                slope, old, p = gradient(tasks, j), w[tasks, j], float(penalty[g, j])
                met.append(_violation(slope, old, p))
                resting[g, j] = not old.any() and met[-1] == 0
                bend = float(gram[tasks, j, j].max()) + 2 * args.ridge
                aim = bend * old - slope
                if bend > 0:
                    w[tasks, j] = _shrunk(aim, p) / bend
                elif p > 0 and np.linalg.norm(slope) <= p:
                    w[tasks, j] = 0.0
        done = float(np.linalg.norm(met)) <= wanted
        if full and done:
            break
        full = done
    return torch.from_numpy(w).to(args.device)


def _shrunk(v: NDArray[np.float64], p: float) -> NDArray[np.float64]:
    size = float(np.linalg.norm(v))
    return v * max(0.0, 1 - p / size) if size > 0 else v


def _violation(gradient: NDArray[np.float64], w: NDArray[np.float64], p: float) -> float:
    """Norm of the least subgradient in one block."""
    size = float(np.linalg.norm(w))
    if size == 0:
        return max(float(np.linalg.norm(gradient)) - p, 0.0)
    return float(np.linalg.norm(gradient + p * w / size))
