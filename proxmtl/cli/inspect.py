"""``proxmtl inspect``."""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proxmtl.cli import options

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from rich.console import Console

    from proxmtl.backbones.training import AttributeCNN
    from proxmtl.cli.scoring import FittedRun
    from proxmtl.groups import Groups

__all__ = ["inspect"]

SHARING = "sharing.csv"


def inspect(
    ctx: typer.Context,
    run: options.RunFolder,
) -> None:
    """Show what a fitted model is: its size, how the solver ended, which latents serve whom.

    Every file of the run is compared with the manifest of the folder first. Figures and tables that
    have changed are named; other changes are errors.

    [bold]Example[/]

      proxmtl inspect runs/first
    """
    from proxmtl.cli.console import make_console, say_warning
    from proxmtl.cli.run import sharing_line
    from proxmtl.cli.scoring import FittedRun, attribute_groups
    from proxmtl.io import read_model_kind
    from proxmtl.io.names import is_by_product
    from proxmtl.io.seal import read_manifest
    from proxmtl.report.tables import figures_table, sharing_table
    from proxmtl.report.verdict import scaling_of

    console = make_console()
    kind = read_model_kind(run)
    manifest = read_manifest(run)
    manifest.check(name for name in manifest.entries if not is_by_product(name))
    changed = manifest.changed(filter(is_by_product, manifest.entries))
    if changed:
        say_warning(
            f"{run}: not as they were written, or not there: {', '.join(changed)}. The model is; "
            f"to seal the folder as it is now: proxmtl.io.seal_folder({str(run)!r})."
        )
    report = None
    if kind == "AttributeCNN":
        # the model itself: networks that take arrays can be looked at, if not scored from files
        from proxmtl.backbones.training import AttributeCNN

        trained = AttributeCNN.load(run)
        groups, names = attribute_groups(trained), list(trained.names)
        title, lines, S = _of_training(trained)
    else:
        fitted = FittedRun(run)
        groups, names = fitted.groups, fitted.names
        title, lines, S = _of_fit(fitted, _maker(ctx, run))
        if hasattr(fitted.model, "sharing_"):
            if SHARING in manifest.entries and SHARING not in changed:
                report = _sharing_report(fitted, manifest.read(SHARING))
            lines["sharing"] = sharing_line(fitted.model.sharing_, report)
            scaled = "" if report is None else scaling_of(report)
            lines |= {"features": scaled} if scaled else {}
    console.print(f"[bold]{title}[/]")
    console.print(figures_table(lines))
    if report is not None:
        console.print(sharing_table(report, title="Scores in cross-validation"))
    if S is not None:
        _show_latents(console, S, groups, names)


def _maker(ctx: typer.Context, run: Path) -> Any:
    """The command that made a run, whose options advice is about; None where it isn't known."""
    from proxmtl.io.seal import read_document

    path = run / "config.json"
    name = read_document(path, "").get("command") if path.is_file() else None
    return getattr(ctx.find_root().command, "commands", {}).get(name)


def _sharing_report(run: FittedRun, content: bytes) -> pd.DataFrame:
    """One line an attribute: whether it shares, and what that gives."""
    import io

    import pandas as pd

    # names as text, or an attribute called NA would have none
    table = pd.read_csv(io.BytesIO(content), converters={0: str}).set_index("attribute")
    return table.loc[run.names]


def _of_fit(run: FittedRun, maker: Any) -> tuple[str, dict[str, Any], NDArray[Any] | None]:
    from proxmtl.cli.run import summary_lines

    model = run.model
    n_attributes, n_features = model.coef_.shape
    parameters = model.get_params(deep=False)
    strengths = {
        key: value
        for key, value in parameters.items()
        if key.endswith("strength") and value is not None
    }
    lines = {
        "attributes": n_attributes,
        "features": n_features,
        **{key.replace("_", " "): _figure(value) for key, value in strengths.items()},
        **summary_lines(model.fit_report_, maker),
    }
    return type(model).__name__, lines, getattr(model, "S_", None)


def _of_training(model: AttributeCNN) -> tuple[str, dict[str, Any], NDArray[Any] | None]:
    from proxmtl.cli.run import solve_lines

    network = model.network
    shared = f"{network.shared_stages} of {network.skeleton.n_stages} stages shared"
    lines: dict[str, Any] = {
        "attributes": len(model.names),
        "networks": f"{1 if network.is_one else network.n_members}, {shared}",
        "input": " x ".join(map(str, network.input_shape)),
        "features": network.n_features,
        "parameters": f"{sum(tensor.numel() for tensor in network.parameters()):,}",
    }
    lines |= solve_lines(model.description.get("solve", {}))
    S = model.factors.get("S")
    return "AttributeCNN", lines, None if S is None else S.numpy()


def _show_latents(
    console: Console, S: NDArray[Any], groups: Groups | None, names: list[str]
) -> None:
    """Print for each group how many latents it uses: of its own, and shared with others."""
    import numpy as np

    from proxmtl.cli.run import group_columns, named_groups
    from proxmtl.report.tables import comparison_table
    from proxmtl.wording import counted

    members = group_columns(named_groups(groups)) or {
        name: [column] for column, name in enumerate(names)
    }
    live = np.any(S != 0, axis=1)
    rows = {}
    for name, columns in members.items():
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
    title = f"{counted(int(live.sum()), 'live latent')} of {len(S)}: who uses how many"
    console.print(comparison_table(transposed, title=title))


def _figure(strength: float | str) -> str:
    """A strength, or that the data say it."""
    return strength if isinstance(strength, str) else f"{strength:g}"
