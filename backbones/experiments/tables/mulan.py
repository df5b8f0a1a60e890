"""MULAN's multi-label sets: classical features, labels without groups."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from proxmtl.backbones.experiments.catalogue import EXPERIMENTS
from proxmtl.backbones.experiments.datasets import load_mulan
from proxmtl.backbones.experiments.protocol import Data, FeaturesOf, Fold, Table
from proxmtl.backbones.experiments.splits import random_folds
from proxmtl.backbones.experiments.systems import PAIRS, systems_of
from proxmtl.groups import Groups

__all__ = ["MULAN"]

SPLITS = 5


def load(name: str, folder: Path, features: FeaturesOf) -> Data:
    """Features and labels of both parts."""
    del features
    found = load_mulan(folder, name)
    M = found.Y.shape[1]
    names = tuple(f"label {k}" for k in range(M))
    groups = Groups.from_lists([list(range(M))], M, names=["labels"])
    parts = {"train": np.arange(found.n_train)}
    return Data(found.X, found.Y, names, groups, np.arange(len(found.X)), parts=parts)


def folds(data: Data, seed: int) -> list[Fold]:
    """Five random splits with the sizes of the authors' parts."""
    return random_folds(data, SPLITS, 1 - len(data.parts["train"]) / len(data.X), seed)


def _table(table: str) -> Table:
    name = table.removeprefix("mulan-")
    systems = systems_of(table)
    rows = {system.name for system in systems}
    return Table(
        name=table,
        title=f"MULAN, {name}",
        load=partial(load, name),
        folds=folds,
        protocol="""
        Five random splits with the sizes of the authors' parts; a quarter of each training
        part validates, as in the other tables. Labels have no groups.
    """,
        systems=systems,
        pairs=tuple(pair for pair in PAIRS if rows.issuperset(pair)),
    )


MULAN = tuple(_table(table) for table in EXPERIMENTS["mulan"].tables)
