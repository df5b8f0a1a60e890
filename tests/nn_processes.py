"""What two processes train, and one on the union: run as ``nn_processes.py RANK PORT OUT``."""

import copy
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from strategies import classification
from torch.nn.parallel import DistributedDataParallel

from proxmtl import Groups, MaxPasses, RelativeKKT, SquaredFrobenius
from proxmtl.latent.strengths import RelativeStrengths
from proxmtl.nn import ConvexHead, LatentMTLHead, ProximalOptimizer
from proxmtl.ranks import RankError

N, D, M = 24, 5, 4
X, Y = classification(N, D, M, missing=0.1)
PARTS = (slice(0, 10), slice(10, N))  # not equally many
OPTIONS = {"group_strength": 0.02, "l1_strength": 0.01, "frobenius_strength": 0.01, "tol": 1e-4}


class Network(torch.nn.Module):
    """A layer of features, and the head on top."""

    def __init__(self, *, distributed, trainable):
        super().__init__()
        torch.manual_seed(0)
        self.features = torch.nn.Linear(D, D, dtype=torch.float64)
        self.head = LatentMTLHead(
            D,
            M,
            Groups.from_lists([[0, 1], [2, 3]]),
            2,
            distributed=distributed,
            trainable=trainable,
            dtype=torch.float64,
            **OPTIONS,
        )

    def forward(self, x):
        return self.head(torch.tanh(self.features(x)))


def train(parts, wrap, *, distributed):
    """Parameters after two steps of the trainable mode, one proximal step, and a solve."""
    out = []
    network = Network(distributed=distributed, trainable=True)
    ddp = wrap(network)
    sgd = torch.optim.SGD(network.parameters(), lr=0.2)
    optimizer = ProximalOptimizer(sgd, network.head.penalties())
    for _ in range(2):
        optimizer.zero_grad()
        network.head.objective(ddp(X[parts]), Y[parts]).backward()
        optimizer.step()
    out += [p.detach().clone() for p in network.parameters()]
    head = copy.deepcopy(network.head)
    for lr in (0.1, None):
        x = X[parts].clone().requires_grad_()
        head.prox_step(x, Y[parts], lr=lr, steps=2).backward()
        if lr:
            out += [p.detach().clone() for p in head.factors()]
    result = head.solve(X[parts], Y[parts])
    out += [p.detach().clone() for p in head.factors()]
    convex = ConvexHead(
        D,
        M,
        SquaredFrobenius(0.05),
        reduction="task_mean",
        stop=RelativeKKT(1e-8) | MaxPasses(500),
        distributed=distributed,
        dtype=torch.float64,
    )
    convex.solve(X[parts], Y[parts])
    loss = convex.loss(X[parts], Y[parts]).detach()
    if distributed:
        dist.all_reduce(loss)
        loss /= dist.get_world_size()
    out += [convex.W.detach().clone(), convex.census.rates.clone(), loss]
    out += [head.census.observed.clone(), torch.tensor(result.certificate.objective)]
    return out


TASKS = ([3, 0, 1], [2])
"""Of each process: not equally many, and not in their order."""
PER_TASK = torch.stack([torch.roll(X, m, 1) + 0.1 * m for m in range(M)])


def by_tasks(tasks):
    """What heads give whose processes have features and labels of some tasks each."""
    own = list(range(M)) if tasks is None else tasks
    common = {"distributed": tasks is not None, "tasks": tasks, "dtype": torch.float64}
    found = []
    for make, features in (
        (lambda: LatentMTLHead(D, M, n_latents=2, max_passes=200, **common, **OPTIONS), PER_TASK),
        (
            lambda: LatentMTLHead(
                D, M, relative=RelativeStrengths(), reduction="task_mean", **common
            ),
            PER_TASK,
        ),
        (lambda: ridge(class_weight="balanced", **common), PER_TASK),
        (lambda: ridge(reduction="sum", **common), X),
    ):
        head = make()
        x = (features if features.ndim == 2 else features[own]).clone().requires_grad_()
        result = head.solve(x, Y[:, own])
        loss = head.loss(x, Y[:, own])
        batch = head.network_loss(x[..., :9, :], Y[:9, own])
        (loss + batch).backward()
        found.append(
            {
                "objective": result.certificate.objective,
                "loss": float(loss.detach()),
                "batch": float(batch.detach()),
                "coef": head.coef.detach(),
                "scores": head(x).detach(),
                "gradient": x.grad,
                "census": [*head.census.buffers()],
            }
        )
    return found


def ridge(reduction="task_mean", **options):
    stop = RelativeKKT(1e-10) | MaxPasses(2000)
    return ConvexHead(D, M, SquaredFrobenius(0.05), reduction=reduction, stop=stop, **options)


def refused(rank):
    """What this process hears of labels that one process, or only all together, can't be solved."""
    heard = []
    infinite, one_class = X.clone(), Y[PARTS[rank]].clone()
    infinite[0] = torch.inf  # a row of the first process
    one_class[:, 2] = 1.0
    own = X[PARTS[rank]]
    for features, labels, weight in (
        (own[:, : D - rank], Y[PARTS[rank]], None),
        (infinite[PARTS[rank]], Y[PARTS[rank]], None),
        (own, one_class, None),
        (own, Y[PARTS[rank]], None if rank else torch.ones(len(own))),
    ):
        head = LatentMTLHead(D, M, distributed=True, dtype=torch.float64)
        try:
            head.solve(features, labels, weight)
        except (ValueError, RankError) as error:
            heard.append(str(error))
        assert not head.solved
        assert head.census.observed == 0
    return heard


def work(rank, port, out):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        found = train(PARTS[rank], DistributedDataParallel, distributed=True)
        torch.save((found, refused(rank), by_tasks(TASKS[rank])), Path(out))
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    work(int(sys.argv[1]), *sys.argv[2:])
