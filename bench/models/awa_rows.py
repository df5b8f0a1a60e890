"""Single-task, latent without groups and latent with groups on Animals with Attributes 1.

    python -m bench.models.awa_rows

As in the paper, training and test images are of the same (40 seen) classes: random sets of 3000
training and 9000 test images. Features: 512 principal components of the distributed descriptors.
Writes bench/results/awa_rows_<algorithm>.json and prints the tables.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer

from bench.datasets import data_root, load_awa
from bench.models import rows
from proxmtl.experiments import Split, random_splits

RIDGES = (0.03, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
A = (1e-8, 3e-8, 1e-7)
B = (1e-12, 1e-11, 1e-10)


def main(
    *,
    splits: rows.Splits = 5,
    train: Annotated[int, typer.Option(help="training images per split")] = 3000,
    test: Annotated[int, typer.Option(help="test images per split")] = 9000,
    passes: rows.Passes = 100,
    algorithm: rows.Algorithm = "auto",
    seed: rows.Seed = 0,
) -> None:
    """Compare the three rows."""
    data = load_awa(data_root() / "awa1")
    seen = data.rows(data.classes.train)
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(seen, train + test, replace=False) for _ in range(splits)]
    X, Y = data.X, data.Y
    parts = [
        Split(chosen[inner.train], chosen[inner.test])
        for chosen in drawn
        for inner in random_splits(train + test, 1, test / (train + test), seed, Y=Y[chosen])
    ]
    settings = {
        "splits": splits,
        "train": train,
        "test": test,
        "passes": passes,
        "algorithm": algorithm,
        "seed": seed,
    }
    grids = {"l2_strength": RIDGES, "mu*gamma": A, "mu^2*lambda": B}
    rows.compared(
        f"awa_rows_{algorithm}",
        settings,
        grids,
        X,
        Y,
        groups=data.groups,
        names=data.classes.attribute_names,
        splits=parts,
    )


if __name__ == "__main__":
    typer.run(main)
