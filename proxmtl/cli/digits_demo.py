"""The work of ``proxmtl demo``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import GridSearchCV, KFold

from proxmtl.cli.console import make_console, shown_path, step_progress
from proxmtl.cli.run import write_run
from proxmtl.estimators import LatentMTLClassifier, SingleTaskClassifier
from proxmtl.experiments import TOTAL, Comparison, compare, mean_ap, random_splits
from proxmtl.groups import Groups
from proxmtl.io import atomic_path, load_digit_attributes, new_run_folder, write_text
from proxmtl.report.tables import comparison_table

if TYPE_CHECKING:
    from proxmtl.io.digits import DigitAttributes

__all__ = ["run_demo"]

SINGLE, PLAIN, GROUPED = "single task", "latent, no groups", "latent, groups"


def run_demo(out: Path, *, n_train: int, n_splits: int, seed: int, force: bool) -> None:
    """Compare the three models, print the table, write the run folder."""
    console = make_console()
    data = load_digit_attributes()
    groups = Groups.from_names(data.groups, data.names)
    splits = random_splits(
        len(data.X), n_splits, 1 - n_train / len(data.X), seed, Y=data.Y.astype(float)
    )
    with new_run_folder(out, force=force or _is_demo(out)) as staging:
        console.print(
            f"[bold]Digits with attributes[/]: {n_train} images to learn from, "
            f"{len(splits[0].test)} to test on, {len(data.names)} attributes in {len(groups)} "
            f"groups; {n_splits} random splits."
        )
        rows = _models(groups, data.names)
        with step_progress("Fitting", len(rows) * n_splits) as advance:
            comparison = compare(
                rows,
                data.X,
                data.Y,
                groups,
                data.names,
                splits,
                progress=lambda report: advance(f"{report.row}, split {report.split + 1}"),
            )
        _write(staging, comparison, splits[0].test, data, {"n_train": n_train, "seed": seed})
    console.print()
    console.print(_table(comparison, groups))
    console.print(
        "AP and accuracy in % on the test images, mean ± standard deviation over the splits. "
        "A latent model's objective is not convex: its residual says how stationary the point is, "
        "not how far the best one is; the single-task gap is a bound on that."
    )
    console.print(
        f"\nrun folder -> {shown_path(out)}  (plots/latents.png shows which latent task serves "
        "which group)\n\nTry now\n"
        f"  proxmtl inspect {out}\n"
        f"  proxmtl fit {out}/data/features.npy --labels {out}/data/labels.csv "
        f"--groups {out}/data/groups.toml --out runs/first",
        soft_wrap=True,
    )


def _is_demo(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("command") == "demo"


def _models(groups: Groups, names: tuple[str, ...]) -> dict[str, Any]:
    """Each model with a search of its strengths over as many settings as the others have."""

    def search(model: Any, grid: Any) -> GridSearchCV:
        folds = KFold(3, shuffle=True, random_state=0)
        return GridSearchCV(model, grid, scoring=mean_ap, cv=folds, error_score="raise")

    strengths = {"group_strength": list(np.geomspace(3e-4, 1e-2, 4))}
    shared: dict[str, Any] = {"label_names": names, "max_passes": 300}
    return {
        SINGLE: search(
            SingleTaskClassifier(label_names=names, tol=1e-4),
            {"l2_strength": list(np.geomspace(1e-3, 1.0, 4))},
        ),
        PLAIN: search(LatentMTLClassifier(groups="singletons", **shared), strengths),
        GROUPED: search(LatentMTLClassifier(groups=groups, **shared), strengths),
    }


def _table(comparison: Comparison, groups: Groups) -> Any:
    ap, accuracy = comparison.table("ap"), comparison.table("accuracy")
    rows: dict[str, dict[str, str]] = {}
    for name in (SINGLE, PLAIN, GROUPED):
        fits = [fit for fit in comparison.fits if fit.row == name]
        reports = [fit.report for fit in fits]
        row = {f"AP {group}": ap.loc[name, group] for group in groups.names}
        row["AP total"] = ap.loc[name, TOTAL]
        row["accuracy total"] = accuracy.loc[name, TOTAL]
        if "S" in reports[0]["sparsity"]:
            row["zeros in S"] = f"{np.mean([r['sparsity']['S'] for r in reports]):.0%}"
            row["live latents"] = f"{np.mean([r['live_latents'] for r in reports]):.1f}"
        row["status"] = ", ".join(sorted({r["status"].lower() for r in reports}))
        row["relative gap"] = _worst(reports, "relative_gap")
        row["relative residual"] = _worst(reports, "relative_kkt")
        row["strength"] = ", ".join(f"{next(iter(r['params'].values())):.2g}" for r in reports)
        row["seconds"] = f"{sum(fit.seconds for fit in fits):.1f}"
        rows[name] = row
    return comparison_table(rows)


def _worst(reports: list[dict[str, Any]], figure: str) -> str:
    values = [report["certificate"][figure] for report in reports]
    return "-" if None in values else f"{max(values):.1e}"


def _write(
    folder: Path, comparison: Comparison, test: Any, data: DigitAttributes, asked: dict[str, Any]
) -> None:
    first = {fit.row: fit.estimator.best_estimator_ for fit in comparison.fits if fit.split == 0}
    lines = comparison.per_attribute.query("split == 0")
    metrics = {
        name: lines[lines["row"] == name].drop(columns=["row", "split"]).set_index("attribute")
        for name in first
    }
    write_run(
        folder,
        model=first[GROUPED],
        metrics=metrics,
        summary={"scored_on": f"{len(test)} test images", **comparison.to_dict()},
        config={"command": "demo", **asked},
        histories={name: model.result_.history for name, model in first.items()},
    )
    inputs = folder / "data"
    inputs.mkdir()
    with atomic_path(inputs / "features.npy") as temporary:
        np.save(temporary, data.X.astype(np.float32))
    header = ",".join(data.names)
    body = "\n".join(",".join(map(str, row)) for row in data.Y.tolist())
    write_text(inputs / "labels.csv", f"{header}\n{body}\n")
    tables = "\n".join(
        f"{json.dumps(group)} = {json.dumps(members)}" for group, members in data.groups.items()
    )
    write_text(inputs / "groups.toml", tables + "\n")
