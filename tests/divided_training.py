"""What two processes train with some networks each, and one with all: run with a file name."""

import sys
from dataclasses import asdict, replace

import numpy as np
import torch
from training_cases import digits, latent_head, rows

from proxmtl import ProcessRanks
from proxmtl.backbones.training import DividedHead, SingleTaskHead, Trainer, TrainingConfig
from proxmtl.backbones.training.model import Architecture
from proxmtl.ranks import ALONE, RankError

ARCHITECTURE = Architecture(widths=(4, 8), n_features=8)
# gradients are longer than that: all processes scale them by the norm of all
CONFIG = TrainingConfig(epochs=2, batch_size=24, learning_rate=1e-2, clip_norm=0.1)
HEADS = {"latent": latent_head(groups=None), "single task": SingleTaskHead(0.1, tol=1e-8)}


def trainer(head, **options):
    members = replace(ARCHITECTURE, n_members=len(head.own), **options.pop("architecture", {}))
    table = digits(3).with_attributes(head.own)
    network = members.ensemble(seed=0)
    return Trainer(network, head, table, CONFIG, **rows(120, 60), **options)


def trained(ranks):
    """Figures of all epochs, scores, and the whole model, for each head."""
    found = {}
    for name, head in HEADS.items():
        divided = DividedHead(head, digits(3).names, ranks)
        running = trainer(divided)
        history = [asdict(epoch) for epoch in running.run()]
        model = divided.model(running, ARCHITECTURE, {})
        found[name] = {
            "history": history,
            "scores": running.scores(running.test),
            "own": list(divided.tasks_of(ranks.rank)),
            "of the model": model.decision_function(running.table.pixels[running.test]),
            "names": model.names,
            "W": running.layer.coef.detach(),
        }
    return found


def raised(ranks, tmp):
    """What all hear of runs that can't be."""
    divided = DividedHead(HEADS["single task"], digits(3).names, ranks)
    heard = []
    for options in ({"folder": tmp}, {"architecture": {"shared_stages": 1}}):
        try:
            trainer(divided, **options)
        except ValueError as error:
            heard.append(str(error))
    # the networks of one process diverge: all undo the epoch, or end
    running = trainer(divided)
    if ranks.rank == 1:
        next(running.network.parameters()).data.fill_(np.nan)
    try:
        running.run()
    except (ValueError, RankError) as error:
        heard.append(str(error))
    return heard


if __name__ == "__main__":
    torch.set_num_threads(1)
    ranks = ProcessRanks.join(minutes=2)
    assert ranks is not ALONE
    torch.save((trained(ranks), raised(ranks, sys.argv[1])), f"{sys.argv[1]}-{ranks.rank}.pt")
