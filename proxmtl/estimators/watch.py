"""What looks on at a fit: the callback of its solves, and the folder that keeps its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxmtl.estimators.labels import EncodedLabels
from proxmtl.io.checkpoint import Checkpoint
from proxmtl.io.identity import fingerprint
from proxmtl.problem import Problem
from proxmtl.row_sources import is_rows
from proxmtl.solvers.identity import check_figures, data_figures

__all__ = ["Watch"]


@dataclass(frozen=True)
class Watch:
    """The callback of the solves of a fit, and the checkpoint of its parts.

    Attributes
    ----------
    callback
        Called by solvers with their progress.
    checkpoint
        Folder of the fit; None if nothing is kept.
    of
        What the fit is, by name: its parts are those of no other.
    """

    callback: Callable[[Any], None] | None = None
    checkpoint: Checkpoint | None = None
    of: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def on(
        cls,
        callback: Callable[[Any], None] | None,
        checkpoint: Checkpoint | None,
        model: object,
        labels: EncodedLabels,
        features: Any,
    ) -> Watch:
        """Look on at a fit of a model to labels.

        Features that are read block by block are compared by their figures alone, as they are read.
        """
        if checkpoint is None:
            return cls(callback)
        data = [labels.numbers, labels.weights, None if is_rows(features) else features]
        return cls(callback, checkpoint, {"model": model, "SHA-256 of the data": fingerprint(data)})

    def solve(self, name: str) -> dict[str, Any]:
        """Arguments of the solve of a name, for `minimize` and `LatentMTL.solve`."""
        kept = None if self.checkpoint is None else self.checkpoint.part(name, self.of)
        return {"callback": self.callback, "checkpoint": kept}

    def kept(
        self, name: str, problem: Problem, compute: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Result of a computation, or what is kept of it.

        Parameters
        ----------
        name
            Of the part.
        problem
            Whose data the result depends on.
        compute
            Gives tensors, numbers and texts by name.

        Raises
        ------
        ValueError
            If what is kept was made with other features or labels.
        InputError
            If it is damaged, or of another fit.
        """
        if self.checkpoint is None:
            return compute()
        part, ranks = self.checkpoint.part(name, self.of), problem.data.ranks
        found = part.load(self.of, ranks)
        if found is not None:
            known = data_figures(problem)
            with ranks.together():
                check_figures(found["data"], known)
            result: dict[str, Any] = found["result"]
            return result
        begin = time.perf_counter()
        result = compute()
        seconds = ranks.largest(time.perf_counter() - begin)
        if part.due(seconds, ended=True):
            fields = {"result": result, "data": data_figures(problem), "seconds": seconds}
            part.save(fields, self.of, 0, seconds, ranks)
        return result
