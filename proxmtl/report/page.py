"""One self-contained HTML page of one or several runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmtl.report.cautions import run_warnings
from proxmtl.report.names import printable
from proxmtl.report.page_parts import Page
from proxmtl.report.page_sections import add_sections
from proxmtl.report.rendering import rendered
from proxmtl.report.vega import theme
from proxmtl.report.verdict import comparison_sentence, headline, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from proxmtl.report.runs import Model, ReportedRun

__all__ = ["LARGEST_PAGE", "report_page"]

LARGEST_PAGE = 3_000_000
"""Bytes."""


def report_page(runs: Sequence[ReportedRun]) -> str:
    """Make the page.

    Parameters
    ----------
    runs
        At least one; the others are compared with the first.

    Returns
    -------
    str
        HTML that needs nothing but itself.

    Raises
    ------
    ValueError
        If it would be larger than `LARGEST_PAGE`.
    """
    page = Page(runs)
    add_sections(page)
    blocks = [
        {
            "name": printable(run.name),
            "headline": headline(
                run,
                [table for _, table in page.tables_of(run)],
                next((change.comparison for change in page.changes if change.run is run), None),
            ),
            "sentences": verdict(run, *_unzipped(page.tables_of(run))),
            "facts": _facts(run),
        }
        for run in runs
    ]
    text = rendered(
        title=", ".join(printable(run.name) for run in runs),
        blocks=blocks,
        comparisons=[comparison_sentence(comparison) for comparison in page.comparisons],
        sections=page.sections,
        warnings=_warnings(page),
        reproduce=[_reproduce(run) for run in runs],
        charts=page.charts,
        themes={"light": theme(dark=False), "dark": theme(dark=True)},
    )
    size = len(text.encode())
    if size > LARGEST_PAGE:
        raise ValueError(
            f"the page would have {size / 1e6:.1f} MB, more than {LARGEST_PAGE / 1e6:g}; give "
            "fewer runs."
        )
    return text


def _unzipped(
    models: Sequence[tuple[Model, pd.DataFrame]],
) -> tuple[list[Model], list[pd.DataFrame]]:
    return [model for model, _ in models], [table for _, table in models]


def _facts(run: ReportedRun) -> list[tuple[str, str]]:
    """Figures at the top: what the run is."""
    rows = run.config.get("rows", {})
    found = [("model", run.kind), ("attributes", f"{len(run.names):,}")]
    return found + [(f"rows {key.replace('_', ' ')}", f"{value:,}") for key, value in rows.items()]


def _warnings(page: Page) -> list[str]:
    said: dict[str, list[str]] = {}
    for run in page.runs:
        for text in run_warnings(run, [table for _, table in page.tables_of(run)]):
            said.setdefault(text, []).append(printable(run.name))
    several = len(page.runs) > 1
    found = [f"{', '.join(of)}: {t}" if several else t for t, of in said.items()]
    found += [
        f"{printable(c.label)} and {printable(c.reference)} were scored on different samples: "
        "their differences include the luck of the draw. Fit both with the same --seed and "
        "--holdout."
        for c in page.comparisons
        if c.same_samples is False
    ]
    if page.left_out:
        found.append(
            f"The page shows the first {len(page.names)} attributes and leaves out "
            f"{page.left_out}; metrics_by_attribute.csv has all of them."
        )
    return found


def _reproduce(run: ReportedRun) -> dict[str, Any]:
    """What it takes to make a run again."""
    environment = dict(run.config.get("environment", {}))
    command = environment.pop("command", None)
    known = {key: str(value) for key, value in environment.items()}
    for key in ("seed", "holdout", "folds"):
        if key in run.config:
            known[key] = str(run.config[key])
    return {
        "name": run.name,
        "folder": run.folder,
        "command": command,
        "known": known,
        "inputs": run.config.get("inputs", []),
        "parameters": {k: str(v) for k, v in run.config.get("parameters", {}).items()},
    }
