"""A page while it is made: its models, its sections, and the charts in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from proxmtl.report.comparison import (
    all_names,
    by_sharing,
    compare_models,
    scores_by_attribute,
)
from proxmtl.report.names import printable
from proxmtl.report.runs import models_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.examples import ExampleBlock
    from proxmtl.report.page_tables import PageTable
    from proxmtl.report.runs import Model, ReportedRun
    from proxmtl.report.vega import Spec

__all__ = ["Figure", "Page", "Section", "groups_of"]

MOST_LINES = 1200
"""Attributes times models of a page; further attributes are left out, and the page says so."""


class Figure(NamedTuple):
    """A chart with its caption; wide ones scroll in a box of their own."""

    key: str
    title: str
    caption: str
    tall: bool = False


class Change(NamedTuple):
    """What sharing changes on the rows that a run held out."""

    run: ReportedRun
    pair: tuple[Model, Model]
    """Of the attributes that share: each alone, and sharing."""
    comparison: Comparison


@dataclass
class Section:
    """A part of the page."""

    key: str
    title: str
    text: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)
    examples: list[ExampleBlock] = field(default_factory=list)
    side_by_side: bool = False


class Page:
    """The sections of a page, and the charts in them."""

    def __init__(self, runs: Sequence[ReportedRun]) -> None:
        self.runs = runs
        self.charts: dict[str, Spec] = {}
        self.sections: list[Section] = []
        self.models: list[tuple[Model, pd.DataFrame]] = [
            (model, scores_by_attribute(model)) for model in models_of(runs)
        ]
        names = all_names(runs)
        most = max(MOST_LINES // max(len(self.models), 1), 1)
        self.left_out = len(names) - len(names[:most])
        self.names = names[:most]
        self.groups = groups_of(runs, self.names)
        self.comparisons: list[Comparison] = []
        for model, _ in self.models[1:]:
            found = compare_models(self.models[0][0], model)
            if found is not None:
                self.comparisons.append(found)
        self.changes: list[Change] = []
        for run in runs:
            pair = by_sharing(run)
            found = None if pair is None else compare_models(*pair)
            if pair is not None and found is not None:
                self.changes.append(Change(run, pair, found))

    def figure(self, title: str, caption: str, spec: Spec, *, tall: bool = False) -> Figure:
        """Give a chart its place."""
        key = f"chart-{len(self.charts)}"
        self.charts[key] = spec
        return Figure(key, title, caption, tall)

    def tables_of(self, run: ReportedRun) -> list[tuple[Model, pd.DataFrame]]:
        """The scored models of a run."""
        return [(model, table) for model, table in self.models if model.run is run]

    def called(self, run: ReportedRun, what: str) -> str:
        """A title, with the name of the run where there are several."""
        return what if len(self.runs) == 1 else f"{printable(run.name)}: {what}"


def groups_of(runs: Sequence[ReportedRun], names: Sequence[str]) -> dict[str, list[str]]:
    """Groups of the first run that has some, by names."""
    there = set(names)
    for run in runs:
        if run.groups:
            found = {
                printable(group): [run.names[column] for column in columns]
                for group, columns in run.groups.items()
            }
            return {
                group: kept
                for group, of in found.items()
                if (kept := [n for n in of if n in there])
            }
    return {}
