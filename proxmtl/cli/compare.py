"""``proxmtl compare``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare"]


def compare(
    ctx: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders of fit, tune, train or demo; others are compared with the first.",
            metavar="RUN RUN...",
        ),
    ],
    *,
    by_attribute: Annotated[
        bool, typer.Option("--by-attribute", "-a", help="Also show a line per attribute.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the scores, .csv or .json.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace --out if it exists.")] = False,
) -> None:
    """Compare the scores of runs, and what was asked of them.

    Average precision by group, and the difference from the first run. Where both have the same rows
    held out, it has a 95 % interval, from a bootstrap that draws rows for both alike. Options are
    shown where they differ, with the first digits of the hashes of input files.

    [bold]Examples[/]

      proxmtl compare runs/alone runs/auto

      proxmtl compare runs/alone runs/auto runs/latent -a -o scores.csv
    """
    from proxmtl.cli.console import make_console, say_note, say_warning, shown_path
    from proxmtl.cli.parts import written_or_kept
    from proxmtl.cli.report_runs import read_runs
    from proxmtl.io.outputs import settle_file
    from proxmtl.report.cautions import too_good
    from proxmtl.report.side_by_side import option_differences, scores_side_by_side
    from proxmtl.report.tables import option_table, side_by_side_table

    if len({run.resolve() for run in runs}) < max(len(runs), 2):
        raise ValueError("RUN: give two runs or more, each once.")
    if out is not None and out.suffix.lower() not in {".csv", ".json"}:
        raise ValueError(f"--out: got {str(out)!r}; scores are written as .csv or .json.")
    settle_file(out, force=force, inputs=runs)
    read = read_runs(runs, getattr(ctx.find_root().command, "commands", {}))
    scores, differences = scores_side_by_side(read), option_differences(read)
    console = make_console()
    labels = [run.name for run in read]
    if json:
        typer.echo(_document(scores, labels, differences), nl=False)
    else:
        shown = scores if by_attribute else scores[scores["kind"] != "attribute"]
        title = f"Average precision, % (difference from {labels[0]}, with its 95 % interval)"
        console.print(side_by_side_table(shown, title=title))
        if differences:
            columns = {
                label: {name: values[place] or "-" for name, values in differences.items()}
                for place, label in enumerate(labels)
            }
            console.print(option_table(columns, title="What was asked for, where it differs"))
    for note in _without_intervals(scores):
        say_note(note)
    for each in read:
        if each.metrics and not each.held_out_metrics:
            say_warning(f"{each.name}: {too_good(each.scored_on)}")
    if out is not None:
        document = out.suffix.lower() == ".json"
        table = scores.to_csv(index=False, float_format="%.6g")
        written_or_kept(out, _document(scores, labels, differences) if document else table)
        if not json:
            console.print(f"scores -> {shown_path(out)}")


def _without_intervals(scores: "pd.DataFrame") -> list[str]:
    """Say which models have differences without an interval, and why."""
    from proxmtl.report.names import some

    first = scores["model"].iloc[0]
    why = {
        False: f"its rows held out are not those of {first}",
        None: f"its folder, or that of {first}, has no scores of single rows",
        True: "the labels held out are too few, or both models rank them without an error",
    }
    found = []
    for model, lines in scores[scores["difference"].notna()].groupby("model", sort=False):
        lacking = lines[lines["low"].isna()]
        for reason, of in lacking.groupby(lacking["same_rows"].map(why.get), sort=False):
            whole = len(of) == len(lines)
            where = "" if whole else f" for {some([str(name) for name in of['name']])}"
            intervals = "no intervals" if whole else "no interval"
            found.append(f"{model} has {intervals}{where}: {reason}.")
    return found


def _document(
    scores: "pd.DataFrame", labels: list[str], differences: dict[str, list[str | None]]
) -> str:
    import json

    import pandas as pd

    lines: list[dict[str, Any]] = [
        {key: None if pd.isna(value) else value for key, value in line.items()}
        for line in scores.to_dict("records")
    ]
    document = {"runs": labels, "scores": lines, "options": differences}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
