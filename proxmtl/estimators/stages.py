"""A search in stages, each around what was best before, with paths that go on at their ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from proxmtl.estimators.search import Searched, joined
from proxmtl.estimators.verdict import Candidate, beyond_the_end, leading

__all__ = ["Stage", "in_stages"]

EXTENSIONS = 2
"""Maximum number of extensions of a path whose end is best."""

Paths = list[list[Candidate]]
Stage = Callable[[Candidate | None], Paths]
"""Maps the best candidate so far (None: there is none) to paths of further ones."""
Run = Callable[[Paths, NDArray[np.float64] | None], Searched]
"""Solves the candidates of paths on the folds, given the scores (F, M) of the best one so far."""


def in_stages(stages: Sequence[Stage], run: Run, flat: float) -> tuple[list[Candidate], Searched]:
    """Search stage by stage.

    A path is extended if the best candidate of all lies at its end, and is of the stage at hand.

    Parameters
    ----------
    stages
        The first one gives at least one path.
    run
        Solves the candidates of some paths on the folds, and scores them.
    flat
        As for `ends`.
    """
    candidates: list[Candidate] = []
    found: Searched | None = None
    for stage in stages:
        first = len(candidates)
        paths = stage(None if found is None else candidates[leading(found.means)])
        for _ in range(1 + EXTENSIONS):
            if not paths:
                break
            candidates += [each for path in paths for each in path]
            if found is None:
                found = run(paths, None)
            else:
                found = joined(found, run(paths, found.scores[leading(found.means)]))
            own = leading(found.means) >= first
            paths = beyond_the_end(candidates, found.means, flat) if own else []
    assert found is not None
    return candidates, found
