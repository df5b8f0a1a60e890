"""Networks on digits: trained alone and jointly, with strengths and rates of both chosen fairly.

    python -m bench.models.cnn_digits [--seeds 0 1 2] [--observed 0.2] [--shared 0] [--epochs 10]

For each seed: two digits are set aside, the others split; strength and learning rate of each model
are chosen by mean AP on a fifth of the training images (their known labels), both models trained
again on all training images, and scored on the test images and, zero-shot, on the two digits. One
JSON line a run, each of them saved in bench/results/cnn_digits.json once it is done; runs that it
has of the same settings are kept. Read in docs/how_to/training.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings

import numpy as np
import torch

from bench import record
from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.training import (
    Architecture,
    LatentHead,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)
from proxmtl.cli.digits_unseen import digit_rows, zero_shot_accuracy
from proxmtl.groups import Groups
from proxmtl.io import load_digit_attributes
from proxmtl.latent import LatentMTL

GRID = {
    "single": ((1.0, 3e-4), (1.0, 1e-3), (3.0, 1e-3)),
    "joint": ((0.02, 3e-4), (0.05, 3e-4), (0.05, 1e-3)),
}
"""Strength and learning rate: the same number of choices for both."""


def head_of(kind, strength, groups, passes):
    if kind == "single":
        return SingleTaskHead(strength, max_passes=passes)
    model = LatentMTL(
        groups,
        10,
        group_strength=strength,
        l1_strength=3e-4,
        frobenius_strength=3e-4,
        max_passes=passes,
    )
    return LatentHead(model)


def run(options, task, kind, choice, rows):
    """Train one model with one choice of strength and rate."""
    data, groups, table, seed = task
    train, test = rows
    strength, rate = choice
    architecture = Architecture(
        n_members=len(data.names), shared_stages=options.shared, widths=(8, 16), n_features=16
    )
    config = TrainingConfig(
        epochs=options.epochs, batch_size=32, learning_rate=rate, patience=3, seed=seed
    )
    head = head_of(kind, strength, groups, options.passes)
    trainer = Trainer(architecture.ensemble(seed), head, table, config, train=train, test=test)
    trainer.run()
    return trainer


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--observed", type=float, default=0.2)
    parser.add_argument("--shared", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--passes", type=int, default=60)
    parser.add_argument("--n-train", type=int, default=500)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", RuntimeWarning)  # attributes without a known label of a class
    data = load_digit_attributes()
    groups = Groups.from_names(data.groups, data.names)
    pixels = (data.X.reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    settings = {name: value for name, value in vars(options).items() if name != "seeds"}
    settings["grid"] = GRID
    runs = record.runs_so_far("cnn_digits", settings)
    for seed in options.seeds:
        rows = digit_rows(data, options.n_train, options.observed, seed)
        table = ImageTable(pixels, rows.labels, data.names, tuple(map(str, range(len(pixels)))))
        task = data, groups, table, seed
        order = np.random.default_rng((seed, 3)).permutation(rows.train)
        validation, rest = np.split(order, [len(order) // 5])
        for kind, grid in GRID.items():
            key = f"{kind}, seed {seed}"
            if key in runs:
                continue
            begin = time.perf_counter()
            tried = {
                choice: run(options, task, kind, choice, (rest, validation)).history[-1].ap
                for choice in grid
            }
            best = max(tried, key=tried.get)
            final = run(options, task, kind, best, (rows.train, rows.test))
            last = final.history[-1]
            unseen = zero_shot_accuracy(final, data, rows)
            figures = {
                "kind": kind,
                "seed": seed,
                **{name: value for name, value in vars(options).items() if name != "seeds"},
                "strength": best[0],
                "rate": best[1],
                "ap": round(100 * last.ap, 1),
                "accuracy": round(100 * last.accuracy, 1),
                "frozen_ap": round(100 * final.history[0].ap, 1),
                "objectives": [round(epoch.objective, 4) for epoch in final.history],
                "live_latents": [epoch.live_latents for epoch in final.history],
                "zero_shot": {str(d): round(100 * a, 1) for d, a in unseen.items()},
                "validation": {f"{s:g}, {r:g}": round(100 * a, 1) for (s, r), a in tried.items()},
                "seconds": round(time.perf_counter() - begin),
            }
            runs[key] = figures
            sys.stdout.write(json.dumps(figures) + "\n")
            sys.stdout.flush()
            record.save("cnn_digits", {"settings": settings, "runs": runs})


if __name__ == "__main__":
    main()
