"""The tables that ``proxmtl reproduce`` knows, by the name of their data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from proxmtl.backbones.experiments.datasets import data_root
from proxmtl.backbones.experiments.protocol import Table
from proxmtl.backbones.experiments.tables.awa import SEEN, UNSEEN
from proxmtl.backbones.experiments.tables.clothing import CLOTHING
from proxmtl.backbones.experiments.tables.mulan import MULAN
from proxmtl.backbones.experiments.tables.tiny_awa import TINY_SEEN, TINY_UNSEEN
from proxmtl.backbones.experiments.tables.wbcatt import WBCATT
from proxmtl.naming import no_such

__all__ = ["EXPERIMENTS", "Experiment", "chosen_tables", "folder_of", "whole_table"]


class Experiment(NamedTuple):
    """Tables of one data set.

    Attributes
    ----------
    folder
        Usual name of the data set's folder.
    tables
        In the order in which they are computed.
    """

    folder: str
    tables: tuple[Table, ...]


EXPERIMENTS: dict[str, Experiment] = {
    "awa": Experiment("awa1", (SEEN, UNSEEN)),
    "clothing": Experiment("clothing_attributes", (CLOTHING,)),
    "wbcatt": Experiment("wbcatt", (WBCATT,)),
    "tinyawa": Experiment("tiny_imagenet_awa", (TINY_SEEN, TINY_UNSEEN)),
    "mulan": Experiment("mtl_tabular/mulan", MULAN),
}


def _named(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise ValueError(f"TABLE: {no_such(name, EXPERIMENTS)}")
    return EXPERIMENTS[name]


def chosen_tables(name: str, systems: Sequence[str] | None) -> list[Table]:
    """Tables of an experiment, with the systems asked for.

    Parameters
    ----------
    name
        Of the experiment.
    systems
        Names of systems; a table without any of them is left out. None: those that run unasked.

    Raises
    ------
    ValueError
        If there is no such experiment or system.
    """
    tables = _named(name).tables
    if systems is None:
        return [replace(t, systems=tuple(s for s in t.systems if not s.asked)) for t in tables]
    known = {system.name: None for table in tables for system in table.systems}
    for each in systems:
        if each not in known:
            raise ValueError(f"systems: {no_such(each, known)}")
    chosen = [replace(t, systems=tuple(s for s in t.systems if s.name in systems)) for t in tables]
    return [table for table in chosen if table.systems]


def whole_table(table: Table) -> Table:
    """The table with all of its systems, of one with some."""
    named = {each.name: each for experiment in EXPERIMENTS.values() for each in experiment.tables}
    return named[table.name]


def folder_of(name: str, data: Path | None) -> Path:
    """Folder of the data set of an experiment, under a folder of several or as it is given."""
    root = data_root() if data is None else data
    inside = root / _named(name).folder
    return inside if inside.is_dir() or data is None else root
