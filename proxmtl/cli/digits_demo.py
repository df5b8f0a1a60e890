"""The work of ``proxmtl demo``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, ShuffleSplit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # of scikit-learn

from proxmtl.cli.console import make_console, shown_path, step_progress
from proxmtl.cli.digits_unseen import hide_labels
from proxmtl.cli.parts import Parts
from proxmtl.cli.run import write_run
from proxmtl.documents import parse_json
from proxmtl.estimators import LatentMTLClassifier, SingleTaskClassifier
from proxmtl.experiments import TOTAL, Comparison, Split, compare, random_splits
from proxmtl.experiments.splits import one_class_attributes
from proxmtl.groups import Groups
from proxmtl.io import atomic_path, load_digit_attributes, new_run_folder, write_text
from proxmtl.io.run_folder import end_replacement
from proxmtl.io.seal import read_manifest
from proxmtl.report.tables import comparison_table
from proxmtl.selection.edges import edges_of
from proxmtl.wording import counted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from proxmtl.cli.demo import DemoOptions
    from proxmtl.io.digits import DigitAttributes

__all__ = ["demo_folder", "digit_parts", "one_thread", "run_demo"]

MARK = "*"
SINGLE, PLAIN, GROUPED = "single task", "latent, no groups", "latent, groups"


def run_demo(options: DemoOptions, n_splits: int) -> None:
    """Compare the three models, print the table, write the run folder."""
    console = make_console()
    data = load_digit_attributes()
    groups = Groups.from_names(data.groups, data.names)
    parts = digit_parts(data, options.n_train, options.observed, n_splits, options.seed)
    rows = _models(groups, data.names, options.max_passes)
    console.print(
        f"[bold]Digits with attributes[/]: {len(data.names)} attributes in {len(groups)} groups. "
        f"{counted(options.n_train, 'image')} to learn from, of which {options.observed:.0%} of "
        f"the labels are known; {len(data.X) - options.n_train} to test on, with all labels; "
        f"{counted(n_splits, 'random split')}."
    )
    with Parts() as saved, demo_folder(options.out, force=options.force) as staging:
        with (
            step_progress("Fitting", len(rows) * n_splits) as advance,
            one_thread(),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", ConvergenceWarning)  # the table says it once
            comparison = _compare(rows, data, groups, parts, advance)
        _write(staging, saved, comparison, parts[0], options.asked(n_splits=n_splits))
        saved.save("data", lambda: _write_inputs(staging / "data", data, parts[0]))
    console.print()
    console.print(_table(comparison, groups))
    console.print(
        "AP and accuracy in % on the test images, mean ± standard deviation over the splits. The "
        "latent models' problem is not convex and its budget is limited: the residual says how "
        "stationary the point is, not how far the best one is. The single-task gap is a bound on "
        f"that distance. A strength marked {MARK} is the lowest or the highest of those tried."
    )
    out, inputs = options.out, options.out / "data"
    console.print(
        f"\nrun folder -> {shown_path(out)}  (plots/latents.png shows which latent task serves "
        "which group)\n\nTry now\n"
        f"  proxmtl inspect {out}\n"
        f"  proxmtl fit {inputs}/train.npy --labels {inputs}/train.csv "
        f"--groups {inputs}/groups.toml --group-strength 0.03 --out runs/first\n"
        f"  proxmtl evaluate runs/first {inputs}/test.npy --labels {inputs}/test.csv",
        soft_wrap=True,
    )
    saved.tell(out)


class _Part(NamedTuple):
    """A split, and the labels with those hidden that training may not see."""

    split: Split
    Y: NDArray[np.float64]


def digit_parts(
    data: DigitAttributes, n_train: int, observed: float, n_splits: int, seed: int
) -> list[_Part]:
    """Random splits, with the labels that training may not see hidden."""
    if n_train >= len(data.X):
        raise ValueError(
            f"--n-train is {n_train}, and there are {len(data.X)} images; leave some for the test."
        )
    full = data.Y.astype(np.float64)
    splits = random_splits(len(full), n_splits, 1 - n_train / len(full), seed, Y=full)
    return [
        _Part(split, hide_labels(full, split.train, observed, (seed, number)))
        for number, split in enumerate(splits)
    ]


def _compare(
    rows: dict[str, Any],
    data: DigitAttributes,
    groups: Groups,
    parts: list[_Part],
    advance: Callable[[str], None],
) -> Comparison:
    """Compare on each split with its own hidden labels, and join the results."""
    attributes, means, fits = [], [], []
    for number, part in enumerate(parts):
        found = compare(
            rows,
            data.X,
            part.Y,
            groups,
            data.names,
            [part.split],
            progress=lambda report: advance(report.row),
        )
        attributes.append(found.per_attribute.assign(split=number))
        means.append(found.per_group.assign(split=number))
        fits += [dataclasses.replace(fit, split=number) for fit in found.fits]
    return Comparison(
        pd.concat(attributes, ignore_index=True), pd.concat(means, ignore_index=True), fits
    )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch and BLAS on one thread: with matrices as small as these, more only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def demo_folder(out: Path, *, force: bool) -> AbstractContextManager[Path]:
    """`new_run_folder` of a demo, which may replace another without `force`."""
    end_replacement(out)  # what is there is known only then
    return new_run_folder(out, force=force or _is_demo(out))


def _is_demo(folder: Path) -> bool:
    """Whether a folder holds a demo, which another may replace."""
    try:
        config = parse_json(read_manifest(folder).read("config.json"))
    except ValueError:  # nothing is replaced that is not known for certain
        return False
    return isinstance(config, dict) and config.get("command") == "demo"


class _Inner:
    """The first shuffled split of 70 to 30 that leaves every attribute both classes to fit on."""

    def split(self, X: Any, y: Any, groups: object = None) -> Iterator[tuple[Any, Any]]:
        del groups
        for seed in range(1000):
            inner = ShuffleSplit(1, test_size=0.3, random_state=seed)
            train, test = next(inner.split(X))
            if not one_class_attributes(y, train):
                yield train, test
                return
        raise ValueError(
            "demo: hardly any split of the training images leaves every attribute both classes; "
            "raise --n-train or --observed."
        )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: object = None) -> int:
        del X, y, groups
        return 1


def _models(groups: Groups, names: tuple[str, ...], max_passes: int) -> dict[str, Any]:
    """Each model with a search of its strength, by its accuracy on held-out training images."""

    def search(model: Any, grid: Any) -> GridSearchCV:
        return GridSearchCV(model, grid, cv=_Inner(), error_score="raise")

    latent = {"group_strength": list(np.geomspace(0.01, 0.06, 3))}
    # As many latents as there are digits, so that attributes have to share.
    shared: dict[str, Any] = {"label_names": names, "max_passes": max_passes, "n_latents": 10}
    return {
        SINGLE: search(
            SingleTaskClassifier(label_names=names, tol=1e-4),
            {"l2_strength": list(np.geomspace(0.03, 3, 4))},
        ),
        PLAIN: search(LatentMTLClassifier(groups="singletons", **shared), latent),
        GROUPED: search(LatentMTLClassifier(groups=groups, **shared), latent),
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
        row["strength"] = ", ".join(_strength(fit) for fit in fits)
        row["seconds"] = f"{sum(fit.seconds for fit in fits):.1f}"
        rows[name] = row
    return comparison_table(rows)


def _strength(fit: Any) -> str:
    """Strength that the search of a fit chose; marked where it is at an edge of those tried."""
    search = fit.estimator
    value = next(iter(search.best_params_.values()))
    edges = edges_of(search.cv_results_["params"], search.best_index_)
    return f"{value:.2g}{MARK if edges else ''}"


def _worst(reports: list[dict[str, Any]], figure: str) -> str:
    values = [report["certificate"][figure] for report in reports]
    return "-" if None in values else f"{max(values):.1e}"


def _write(
    folder: Path, saved: Parts, comparison: Comparison, part: _Part, asked: dict[str, Any]
) -> None:
    """Fill the run folder from the first split."""
    first = {fit.row: fit.estimator.best_estimator_ for fit in comparison.fits if fit.split == 0}
    lines = comparison.per_attribute.query("split == 0")
    metrics = {
        name: lines[lines["row"] == name].drop(columns=["row", "split"]).set_index("attribute")
        for name in first
    }
    write_run(
        folder,
        saved,
        model=first[GROUPED],
        metrics=metrics,
        summary={"scored_on": f"{len(part.split.test)} test images", **comparison.to_dict()},
        config=asked,
        histories={name: model.result_.history for name, model in first.items()},
    )


def _write_inputs(inputs: Path, data: DigitAttributes, part: _Part) -> None:
    """Write the files of a split, for the other commands to be tried on."""
    inputs.mkdir()
    for name, chosen in {"train": part.split.train, "test": part.split.test}.items():
        with atomic_path(inputs / f"{name}.npy") as temporary:
            np.save(temporary, data.X[chosen].astype(np.float32))
        labels = pd.DataFrame(part.Y[chosen], columns=list(data.names)).astype("Int64")
        write_text(inputs / f"{name}.csv", labels.to_csv(index=False))
    tables = "\n".join(
        f"{json.dumps(group)} = {json.dumps(members)}" for group, members in data.groups.items()
    )
    write_text(inputs / "groups.toml", tables + "\n")
