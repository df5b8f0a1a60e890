"""The run folder of trained networks, of ``train`` and ``demo --cnn`` alike."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from proxmtl.cli.predictions import predictions_text, split_text
from proxmtl.cli.run import groups_by_name, recorded, with_fitted_labels, write_figures
from proxmtl.experiments import attribute_metrics
from proxmtl.io import seal_folder, write_json, write_text
from proxmtl.io.atomic import files_below
from proxmtl.io.identity import write_fitted_rows
from proxmtl.io.names import CONFIG_FILE, METRICS_FILE, PREDICTIONS_FILE, SPLIT_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from proxmtl.backbones.training import Architecture, Trainer
    from proxmtl.cli.parts import Parts
    from proxmtl.groups import Groups

__all__ = ["trained_metrics", "trained_scores", "write_trained"]


def trained_scores(trainer: Trainer, rows: NDArray[np.intp]) -> NDArray[np.floating]:
    """Scores (N, M) of some images of the trainer's table; above zero means yes."""
    scores: NDArray[np.floating] = trainer.scores(rows).cpu().numpy()
    return scores


def trained_metrics(
    trainer: Trainer, rows: NDArray[np.intp], scores: NDArray[np.floating] | None = None
) -> pd.DataFrame:
    """Metrics by attribute on some images, with the numbers of labels of the training.

    ``scores`` are those that `trained_scores` gives of the rows, if they are at hand.
    """
    if scores is None:
        scores = trained_scores(trainer, rows)
    table = trainer.table
    metrics = attribute_metrics(scores, table.labels[rows], list(table.names))
    return with_fitted_labels(metrics, table.labels[trainer.train])


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
    test: NDArray[np.intp] | None = None,
    scores: NDArray[np.floating] | None = None,
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
    test
        Rows that were scored at the end; default: those that the trainer scored after each epoch.
    scores
        Of these rows, to keep label by label.
    """
    parts.begin()
    test = trainer.test if test is None else test
    solve = trainer.history[trainer.chosen].solve
    factors = trainer.factors
    by_attribute = pd.concat(metrics, names=["model"])
    write_text(folder / METRICS_FILE, by_attribute.to_csv(float_format="%.6g"))
    write_json(folder / "metrics.json", {**summary, "solve": solve})
    write_fitted_rows(folder, (trainer.table.pixels[row] for row in trainer.train))
    table, names = trainer.table, list(trainer.table.names)
    write_text(
        folder / SPLIT_FILE,
        split_text(table.ids, len(table.ids), trainer.train, test, trainer.test),
    )
    if scores is not None:
        held = [table.ids[row] for row in test]
        text = predictions_text(scores, table.labels[test], names, held, identified=True)
        write_text(folder / PREDICTIONS_FILE, text)
    write_figures(
        folder / "plots",
        parts,
        S=factors["S"].cpu().numpy() if "S" in factors else None,
        groups=groups,
        names=names,
        metrics=metrics,
        scored_on=str(summary["scored_on"]),
    )
    missing = {"missing": parts.missing} if parts.missing else {}
    write_json(folder / CONFIG_FILE, recorded({**config, **missing}))
    described = {
        "groups": groups_by_name(groups, names),
        "epochs": trainer.epoch,
        "epoch": trainer.chosen,
        "solve": solve,
        "images": {"side": int(table.pixels.shape[-1])},
    }
    trainer.model(architecture, described).save(folder)
    seal_folder(folder, files_below(folder))
