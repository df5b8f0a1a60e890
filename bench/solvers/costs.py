"""What an iteration of a solver costs: operations and bytes, from the shapes of a problem."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from proxmtl.designs.columns import sparse_columns
from proxmtl.problem import Problem

__all__ = ["REFERENCE", "Cost", "Machine", "cost_of_iteration", "cost_of_pass"]

ARRAY = 8
"""Bytes of an entry of the arrays of scores and weights, read or written once."""


class Machine(NamedTuple):
    """Rates of a machine, in one thread: operations and bytes a second, seconds a call of torch."""

    flops: float
    bytes: float
    call: float


REFERENCE = Machine(flops=2.5e10, bytes=1.0e10, call=6e-6)
"""The machine that predictions are for where no other is named; choices never look at a clock."""


class Cost(NamedTuple):
    """Operations of products, bytes that are moved, and calls of torch."""

    flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0

    def times(self, factor: float) -> Cost:
        """Return this cost ``factor`` times."""
        return Cost(*(factor * each for each in self))

    def plus(self, other: Cost) -> Cost:
        """Return the sum of two costs."""
        return Cost(*(a + b for a, b in zip(self, other, strict=True)))

    def seconds(self, machine: Machine = REFERENCE) -> float:
        """Predicted seconds, as if nothing overlapped: at most three times the longest part."""
        return sum(part / rate for part, rate in zip(self[:2], machine[:2], strict=True)) + (
            self.calls * machine.call
        )


class Work(NamedTuple):
    """An iteration of a solver: its passes, and how often it goes through arrays."""

    passes: float
    scores: float
    """Reads and writes of arrays of the size of the scores, the loss's own apart."""
    losses: float
    """Evaluations of the loss or one of its derivatives at all scores."""
    weights: float
    """Reads and writes of arrays of the size of the weights, the prox included."""
    calls: float


WORK = {
    "AdPGM": Work(1.0, 8, 2, 30, 110),
    "FISTA": Work(1.1, 30, 4, 30, 190),
    "MFISTA": Work(1.07, 30, 4, 30, 190),
    "PGD": Work(1.1, 25, 4, 25, 170),
    "LBFGS": Work(1.0, 40, 6, 80, 900),
}
"""Measured by ``bench/solvers/auto.py``, which compares what they predict with what is."""

LOSSES = {"Logistic": 40.0}
"""Reads and writes in the time that a loss takes for a score; of all others `SIMPLE`."""
SIMPLE = 8.0


def entries_of(problem: Problem) -> tuple[float, int]:
    """Stored entries of the features, and the number of columns that each is multiplied with."""
    columns = sparse_columns(problem.design)
    M = problem.data.n_tasks
    if columns is not None:
        return columns.entries, M
    X = getattr(problem.design, "X", None)
    if isinstance(X, Tensor):
        return X.numel(), M
    if isinstance(X, list | tuple):  # features of each task
        return sum(each.numel() for each in X), 1
    weights = problem.design.split(problem.zeros())[0]
    return len(weights) * problem.data.shape[0], M


def cost_of_pass(problem: Problem) -> Cost:
    """Cost of a product with the features and one with their transpose.

    Dense features are read once if the design takes both products in one read, else twice; a
    product of a stored entry with one column is two operations. An entry of sparse features comes
    with its index, and gathers a number for each column.
    """
    entries, columns = entries_of(problem)
    flops = 4.0 * entries * columns
    size = torch.empty(0, dtype=problem.design.dtype).element_size()
    if sparse_columns(problem.design) is not None:
        return Cost(flops, 2.0 * entries * (size + 8 + 2 * size * columns), 2)
    stored = getattr(problem.design, "X", None)
    if isinstance(stored, Tensor):
        size = stored.element_size()
    reads = 1.0 if problem.reads_once else 2.0
    return Cost(flops, reads * entries * size, 2)


def cost_of_iteration(problem: Problem, solver: object) -> Cost | None:
    """Cost of an iteration of a solver on a problem; None for a solver that has no fixed one.

    Parameters
    ----------
    problem : Problem
    solver : Solver
    """
    work = WORK.get(type(solver).__name__)
    if work is None:
        return None
    scores = math.prod(problem.data.shape)
    weights = math.prod(problem.zeros().shape)
    loss = LOSSES.get(type(problem.loss).__name__, SIMPLE)
    moved = ARRAY * ((work.scores + work.losses * loss) * scores + work.weights * weights)
    return cost_of_pass(problem).times(work.passes).plus(Cost(0.0, moved, work.calls))
