"""Run folders read for a report: what their manifests list, checked as it is read."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from proxmtl.cli.pictures import images_of
from proxmtl.cli.predictions import parse_predictions
from proxmtl.cli.run import group_columns, named_groups, solve_lines, summary_lines
from proxmtl.documents import parse_json
from proxmtl.io import InputError, read_model_kind
from proxmtl.io.names import (
    CONFIG_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    PREDICTIONS_FILE,
    name_of_earlier_version,
)
from proxmtl.io.seal import read_manifest
from proxmtl.report.cautions import zero_attributes
from proxmtl.report.runs import Latents, ReportedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from proxmtl.io.seal import Manifest

__all__ = ["epochs_of", "read_run", "read_runs"]

_CURE = "run again the command that wrote it"


def read_runs(
    folders: Sequence[Path], commands: Mapping[str, Any], *, pictures: bool = False
) -> list[ReportedRun]:
    """Read run folders, each under a name of its own.

    Parameters
    ----------
    folders
        Of ``fit``, ``tune``, ``train`` and ``demo``.
    commands
        The commands by name: advice of a solver names the options of the one that made a run.
    pictures
        Whether images are looked for, of runs that were made of some.

    Raises
    ------
    InputError
        If a folder is no run, or a file in it is not as it was written.
    """
    return [
        read_run(folder, name, commands, pictures=pictures)
        for folder, name in zip(folders, _names(folders), strict=True)
    ]


def _names(folders: Sequence[Path]) -> list[str]:
    """Last parts of the paths; as many as tell them apart."""
    whole = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, whole)) + 1):
        short = ["/".join(parts[-length:]) for parts in whole]
        if len(set(short)) == len(set(whole)):
            return short
    raise AssertionError("paths that differ are told apart by all their parts")


def read_run(
    folder: Path, name: str, commands: Mapping[str, Any], *, pictures: bool = False
) -> ReportedRun:
    """Read a run folder; raises as `read_runs`."""
    kind = read_model_kind(folder)
    files = _Files(read_manifest(folder))
    earlier = name_of_earlier_version(files.manifest.entries)
    if earlier is not None:
        raise InputError(
            folder,
            f"an earlier version of proxmtl wrote this run ({earlier}), and this version makes no "
            f"report of it; {_CURE}.",
        )
    config = files.document(CONFIG_FILE) or {}
    maker = commands.get(str(config.get("command")))
    trained = kind == "AttributeCNN"
    known = _of_training(folder) if trained else _of_fit(folder, maker)
    names = known["names"]
    summary = files.document("metrics.json") or {}
    metrics = {
        model: part.droplevel(0)
        for model, part in files.by_model(METRICS_FILE, "attribute", names).items()
    }
    return ReportedRun(
        name=name,
        folder=str(folder),
        kind=kind,
        config=config,
        scored_on=str(summary.get("scored_on", "")),
        held_out_metrics="training" not in str(summary.get("scored_on", "")),
        metrics=metrics,
        histories={} if trained else files.by_model(HISTORY_FILE, "record"),
        sharing=files.by_attribute("sharing.csv", names),
        search=files.table("candidates.csv", "trials.csv"),
        held_out=files.parsed(PREDICTIONS_FILE, lambda content: parse_predictions(content, names)),
        pictures=images_of(config) if pictures else None,
        **known,
    )


class _Files:
    """The tables of a folder: None where it has none, an error where one is not as written."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def parsed(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        """Read a file and parse it."""
        if name not in self.manifest.entries:
            return None
        content = self.manifest.read(name)
        try:
            return parse(content)
        except (KeyError, ValueError) as error:  # sealed again after a change by hand
            what = f"is no table as proxmtl writes it ({error})"
            raise InputError(self.manifest.folder / name, f"{what}; {_CURE}.") from error

    def document(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.parsed(
            name, lambda content: parse_json(content.decode())
        )
        return found

    def table(self, *names: str) -> pd.DataFrame | None:
        """Read the first of some tables that is there."""
        for name in names:
            found = self.parsed(name, lambda content: pd.read_csv(io.BytesIO(content)))
            if found is not None:
                return found
        return None

    def by_attribute(self, name: str, attributes: Sequence[str]) -> pd.DataFrame | None:
        """Read a table with a line for each attribute."""

        def parse(content: bytes) -> pd.DataFrame:
            # names as text, or an attribute called NA would have none
            table = pd.read_csv(io.BytesIO(content), converters={"attribute": str})
            return table.set_index("attribute").loc[list(attributes)]

        found: pd.DataFrame | None = self.parsed(name, parse)
        return found

    def by_model(
        self, name: str, second: str, attributes: Sequence[str] | None = None
    ) -> dict[str, pd.DataFrame]:
        """Read a table of several models, in the order of the file."""

        def parse(content: bytes) -> dict[str, pd.DataFrame]:
            text = {"model": str, "attribute": str}
            table = pd.read_csv(io.BytesIO(content), converters=text)
            found = {}
            for model in dict.fromkeys(table["model"]):
                part = table[table["model"] == model].set_index(["model", second])
                found[str(model)] = part
                if attributes is not None:
                    part.loc[[(model, attribute) for attribute in attributes]]
            return found

        return self.parsed(name, parse) or {}


def _of_fit(folder: Path, maker: Any) -> dict[str, Any]:
    from proxmtl.cli.scoring import FittedRun  # noqa: PLC0415 - heavy

    run = FittedRun(folder)
    if run.real:
        raise InputError(folder, "holds a regressor; reports are of attributes that are yes or no.")
    model = run.model
    report = dict(model.fit_report_)
    latents = None
    if hasattr(model, "S_"):
        latents = Latents(np.asarray(model.S_, float), np.linalg.norm(model.L_, axis=0))
    thresholds = getattr(model, "thresholds_", None)
    return {
        "names": list(run.names),
        "groups": group_columns(named_groups(run.groups)),
        "lines": {key: str(value) for key, value in summary_lines(report, maker).items()},
        "report": report,
        "latents": latents,
        "dead": zero_attributes(run.names, np.asarray(model.coef_)),
        "thresholds": None if thresholds is None else np.asarray(thresholds, float),
    }


def _of_training(folder: Path) -> dict[str, Any]:
    from proxmtl.backbones.training import AttributeCNN  # noqa: PLC0415 - heavy
    from proxmtl.cli.scoring import attribute_groups  # noqa: PLC0415 - heavy

    trained = AttributeCNN.load(folder)
    solve = dict(trained.description.get("solve", {}))
    S = trained.factors.get("S")
    L = trained.factors.get("L")
    latents = None
    if S is not None:
        norms = np.linalg.norm(L.numpy(), axis=-2) if L is not None and L.ndim == 2 else None
        latents = Latents(S.double().numpy(), norms)
    return {
        "names": list(trained.names),
        "groups": group_columns(named_groups(attribute_groups(trained))),
        "lines": solve_lines(solve),
        "report": solve,
        "latents": latents,
        "dead": zero_attributes(trained.names, trained.coef.T.numpy()),
        "epochs": _epochs(folder, trained.description.get("epochs", math.inf)),
    }


def epochs_of(source: Path | io.StringIO, last: float = math.inf) -> pd.DataFrame:
    """Read figures by epoch, up to the last one."""
    table = pd.read_csv(source)
    return table[table["epoch"] <= last]


def _epochs(folder: Path, last: float) -> pd.DataFrame | None:
    """Figures by epoch, up to that of the model: a run that is being prolonged has more.

    They change while a training goes on, and are in no manifest.
    """
    path = folder / HISTORY_FILE
    if not path.is_file():
        return None
    try:
        return epochs_of(path, last)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"is no table of epochs ({error}); {_CURE}.") from error
