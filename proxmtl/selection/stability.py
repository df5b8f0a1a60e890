"""Stability selection: what is selected on most random halves of the samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from proxmtl.problem import Problem
from proxmtl.selection.batch import BATCH_SCORES, solve_batch
from proxmtl.selection.bounds import unimodal_bound, worst_case_bound
from proxmtl.selection.folds import restrict_samples
from proxmtl.selection.strengths import check_strengths, with_strengths
from proxmtl.stopping import MaxIterations, RelativeGap, RelativeKKT, Stop
from proxmtl.wording import warn

__all__ = ["StabilitySelection", "stability_selection"]

Selected = Callable[[Tensor], Tensor]
Items = Literal["features", "entries"] | Selected


@dataclass(frozen=True)
class StabilitySelection:
    """Result of :func:`stability_selection`.

    Attributes
    ----------
    probabilities : Tensor
        Share of the halves on which each item is selected, at the best strength for it; of the
        shape of the items, float64.
    by_strength : Tensor
        The same at each strength, along the first dimension.
    strengths : list of float
    n_pairs : int
        Complementary pairs of halves.
    mean_selected : float
        ``q``: items selected on a half, at one strength of the path or another, on average.
    """

    probabilities: Tensor
    by_strength: Tensor
    strengths: list[float]
    n_pairs: int
    mean_selected: float

    @property
    def n_items(self) -> int:
        """``p``."""
        return self.probabilities.numel()

    def selected(self, threshold: float) -> Tensor:
        """Mask of the items whose probability is at least ``threshold``."""
        return self.probabilities >= threshold

    def false_positives(
        self, threshold: float, assume: Literal["exchangeable", "unimodal"] = "exchangeable"
    ) -> float:
        """Bound on the expected number of items selected wrongly at a threshold.

        ``"exchangeable"``: ``q^2 / ((2 threshold - 1) p)`` (Meinshausen and Buehlmann), for
        irrelevant items that are exchangeable and a selection not worse than guessing. Without
        these assumptions it bounds the selected items that a half selects with probability below
        ``q / p`` (Shah and Samworth). ``"unimodal"``: a smaller bound of the same, if their
        selection frequencies have a unimodal distribution; for a single strength only.

        Raises
        ------
        ValueError
            If ``threshold`` is not in (1/2, 1], or the unimodal bound does not apply: more than
            one strength, or ``q / p > 1 / sqrt(3)``.
        """
        if assume == "exchangeable":
            return worst_case_bound(self.mean_selected, self.n_items, threshold)
        if assume != "unimodal":
            raise ValueError(f"assume: got {assume!r}; use 'exchangeable' or 'unimodal'.")
        if len(self.strengths) > 1:
            raise ValueError(
                "assume: the unimodal bound is for one strength; several were maximised over."
            )
        return unimodal_bound(self.mean_selected, self.n_items, threshold, self.n_pairs)

    def threshold(self, false_positives: float) -> float:
        """Smallest threshold whose worst-case bound is at most that; above 1 if there is none."""
        if not false_positives > 0:
            raise ValueError(f"false_positives: got {false_positives}; it must be > 0.")
        return (1 + self.mean_selected**2 / (self.n_items * false_positives)) / 2


def stability_selection(
    problem: Problem,
    strengths: float | Sequence[float],
    *,
    items: Items = "features",
    n_pairs: int = 50,
    seed: int = 0,
    stop: Stop | None = None,
) -> StabilitySelection:
    """Solve on random halves of the samples and count how often each item is selected.

    Halves come in complementary pairs, which makes the bounds hold with fewer assumptions. All
    problems, halves times strengths, are solved in batches.

    Parameters
    ----------
    problem : Problem
        On features shared by all tasks, with a penalty that sets weights to zero.
    strengths : float or sequence of float
        Of its non-smooth penalty. Of several the largest probability of each item is taken; ``q``
        then counts what any of them selects.
    items : "features", "entries" or callable
        What is selected: rows of W with a weight that is not zero; single weights; or a function
        that takes W (D, M), without intercept, to a mask of items, such as groups of features.
    n_pairs : int
        At least 1; 50 is common.
    seed : int
    stop : Stop, optional
        Of each solve. Default ``RelativeGap(1e-4) | MaxIterations(1000)``: what is selected is
        settled long before the last digits of the weights.

    Returns
    -------
    StabilitySelection

    Raises
    ------
    ValueError
        If the problem has no penalty that selects, or no split in halves leaves every task both
        classes.
    UnsupportedError
        As :func:`solve_batch`.

    Warns
    -----
    RuntimeWarning
        If solves ended by their budget.

    References
    ----------
    Meinshausen and Buehlmann, "Stability selection", 2010; Shah and Samworth, "Variable selection
    with error control: another look at stability selection", 2013.
    """
    grid = check_strengths([strengths] if isinstance(strengths, (int, float)) else strengths)
    if not problem.terms:
        raise ValueError(
            "problem: no penalty of it sets weights to zero, every item would be selected always; "
            "add an L1 or a group norm."
        )
    if n_pairs < 1:
        raise ValueError(f"n_pairs: got {n_pairs}; use at least 1.")
    choose = _chooser(items)
    rule = stop or (RelativeGap if problem.has_gap else RelativeKKT)(1e-4) | MaxIterations(1000)
    halves = _halves(problem, n_pairs, np.random.default_rng(seed))
    at_once = max(1, BATCH_SCORES // (len(grid) * problem.targets.shape.numel()))
    counts: Tensor | None = None
    total, unfinished = 0.0, 0
    for first in range(0, len(halves), at_once):
        parts = halves[first : first + at_once]
        results = solve_batch(
            [with_strengths(part, strength) for part in parts for strength in grid], stop=rule
        )
        unfinished += sum(not result.status.ok for result in results)
        chosen = torch.stack([choose(problem.design.split(r.solution)[0]) for r in results])
        masks = chosen.reshape(len(parts), len(grid), *chosen.shape[1:])
        found = masks.sum(0, dtype=torch.float64)
        counts = found if counts is None else counts + found
        total += float(masks.any(1).sum())
    assert counts is not None
    if unfinished:
        warn(
            f"stability_selection: {unfinished} of {len(halves) * len(grid)} solves ended before "
            "their accuracy was reached, and what they select may not be settled; raise the limit "
            "in stop=.",
            RuntimeWarning,
        )
    by_strength = counts / len(halves)
    return StabilitySelection(
        probabilities=by_strength.amax(0),
        by_strength=by_strength,
        strengths=grid,
        n_pairs=n_pairs,
        mean_selected=total / len(halves),
    )


def _chooser(items: Items) -> Selected:
    if callable(items):
        return items
    if items == "features":
        return lambda W: (W != 0).any(1)
    if items == "entries":
        return lambda W: W != 0
    raise ValueError(f"items: got {items!r}; use 'features', 'entries' or a function of W.")


def _halves(problem: Problem, n_pairs: int, rng: np.random.Generator) -> list[Problem]:
    """Problems on complementary halves; a split that leaves a task without a class is redrawn."""
    n = problem.targets.shape[0]
    halves: list[Problem] = []
    refused: ValueError | None = None
    for _ in range(100 * n_pairs):
        order = rng.permutation(n)
        size = n // 2
        try:
            pair = [
                restrict_samples(problem, part) for part in (order[:size], order[size : 2 * size])
            ]
        except ValueError as error:
            refused = error
            continue
        halves += pair
        if len(halves) == 2 * n_pairs:
            return halves
    raise ValueError(
        f"problem: hardly any split in halves leaves every task its classes ({refused}); drop the "
        "rarest tasks."
    )
