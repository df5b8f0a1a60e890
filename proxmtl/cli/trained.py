"""The run folder of trained networks, of ``train`` and ``demo --cnn`` alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from proxmtl.cli.run import groups_by_name, recorded, write_figures
from proxmtl.experiments import attribute_metrics
from proxmtl.io import seal_folder, write_json, write_text
from proxmtl.io.atomic import files_below
from proxmtl.io.identity import write_fitted_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from proxmtl.backbones.training import Architecture, Trainer
    from proxmtl.cli.parts import Parts
    from proxmtl.groups import Groups

__all__ = ["trained_metrics", "write_trained"]


def trained_metrics(trainer: Trainer, rows: NDArray[np.intp]) -> pd.DataFrame:
    """Metrics by attribute on some images of the trainer's table."""
    table = trainer.table
    return attribute_metrics(
        trainer.scores(rows).cpu().numpy(), table.labels[rows], list(table.names)
    )


def write_trained(
    folder: Path,
    parts: Parts,
    trainer: Trainer,
    architecture: Architecture,
    *,
    metrics: Mapping[str, pd.DataFrame],
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    groups: Groups | None,
) -> None:
    """Fill a run folder: metrics, configuration, figures, the model and, last, their manifest.

    Parameters
    ----------
    folder
        An existing folder that holds nothing else.
    parts
        Takes figures that can't be drawn.
    trainer
        After its run; its model is saved.
    architecture
        How its networks were built.
    metrics
        Model name -> metrics by attribute.
    summary, config
        JSON-able: contents of ``metrics.json`` and ``config.json``.
    groups
        Of the attributes.
    """
    parts.begin()
    factors = trainer.factors
    by_attribute = pd.concat(metrics, names=["model"])
    write_text(folder / "metrics.csv", by_attribute.to_csv(float_format="%.6g"))
    write_json(folder / "metrics.json", {**summary, "solve": trainer.history[-1].solve})
    write_fitted_rows(folder, (trainer.table.pixels[row] for row in trainer.train))
    names = list(trainer.table.names)
    write_figures(
        folder / "plots",
        parts,
        S=factors["S"].cpu().numpy() if "S" in factors else None,
        groups=groups,
        names=names,
        metrics=metrics,
    )
    missing = {"missing": parts.missing} if parts.missing else {}
    write_json(folder / "config.json", recorded({**config, **missing}))
    described = {
        "groups": groups_by_name(groups, names),
        "epochs": trainer.epoch,
        "solve": trainer.history[-1].solve,
        "images": {"side": int(trainer.table.pixels.shape[-1])},
    }
    trainer.model(architecture, described).save(folder)
    seal_folder(folder, files_below(folder))
