"""``proxmtl inspect``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["inspect"]


def inspect(
    run: Annotated[Path, typer.Argument(help="Run folder that a fit wrote.", metavar="RUN")],
) -> None:
    """Show what a fitted model is: its size, how the solver ended, which latents serve whom.

    [bold]Example[/]

      proxmtl inspect runs/first
    """
    import numpy as np

    from proxmtl.cli.console import make_console
    from proxmtl.cli.inputs import trained_model
    from proxmtl.cli.run import group_columns, named_groups, summary_lines
    from proxmtl.report.tables import comparison_table, figures_table

    console = make_console()
    model, names = trained_model(run)
    n_attributes, n_features = model.coef_.shape
    parameters = model.get_params(deep=False)
    strengths = {key: value for key, value in parameters.items() if key.endswith("strength")}
    console.print(f"[bold]{type(model).__name__}[/]")
    console.print(
        figures_table(
            {
                "attributes": n_attributes,
                "features": n_features,
                **{key.replace("_", " "): f"{value:g}" for key, value in strengths.items()},
                **summary_lines(model.fit_report_),
            }
        )
    )
    S = getattr(model, "S_", None)
    if S is None:
        return
    groups = group_columns(named_groups(model.groups_)) or {
        name: [column] for column, name in enumerate(names)
    }
    live = np.any(S != 0, axis=1)
    rows = {}
    for name, columns in groups.items():
        used = np.flatnonzero(np.any(S[:, columns] != 0, axis=1))
        alone = [k for k in used if not np.any(np.delete(S[k], columns) != 0)]
        rows[name] = {
            "attributes": len(columns),
            "latents": len(used),
            "of its own": len(alone),
            "shared": len(used) - len(alone),
        }
    console.print()
    transposed = {
        key: {name: row[key] for name, row in rows.items()} for key in next(iter(rows.values()))
    }
    title = f"{int(live.sum())} live latents of {len(S)}: who uses how many"
    console.print(comparison_table(transposed, title=title))
