"""The linear models that the paper compares: loss, penalty, and whether W is factored."""

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
    """A model of the comparison: ``loss(X W + b) + R(W)``, or the factored problem, ``W = L S``.

    Attributes
    ----------
    name : str
        Key in :data:`BASELINES`.
    row : str
        Name of the model in the paper's tables.
    loss : Loss
        Loss of the model; an estimator may use another.
    decomposition : "free" or "factored"
        ``"free"``: W is the parameter; convex, with a duality gap. ``"factored"``: ``W = L S``, not
        jointly convex in L and S.
    reference : str
        Authors and year.
    penalty : callable or None
        For a free W: maps the groups of tasks to the penalty of strength 1.
    grouped : bool
        Whether the model uses groups of tasks; otherwise each task is a group of its own.
    l1 : bool
        For a factored W: whether L has an L1 penalty besides the squared Frobenius norm.
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
        """Return the penalty of the model on a free W.

        Parameters
        ----------
        groups : Groups or int
            Groups of tasks; or the number of tasks, if the model does not use groups.
        strength : float
            Regularization weight.

        Raises
        ------
        UnsupportedError
            If W is factored: the penalties are then on L and S.
        ValueError
            If the model uses groups and ``groups`` is a number.
        """
        if self.penalty is None:
            raise UnsupportedError(
                f"{self.name}: its penalties are on the factors of W; use problem, or LatentMTL."
            )
        return self.penalty(self.task_groups(groups)).with_strength(strength)

    def task_groups(self, groups: Groups | int) -> Groups:
        """Return the groups that the model uses: the given ones, or a singleton for each task."""
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
        """Build the optimisation problem of the model on data.

        Parameters
        ----------
        design, targets
            As for :class:`Problem`.
        groups : Groups, optional
            Groups of tasks; required if the model is ``grouped``.
        strength : float
            Weight of the penalty on W, or on S if W is factored.
        l1_strength, frobenius_strength : float
            Weights of the penalties on L; only if W is factored.

        Returns
        -------
        Problem or LatentProblem
            For :func:`minimize`, or for the solvers of the factored problem.

        Raises
        ------
        ValueError
            If the model uses groups and none were given, or a strength belongs to a penalty that
            the model lacks.
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
"""All models by name. The paper's CNN rows are these models on features of fine-tuned networks."""
