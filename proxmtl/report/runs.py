"""What a report shows of a run, as its folder has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from proxmtl.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

__all__ = ["HeldOut", "Latents", "Model", "Pictures", "ReportedRun"]


class HeldOut(NamedTuple):
    """Scores of samples that a model was not fitted on."""

    rows: tuple[str, ...]
    """Identifiers of the N samples, or their numbers."""
    scores: NDArray[np.float64]
    """(N, M), above zero means yes; NaN where the label is missing."""
    labels: NDArray[np.float64]
    """(N, M), 1 or 0; NaN = missing."""
    probabilities: NDArray[np.float64] | None
    """(N, M); None where the model is not calibrated."""
    alone: NDArray[np.float64] | None = None
    """(N, M), scores of the single-task model of the same search, where the run keeps them."""

    def same_samples(self, other: HeldOut) -> bool:
        """Whether both are of the same labels of the same samples."""
        return self.rows == other.rows and np.array_equal(self.labels, other.labels, equal_nan=True)

    def of(self, columns: Sequence[int]) -> HeldOut:
        """Some of the attributes, and the samples that have a label of one of them."""
        labels = self.labels[:, columns]
        kept = np.flatnonzero(~np.isnan(labels).all(axis=1))
        others = (self.probabilities, self.alone)
        return HeldOut(
            tuple(self.rows[row] for row in kept),
            self.scores[:, columns][kept],
            labels[kept],
            *(None if values is None else values[:, columns][kept] for values in others),
        )


class Pictures(Protocol):
    """Small pictures of the images of a run."""

    @property
    def source(self) -> str:
        """Where the images were when the run was made."""

    def thumbnails(self, names: Sequence[str]) -> Mapping[str, bytes]:
        """JPEG by name, of the named images that are still there."""


class Latents(NamedTuple):
    """The latent tasks of a model, ``W = L S``."""

    S: NDArray[np.float64]
    """(K, M)."""
    norms: NDArray[np.float64] | None
    """Norms of the columns of L, (K,)."""

    @property
    def importance(self) -> NDArray[np.float64]:
        """Size of each latent's part of W: its norm in L times that in S, (K,)."""
        sizes: NDArray[np.float64] = np.linalg.norm(self.S, axis=1)
        return sizes if self.norms is None else sizes * self.norms

    @property
    def order(self) -> list[int]:
        """Live latents, the largest first."""
        size = self.importance
        return [int(k) for k in np.argsort(-size, kind="stable") if size[k] > 0]


@dataclass(frozen=True)
class ReportedRun(Shown):
    """A run folder as a report shows it; what it lacks is None or empty.

    Attributes
    ----------
    name
        By which the page calls it.
    folder
        Where it is.
    kind
        Of the model.
    names
        Of the M attributes.
    groups
        Group name -> columns; empty where each attribute is alone.
    lines
        Figures of the model and its solver, for people.
    report
        The solver's own: status, certificate, passes, sparsity.
    scored_on
        What the metrics are of, "100 held-out rows".
    held_out_metrics
        Whether they are of samples that the model was not fitted on.
    config
        What was asked for, with the inputs and the environment.
    metrics
        Model name -> metrics by attribute: "model", or those that a demo compares.
    histories
        Model name -> records of the solver.
    epochs
        Records of a training of networks.
    sharing
        By attribute, what a model that chose whether to share found.
    search
        Candidates of a search of strengths.
    held_out
        Scores by label.
    latents
        Of the model in the folder.
    dead
        Attributes all of whose weights are zero.
    thresholds
        By attribute, the probability from which on it is a yes.
    pictures
        Of the images that the run was made of; None where it was made of features.
    """

    _SHOWN = ("name", "folder", "kind", "scored_on", "lines")
    name: str
    folder: str
    kind: str
    names: Sequence[str]
    groups: Mapping[str, Sequence[int]]
    lines: Mapping[str, str]
    report: Mapping[str, Any]
    scored_on: str = ""
    held_out_metrics: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    histories: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    epochs: pd.DataFrame | None = None
    sharing: pd.DataFrame | None = None
    search: pd.DataFrame | None = None
    held_out: HeldOut | None = None
    latents: Latents | None = None
    dead: Sequence[str] = ()
    thresholds: NDArray[np.float64] | None = None
    pictures: Pictures | None = None


class Model(NamedTuple):
    """A column of the page: a model and its scores by attribute."""

    label: str
    table: pd.DataFrame
    """Index: attributes."""
    run: ReportedRun


def models_of(runs: Sequence[ReportedRun]) -> list[Model]:
    """The scored models of some runs: one a run, but for demos."""
    found = []
    for run in runs:
        for name, table in run.metrics.items():
            alone = len(run.metrics) == 1
            label = run.name if alone else name if len(runs) == 1 else f"{run.name}: {name}"
            found.append(Model(label, table, run))
    return found
