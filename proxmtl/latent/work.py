"""What iterations of the joint solvers are expected to take: operations, counted alike.

The unit is an operation of a product with the features, which runs at the full speed of a
processor. What is bound by memory, or by calls of small functions, counts for as many of these as
it takes the time of: ratios, which differ less from one processor to the next than times do.
Nothing is measured at run time, so that the same problem takes the same path everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from proxmtl.latent.problem import LatentProblem
from proxmtl.solvers.blocks import Blocks

__all__ = ["ROUNDS", "Sizes", "conjugate_operations", "newton_operations", "sizes"]

CALLS = 1e8
"""Of the small functions that an iteration of PANOC calls, whatever the sizes: two
milliseconds or so."""

STREAMED = 8
"""Of an operation on numbers that are read from memory for it alone: Hessians and vectors of
quasi-Newton pairs."""

SCATTERED = 4
"""Of an operation of a Newton step's factorisation, with the gathering of its matrix."""

EXPECTED = 50
"""Conjugate gradient iterations that a direction is expected to take."""

FACTOR = 10
"""Operations of a factorisation, in units of those that conjugate gradients are expected to take,
up to which it is preferred: it is exact, and its operations are fast ones."""

PAIRS = 20
"""Of PANOC's quasi-Newton memory, each read four times an iteration."""

ROUNDS = 4
"""Of an inner solve of Gram-Newton, of two PALM steps and a Newton step each."""

PRODUCTS = 6
"""With the Hessians, of the PALM steps of a round."""

ITERATIONS = 6
"""That Gram-Newton is expected to take from a point where PANOC has settled the supports."""


def conjugate_operations(n_tasks: int, n_features: int, n_latents: int) -> float:
    """Of a Newton direction by conjugate gradients, preconditioner included."""
    M, D, K = n_tasks, n_features, n_latents
    return EXPECTED * (2 * M * D**2 + 4 * D * M * K + 2 * K * D**2) + 2 * K * M * D**2


def newton_operations(of_left: int, of_right: int, conjugate: float) -> tuple[float, bool]:
    """Of a Newton direction, and whether it is by a factorisation.

    Parameters
    ----------
    of_left, of_right : int
        Entries of L and S that are not zero.
    conjugate : float
        Operations by conjugate gradients.
    """
    factored = of_left**3 / 3 + of_left**2 * of_right + float(of_right) ** 3
    return (factored, True) if factored <= FACTOR * conjugate else (conjugate, False)


@dataclass(frozen=True)
class Sizes:
    """Of a joint problem at a point: what its iterations take follows from them.

    Attributes
    ----------
    labels : int
        All pairs of a sample and a task, those without a label too: a pass takes them all.
    observed : int
        Pairs of which the label counts: its weight is positive.
    features, tasks, latents : int
        D, M and those of K that are alive.
    of_left, of_right : int
        Entries that are not zero.
    unknowns : int
        Entries of all blocks, without those of dead latents.
    factored : bool
        Whether PANOC's passes take products with the factors.
    """

    labels: int
    observed: int
    features: int
    tasks: int
    latents: int
    of_left: int
    of_right: int
    unknowns: int
    factored: bool

    @property
    def of_pass(self) -> float:
        return 4.0 * self.labels * self.features

    def of_descent(self, passes: float) -> float:
        """Of an iteration of PANOC that made so many passes."""
        of_pass = self.of_pass
        if self.factored:  # with L and its transpose; three times with S, or of its size
            rows = self.labels / self.tasks
            of_pass = rows * self.latents * (4.0 * self.features + 6.0 * self.tasks)
        return passes * of_pass + CALLS + STREAMED * 8 * PAIRS * self.unknowns

    @property
    def of_round(self) -> float:
        """Of a round of the inner solve of Gram-Newton."""
        M, D, K = self.tasks, self.features, self.latents
        conjugate = conjugate_operations(M, D, K)
        newton, factored = newton_operations(self.of_left, self.of_right, conjugate)
        palm = STREAMED * PRODUCTS * 2 * M * D**2
        return palm + (SCATTERED if factored else STREAMED) * newton + CALLS

    def of_gram(self, rounds: float, passes: float) -> float:
        """Of an iteration of Gram-Newton with so many rounds and passes."""
        models = 4 * STREAMED * self.tasks * self.features**2
        return passes * self.of_pass + rounds * self.of_round + models + 3 * CALLS

    @property
    def gram_passes(self) -> float:
        """Passes of the Gram matrices of half of the samples of each task and of them all."""
        return self.features / 4 + self.features / (2 * self.tasks)

    @property
    def predicted(self) -> float:
        """Of Gram-Newton, from here to a small residual."""
        return self.of_gram(0, self.gram_passes) + ITERATIONS * self.of_gram(ROUNDS, 1.5)


def sizes(problem: LatentProblem, blocks: Blocks) -> Sizes:
    """Sizes of a problem at a point."""
    L, S = blocks[:2]
    latents = int(((L != 0).any(0) & (S != 0).any(1)).sum())
    dead = (S.shape[0] - latents) * (L.shape[0] + S.shape[1])
    return Sizes(
        labels=problem.data.shape.numel(),
        observed=int(problem.data.observed().sum()),
        features=L.shape[0],
        tasks=S.shape[1],
        latents=latents,
        of_left=int(torch.count_nonzero(L)),
        of_right=int(torch.count_nonzero(S)),
        unknowns=sum(block.numel() for block in blocks) - dead,
        factored=problem.factored(latents),
    )
