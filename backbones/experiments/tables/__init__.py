"""The tables that ``proxmtl reproduce`` knows, by the name of their data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from proxmtl.backbones.experiments.catalogue import check_systems, experiment
from proxmtl.backbones.experiments.protocol import Table
from proxmtl.backbones.experiments.tables.awa import SEEN, UNSEEN
from proxmtl.backbones.experiments.tables.clothing import CLOTHING
from proxmtl.backbones.experiments.tables.mulan import MULAN
from proxmtl.backbones.experiments.tables.tiny_awa import TINY_SEEN, TINY_UNSEEN
from proxmtl.backbones.experiments.tables.wbcatt import WBCATT

__all__ = ["TABLES", "chosen_tables", "whole_table"]

TABLES: dict[str, Table] = {
    table.name: table for table in (SEEN, UNSEEN, CLOTHING, WBCATT, TINY_SEEN, TINY_UNSEEN, *MULAN)
}
"""By their names in the catalogue, which says what data set they are of."""


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
    tables = [TABLES[each] for each in experiment(name).tables]
    if systems is None:
        return [replace(t, systems=tuple(s for s in t.systems if not s.asked)) for t in tables]
    check_systems(name, systems)
    chosen = [replace(t, systems=tuple(s for s in t.systems if s.name in systems)) for t in tables]
    return [table for table in chosen if table.systems]


def whole_table(table: Table) -> Table:
    """The table with all of its systems, of one with some."""
    return TABLES[table.name]
