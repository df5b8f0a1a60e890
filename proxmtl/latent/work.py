"""Cost model of the iterations of PANOC and Gram-Newton, in operations.

The unit is an operation of a product with the features, at the full speed of a processor. Work that
is bound by memory or by calls of small functions is converted by the ratio of its time to that;
these ratios differ less between processors than times do. Nothing is measured at run time, so that
the same problem takes the same path on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from proxmtl.latent.problem import LatentProblem
from proxmtl.solvers.blocks import Blocks

__all__ = ["ROUNDS", "Sizes", "conjugate_operations", "newton_operations", "sizes"]

CALLS = 1e8
"""Cost of the small functions that an iteration of PANOC calls, for any sizes: some two
milliseconds."""

STREAMED = 8
"""Cost of an operation on numbers that are read from memory for it alone: Hessians and vectors of
quasi-Newton pairs."""

SCATTERED = 4
"""Cost of an operation of a Newton step's factorisation, including the gathering of its matrix."""

EXPECTED = 50
"""Expected number of conjugate-gradient iterations for a direction."""

FACTOR = 10
"""A factorisation is preferred up to this many times the expected operations of conjugate
gradients: it is exact, and its operations are fast."""

PAIRS = 20
"""Number of pairs in PANOC's L-BFGS memory, each read four times per iteration."""

ROUNDS = 4
"""Expected rounds of an inner solve of Gram-Newton, each of two PALM steps and a Newton step."""

PRODUCTS = 6
"""Products with the Hessians in the PALM steps of a round."""

ITERATIONS = 6
"""Expected iterations of Gram-Newton from a point at which PANOC has settled the supports."""


def conjugate_operations(n_tasks: int, n_features: int, n_latents: int) -> float:
    """Operations of a Newton direction by conjugate gradients, including the preconditioner."""
    M, D, K = n_tasks, n_features, n_latents
    return EXPECTED * (2 * M * D**2 + 4 * D * M * K + 2 * K * D**2) + 2 * K * M * D**2


def newton_operations(of_left: int, of_right: int, conjugate: float) -> tuple[float, bool]:
    """Operations of a Newton direction, and whether it is computed by a factorisation.

    Parameters
    ----------
    of_left, of_right : int
        Number of non-zero entries of L and S.
    conjugate : float
        Operations by conjugate gradients.
    """
    factored = of_left**3 / 3 + of_left**2 * of_right + float(of_right) ** 3
    return (factored, True) if factored <= FACTOR * conjugate else (conjugate, False)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a factored problem at a point, which determine the operations of its solvers.

    Attributes
    ----------
    labels : int
        Number of pairs of a sample and a task, including missing labels: a pass computes them all.
    observed : int
        Number of labels of positive weight.
    features, tasks, latents : int
        D, M and the number of live latents.
    of_left, of_right : int
        Number of non-zero entries of L and S.
    unknowns : int
        Number of entries of all blocks, without those of dead latents.
    factored : bool
        Whether PANOC computes products as ``(X L) S``.
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
        """Operations of an iteration of PANOC that made so many passes."""
        of_pass = self.of_pass
        if self.factored:  # two products with L, and three with S or of its size
            rows = self.labels / self.tasks
            of_pass = rows * self.latents * (4.0 * self.features + 6.0 * self.tasks)
        return passes * of_pass + CALLS + STREAMED * 8 * PAIRS * self.unknowns

    @property
    def of_round(self) -> float:
        """Operations of a round of the inner solve of Gram-Newton."""
        M, D, K = self.tasks, self.features, self.latents
        conjugate = conjugate_operations(M, D, K)
        newton, factored = newton_operations(self.of_left, self.of_right, conjugate)
        palm = STREAMED * PRODUCTS * 2 * M * D**2
        return palm + (SCATTERED if factored else STREAMED) * newton + CALLS

    def of_gram(self, rounds: float, passes: float) -> float:
        """Operations of an iteration of Gram-Newton with so many rounds and passes."""
        models = 4 * STREAMED * self.tasks * self.features**2
        return passes * self.of_pass + rounds * self.of_round + models + 3 * CALLS

    @property
    def gram_passes(self) -> float:
        """Passes of the Gram matrices: of half of the samples of each task, and a shared one."""
        return self.features / 4 + self.features / (2 * self.tasks)

    @property
    def predicted(self) -> float:
        """Predicted operations of Gram-Newton from this point to a small residual."""
        return self.of_gram(0, self.gram_passes) + ITERATIONS * self.of_gram(ROUNDS, 1.5)


def sizes(problem: LatentProblem, blocks: Blocks) -> Sizes:
    """Return the :class:`Sizes` of a problem at a point."""
    L, S = blocks[:2]
    latents = int(((L != 0).any(0) & (S != 0).any(1)).sum())
    dead = (S.shape[0] - latents) * (L.shape[0] + S.shape[1])
    return Sizes(
        labels=problem.data.n_scores,
        observed=problem.data.n_observed,
        features=L.shape[0],
        tasks=S.shape[1],
        latents=latents,
        of_left=int(torch.count_nonzero(L)),
        of_right=int(torch.count_nonzero(S)),
        unknowns=sum(block.numel() for block in blocks) - dead,
        factored=problem.factored(latents),
    )
