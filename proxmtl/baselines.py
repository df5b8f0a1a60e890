"""The linear models that the paper compares, each a loss, a penalty and a decomposition of W."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from proxmtl.designs import Design
from proxmtl.groups import Groups
from proxmtl.latent import LatentProblem
from proxmtl.losses import Logistic, Loss, Squared, SquaredHinge
from proxmtl.problem import Problem
from proxmtl.regularizers import (
    L1,
    L21,
    GroupL2,
    OverlappingGroupL2,
    Regularizer,
    SquaredFrobenius,
    UnsupportedError,
)
from proxmtl.targets import Targets

__all__ = ["BASELINES", "Baseline"]


@dataclass(frozen=True)
class Baseline:
    """One row: ``loss(X W + b) + R(W)`` for W free, or the factored problem for ``W = L S``.

    Attributes
    ----------
    name : str
        Key in :data:`BASELINES`.
    row : str
        What the paper calls it.
    loss : Loss
        The row's loss; an estimator may take another.
    decomposition : "free" or "factored"
        Free: convex, with a duality gap. Factored: ``W = L S``, not jointly convex.
    reference : str
    penalty : callable or None
        Free: the penalty at strength 1, given the groups of tasks.
    grouped : bool
        Whether the groups of tasks matter; else each task is alone.
    l1 : bool
        Factored: whether L has an L1 norm beside its square.
    """

    name: str
    row: str
    loss: Loss
    decomposition: Literal["free", "factored"]
    reference: str
    penalty: Callable[[Groups], Regularizer] | None = None
    grouped: bool = False
    l1: bool = False

    def regularizer(self, groups: Groups | int, strength: float) -> Regularizer:
        """Return the penalty on W of a free row.

        Parameters
        ----------
        groups : Groups or int
            Of tasks; or their number, where the row has no groups.
        strength : float

        Raises
        ------
        UnsupportedError
            If the row is factored: its penalties are on L and S.
        """
        if self.penalty is None:
            raise UnsupportedError(
                f"{self.name}: its penalties are on the factors of W; use problem, or LatentMTL."
            )
        return self.penalty(self.task_groups(groups)).with_strength(strength)

    def task_groups(self, groups: Groups | int) -> Groups:
        """Return the groups that this row uses: those given, or each task alone."""
        if self.grouped:
            if isinstance(groups, int):
                raise ValueError(f"groups: {self.name} needs groups of tasks, got none.")
            return groups
        return Groups.singletons(groups if isinstance(groups, int) else groups.n_items)

    def problem(
        self,
        design: Design,
        targets: Targets,
        groups: Groups | None = None,
        *,
        strength: float,
        l1_strength: float = 0.0,
        frobenius_strength: float = 0.0,
    ) -> Problem | LatentProblem:
        """Pose the row's problem on data.

        Parameters
        ----------
        design, targets, groups
            As for :class:`Problem`; ``groups`` of tasks, for the rows that have them.
        strength : float
            Of the penalty on W, or on S where W is factored.
        l1_strength, frobenius_strength : float
            On L, where W is factored.

        Returns
        -------
        Problem or LatentProblem
            For :func:`minimize`, or for the solvers of the factored problem.

        Raises
        ------
        ValueError
            If the row has groups and none were given, or a strength is of no use in it.
        """
        given: Groups | int = targets.n_tasks if groups is None else groups
        unused = []
        if self.decomposition == "free":
            unused = [frobenius_strength, l1_strength]
        elif not self.l1:
            unused = [l1_strength]
        if any(unused):
            raise ValueError(
                f"l1_strength, frobenius_strength: {self.name} has no such penalty; leave it 0."
            )
        if self.decomposition == "free":
            return Problem(self.loss, design, targets, self.regularizer(given, strength))
        return LatentProblem(
            self.loss,
            design,
            targets,
            self.task_groups(given),
            group_strength=strength,
            l1_strength=l1_strength,
            frobenius_strength=frobenius_strength,
        )


def _ridge(groups: Groups) -> Regularizer:
    del groups
    return SquaredFrobenius(1.0)


def _l1(groups: Groups) -> Regularizer:
    del groups
    return L1(1.0)


def _rows(groups: Groups) -> Regularizer:
    """``sum_d ||W[d, :]||_2``: a feature is used by all tasks or by none."""
    del groups
    return L21(1.0)


def _row_groups(groups: Groups) -> Regularizer:
    """``sum_d sum_g w_g ||W[d, g]||_2``: a feature is used by whole groups of tasks."""
    return (GroupL2 if groups.is_disjoint else OverlappingGroupL2)(groups, 1.0)


_PAPER = "Abdulnabi, Wang, Lu, Jia 2015"

BASELINES: dict[str, Baseline] = {
    row.name: row
    for row in (
        Baseline("s-extract", "S-extract", SquaredHinge(), "free", _PAPER, _ridge),
        Baseline("ridge", '"l2 regression loss"', Squared(), "free", "Hoerl, Kennard 1970", _ridge),
        Baseline(
            "logistic-ridge",
            "standard classifier",
            Logistic(),
            "free",
            "Jayaraman, Sha, Grauman 2014",
            _ridge,
        ),
        Baseline("lasso", "lasso", Logistic(), "free", "Tibshirani 1996", _l1),
        Baseline(
            "l21", "l21 all-sharing", Logistic(), "free", "Argyriou, Evgeniou, Pontil 2008", _rows
        ),
        Baseline(
            "decorrelated",
            "decorrelated",
            Logistic(),
            "free",
            "Jayaraman, Sha, Grauman 2014",
            _row_groups,
            grouped=True,
        ),
        Baseline("go-mtl", "GO-MTL", Logistic(), "factored", "Kumar, Daume 2012"),
        Baseline("m-extract", "M-extract", SquaredHinge(), "factored", _PAPER, l1=True),
        Baseline(
            "mg-extract", "MG-extract", SquaredHinge(), "factored", _PAPER, grouped=True, l1=True
        ),
    )
}
"""Every row by name. The paper's CNN rows are these on features of fine-tuned networks."""
