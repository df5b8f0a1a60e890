"""Problems of the shapes on which the field's tools are compared, with planted sparse weights.

Features are Gaussian (AR(1) with 0.3 for the overlapping groups), float64; strengths are fractions
of the critical one. Every contender minimises the same objective, a sum over samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

import proxmtl as pm


@dataclass
class Case:
    """One problem: features, labels, loss, and the penalty as a function of its strength."""

    name: str
    X: np.ndarray
    Y: np.ndarray  # (N, M)
    loss: pm.Loss
    penalty: Callable[[float], pm.Regularizer]
    fraction: float
    kind: str  # which peers apply
    split: Callable[[float], list[pm.Regularizer]] | None = None  # the penalty as two with a prox

    @cached_property
    def strength(self) -> float:
        return self.fraction * self.problem(1.0).critical_strength()

    def problem(self, strength: float | None = None, *, split: bool = False) -> pm.Problem:
        """A fresh problem, nothing of it computed yet."""
        strength = self.strength if strength is None else strength
        coding = "real" if isinstance(self.loss, pm.Squared) else "signs"
        terms = self.split(strength) if split else [self.penalty(strength)]
        targets = pm.Targets.from_labels(torch.from_numpy(self.Y), coding=coding)
        return pm.Problem(self.loss, pm.SharedDesign(torch.from_numpy(self.X)), targets, terms)

    def objective(self, W: np.ndarray) -> float:
        """The objective in NumPy, at a peer's solution."""
        W = W.reshape(self.X.shape[1], -1)
        Z = self.X @ W
        if isinstance(self.loss, pm.Squared):
            value = ((Z - self.Y) ** 2).sum() / 2
        elif isinstance(self.loss, pm.SquaredHinge):
            value = (np.maximum(0, 1 - self.Y * Z) ** 2).sum() / 2
        else:
            value = np.logaddexp(0, -self.Y * Z).sum()
        R = self.penalty(self.strength)
        if isinstance(R, pm.L1):
            return value + self.strength * np.abs(W).sum()
        if isinstance(R, pm.L21):
            return value + self.strength * np.sqrt((W**2).sum(1)).sum()
        norms = (np.linalg.norm(W[R.groups.members(g)]) for g in range(len(R.groups)))
        return value + self.strength * sum(norms)


def classify(n: int, d: int, fraction: float) -> Case:
    """B1: L1 + squared hinge, one task, 50 planted weights, 5 % of the labels flipped."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d))
    scores = X @ _planted(rng, d, 50)
    scores += 0.1 * scores.std() * rng.standard_normal(n)
    y = np.where(rng.random(n) < 0.05, -1, 1) * np.where(scores > 0, 1.0, -1.0)
    name = f"B1 L1 + squared hinge {n}x{d}, {fraction:g}"
    return Case(name, X, y[:, None], pm.SquaredHinge(), pm.L1, fraction, "svm")


def multitask(fraction: float) -> Case:
    """B3: rows + squared loss, n = 1000, d = 2000, M = 50, 40 planted rows."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((1000, 2000))
    W = np.zeros((2000, 50))
    W[rng.choice(2000, 40, replace=False)] = rng.standard_normal((40, 50))
    Y = X @ W + 3 * rng.standard_normal((1000, 50))
    name = f"B3 rows + squared 1000x2000x50, {fraction:g}"
    return Case(name, X, Y, pm.Squared(), pm.L21, fraction, "mtl")


def grouped(fraction: float, *, logistic: bool) -> Case:
    """B4: disjoint groups of 10, n = 2000, d = 5000, 20 planted groups."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((2000, 5000))
    w = np.zeros((500, 10))
    w[rng.choice(500, 20, replace=False)] = rng.standard_normal((20, 10))
    y = X @ w.reshape(-1)
    y += 0.3 * y.std() * rng.standard_normal(2000)
    groups = pm.Groups.from_lists(np.arange(5000).reshape(500, 10).tolist(), 5000)
    loss: pm.Loss = pm.Logistic() if logistic else pm.Squared()
    Y = np.where(y > 0, 1.0, -1.0) if logistic else y
    return Case(
        f"B4 groups of 10 + {'logistic' if logistic else 'squared'} 2000x5000, {fraction:g}",
        X,
        Y[:, None],
        loss,
        lambda strength: pm.GroupL2(groups, strength, axis=0),
        fraction,
        "logistic-groups" if logistic else "groups",
    )


def overlapping(fraction: float, *, tree: bool) -> Case:
    """B5: windows of 10, step 5, or a tree of 5 levels; squared loss, n = 500, d = 2000."""
    rng = np.random.default_rng(3)
    n, d = 500, 2000
    X = rng.standard_normal((n, d))
    for j in range(1, d):
        X[:, j] = 0.3 * X[:, j - 1] + np.sqrt(1 - 0.3**2) * X[:, j]
    w = np.zeros(d)
    for start in rng.choice(d // 10, 15, replace=False) * 10:
        w[start : start + 10] = rng.standard_normal(10)
    y = X @ w
    y += 0.2 * y.std() * rng.standard_normal(n)
    families = [[list(range(a, a + 10)) for a in range(b, d - 9, 10)] for b in (0, 5)]
    lists = families[0] + families[1]
    if tree:
        sizes = (2000, 200, 50, 10, 2)
        lists = [list(range(a, a + s)) for s in sizes for a in range(0, d, s)]
    groups = pm.Groups.from_lists(lists, d)
    split = None
    if not tree:
        halves = [pm.Groups.from_lists(family, d) for family in families]

        def split(strength: float) -> list[pm.Regularizer]:
            return [pm.GroupL2(half, strength, axis=0) for half in halves]

    return Case(
        f"B5 {'tree' if tree else 'windows'} + squared {n}x{d}, {fraction:g}",
        X,
        y[:, None],
        pm.Squared(),
        lambda strength: pm.OverlappingGroupL2(groups, strength, axis=0),
        fraction,
        "tree" if tree else "windows",
        split,
    )


def _planted(rng: np.random.Generator, d: int, k: int) -> np.ndarray:
    w = np.zeros(d)
    w[rng.choice(d, k, replace=False)] = rng.standard_normal(k)
    return w


CASES: dict[str, Callable[[], Case]] = {
    "b1-tall-0.1": lambda: classify(5000, 2000, 0.1),
    "b1-tall-0.01": lambda: classify(5000, 2000, 0.01),
    "b1-wide-0.1": lambda: classify(1000, 20000, 0.1),
    "b3-0.1": lambda: multitask(0.1),
    "b4-squared-0.1": lambda: grouped(0.1, logistic=False),
    "b4-logistic-0.1": lambda: grouped(0.1, logistic=True),
    "b5-windows-0.2": lambda: overlapping(0.2, tree=False),
    "b5-tree-0.03": lambda: overlapping(0.03, tree=True),
}
