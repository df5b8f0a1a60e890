"""Single-task, latent without groups and latent with groups on Clothing, frozen features.

    python -m bench.models.clothing_rows --backbone mobilenet
    python -m bench.models.clothing_rows --backbone efficientnet

Random splits of the 1856 images, 60 % training; strengths chosen on a quarter of the training part.
Writes bench/results/clothing_rows_<backbone>_<algorithm>.json and prints the tables.
"""

from __future__ import annotations

from typing import Annotated

import typer

from bench.datasets import data_root, load_clothing
from bench.models import rows
from bench.models.clothing_features import features_of
from proxmtl.experiments import random_splits

RIDGES = (0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
A = (1e-9, 1e-8, 1e-7)
B = (1e-8, 3e-8, 1e-7)


def main(
    backbone: Annotated[str, typer.Option(help="mobilenet or efficientnet")] = "mobilenet",
    splits: rows.Splits = 5,
    passes: rows.Passes = 200,
    algorithm: rows.Algorithm = "auto",
    seed: rows.Seed = 0,
) -> None:
    """Compare the three rows."""
    data = load_clothing(data_root() / "clothing_attributes")
    X = features_of(backbone)
    parts = random_splits(len(X), splits, 0.4, seed, Y=data.Y)
    settings = {
        "backbone": backbone,
        "splits": splits,
        "passes": passes,
        "algorithm": algorithm,
        "seed": seed,
    }
    grids = {"l2_strength": RIDGES, "mu*gamma": A, "mu^2*lambda": B}
    rows.compared(
        f"clothing_rows_{backbone}_{algorithm}",
        settings,
        grids,
        X,
        data.Y,
        groups=data.groups,
        names=data.names,
        splits=parts,
    )


if __name__ == "__main__":
    typer.run(main)
