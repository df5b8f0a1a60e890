"""Trainings of candidates on splits: spread over ranks, kept in a folder, taken up again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.io.identity import fingerprint
from proxmtl.ranks import Ranks
from proxmtl.selection.storage import Storage
from proxmtl.selection.trainers import CandidateTrainer, Cell, Trained

if TYPE_CHECKING:
    from proxmtl.experiments import Split

__all__ = ["Metric", "Trials"]

Metric = Callable[[Any, Any], float]


@dataclass
class Trials:
    """Trainings that are finished, and those that are asked for next.

    Attributes
    ----------
    trainer : CandidateTrainer
    splits : list of Split
    metric : callable
        ``(scores, labels) -> float`` on the rows held out.
    ranks : Ranks
        Processes among which trainings are spread.
    storage : Storage or None
        Where each is kept.
    progress : callable or None
        Called with the numbers of finished and of all trainings.
    records : dict of dict
        What is known of each cell, the same on all ranks.
    """

    trainer: CandidateTrainer
    splits: list[Split]
    metric: Metric
    ranks: Ranks
    storage: Storage | None = None
    progress: Callable[[int, int], object] | None = None
    records: dict[Cell, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        trainer: CandidateTrainer,
        candidates: Sequence[Any],
        splits: list[Split],
        metric: Metric,
        *,
        folder: str | Path | None,
        progress: Callable[[int, int], object] | None,
        ranks: Ranks,
    ) -> Trials:
        """Trials of these candidates, and later ones, with those that a folder already has.

        Raises
        ------
        ValueError
            If ranks are given different things, or the metric has no name for the folder.
        InputError
            If the folder is of something else.
        """
        asked = {
            "candidates": [_plain(candidate) for candidate in candidates],
            "splits": _digest(part for split in splits for part in split),
            "labels": hashlib.sha256(trainer.labels.tobytes()).hexdigest(),
        }
        ranks.check_equal("candidates, splits and labels", fingerprint(asked))
        trials = cls(trainer, splits, metric, ranks, progress=progress)
        if folder is None:
            return trials
        for first in (True, False):  # the first rank makes the folder, the others find it
            with ranks.together():
                if first == (ranks.rank == 0):
                    trials.storage = Storage(
                        folder,
                        {
                            "kind": "cross-validation",
                            **trainer.settings(),
                            **asked,
                            "metric": _name_of(metric),
                        },
                    )
        return trials

    def run(self, candidates: Sequence[Any], *, first: int) -> dict[Cell, dict[str, Any]]:
        """Train what is missing of the candidates from a number on; return all that is known."""
        splits = range(len(self.splits))
        cells = [Cell(c, s) for c in range(first, len(candidates)) for s in splits]
        with self.ranks.together():
            if self.ranks.rank == 0:  # folders of other machines may hold something else
                self._read(cells, candidates)
        self.records = self.ranks.gathered(self.records)[0]
        pending = [cell for cell in cells if cell not in self.records]
        done, total = len(self.records), len(candidates) * len(splits)

        def trained(own: Sequence[Cell]) -> Iterator[tuple[Cell, dict[str, Any]]]:
            nonlocal done
            for cell, found in self.trainer.train(own, candidates, self.splits):
                record = self._kept(cell, found, candidates)
                done += 1
                self._tell(done, total)
                yield cell, record

        self.records |= self.ranks.spread(pending, trained)
        for known in range(done, len(self.records)):  # those of the other ranks
            self._tell(known + 1, total)
        self.records = dict(sorted(self.records.items()))
        return self.records

    def _tell(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def _kept(self, cell: Cell, found: Trained, candidates: Sequence[Any]) -> dict[str, Any]:
        labels = self.trainer.labels[self.splits[cell.split].test]
        record = {
            "score": float(self.metric(found.scores, labels)),
            "nonzeros": found.nonzeros,
            "status": found.status,
            "passes": found.passes,
        }
        if self.storage is not None:
            own = {**record, "candidate": _plain(candidates[cell.candidate])}
            self.storage.save(_file(cell), own)
        return record

    def _read(self, cells: Sequence[Cell], candidates: Sequence[Any]) -> None:
        """Take up what an earlier call has finished; its range may have been extended otherwise."""
        if self.storage is None:
            return
        for cell in cells:
            saved = self.storage.load(_file(cell))
            asked = _plain(candidates[cell.candidate])
            if saved is not None and saved.pop("candidate", asked) == asked:
                self.records[cell] = saved


def _plain(candidate: Any) -> Any:
    if isinstance(candidate, Mapping):
        return {str(key): repr(value) for key, value in candidate.items()}
    return repr(candidate)


def _file(cell: Cell) -> str:
    return f"candidate_{cell.candidate:04d}_split_{cell.split:02d}"


def _digest(parts: Iterator[Any]) -> str:
    rows = hashlib.sha256()
    for part in parts:
        rows.update(np.asarray(part, dtype=np.int64).tobytes() + b"|")
    return rows.hexdigest()


def _name_of(metric: Metric) -> str:
    name = getattr(metric, "__qualname__", repr(metric))
    if "<lambda>" in name:
        raise ValueError(
            "metric: a lambda has no name by which scores in a folder could be told apart from "
            "those of another; define a function."
        )
    return f"{getattr(metric, '__module__', '')}.{name}"
