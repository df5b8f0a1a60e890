"""What the suites know of each regularizer by class name: naive values, one fixed example."""

import inspect
import itertools
import math
from dataclasses import is_dataclass, replace

import numpy as np
import torch
from oracles import group_norm, latent_norm
from strategies import REGULARIZER_FACTORIES

from proxmtl import FusedLasso, Groups, TotalVariation
from proxmtl.regularizers import REGULARIZERS

OURS = {
    n: c
    for n, c in REGULARIZERS.items()
    # what a class must be to be made: no base of others, which are plain classes
    if c.__module__.startswith("proxmtl") and not inspect.isabstract(c) and is_dataclass(c)
}


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def l1(W):
    return sum(abs(x) for x in W.flatten().tolist())


def squares(W):
    return sum(x * x for x in W.flatten().tolist())


def jumps(W):
    return sum(abs(b - a) for row in W.tolist() for a, b in itertools.pairwise(row))


def rows_norm(W):
    return sum(math.sqrt(squares(row)) for row in W)


def inside(W, low, high):
    return 0.0 if all(low <= x <= high for x in W.flatten().tolist()) else math.inf


def mcp(x, slope, c):
    x = abs(x)
    return slope * x - x * x / (2 * c) if x <= c * slope else c * slope**2 / 2


def scad(x, slope, c):
    x = abs(x)
    if x <= slope:
        return slope * x
    if x <= c * slope:
        return (2 * c * slope * x - x * x - slope * slope) / (2 * (c - 1))
    return slope * slope * (c + 1) / 2


def dirty(r, W):
    """Huber function of the singular values of each group's columns, own squares beside them."""
    total = r.own * sum(float(W[:, i].square().sum()) for i in r.groups.uncovered)
    for g, w in enumerate(r.groups.weights.tolist()):
        for s in np.linalg.svd(W[:, r.groups.members(g)].numpy(), compute_uv=False).tolist():
            total += r.own * s * s if 2 * r.own * s <= w else w * s - w * w / (4 * r.own)
    return total


def grouped(function, r, W):
    """Sum of a function of norm and weight over slices and groups."""
    return sum(
        function(math.sqrt(sum(float(row[i]) ** 2 for i in r.groups.members(g))), float(w))
        for row in W
        for g, w in enumerate(r.groups.weights)
    )


NAIVE_VALUES = {
    "L1": lambda r, W: r.strength * l1(W),
    "SquaredFrobenius": lambda r, W: r.strength * squares(W),
    "GroupL2": lambda r, W: r.strength * group_norm(W, r.groups),
    "OverlappingGroupL2": lambda r, W: r.strength * group_norm(W, r.groups),
    "Sum": lambda r, W: r.strength * sum(NAIVE_VALUES[type(t).__name__](t, W) for t in r.terms),
    "Thresholded": lambda r, W: r.strength * (group_norm(W, r.inner.groups) + 0.5 * l1(W)),
    "WeightedL1": lambda r, W: r.strength * l1(r.weights * W),
    "WeightedFrobenius": lambda r, W: r.strength * l1(r.weights * W * W),
    "ElasticNet": lambda r, W: r.strength * (0.3 * l1(W) + 0.35 * squares(W)),
    "L21": lambda r, W: r.strength * rows_norm(W),
    "SparseGroupL2": lambda r, W: r.strength * (0.4 * l1(W) + 0.6 * group_norm(W, r.groups)),
    "LInf": lambda r, W: r.strength * sum(max(abs(x) for x in row) for row in W.tolist()),
    "Nuclear": lambda r, W: r.strength * float(np.linalg.svd(W.numpy(), compute_uv=False).sum()),
    "SharedPlusOwn": lambda r, W: r.strength * dirty(r, W),
    "ExclusiveL1": lambda r, W: r.strength / 2 * sum(l1(row) ** 2 for row in W),
    "SquaredGroupL2": lambda r, W: r.strength / 2 * group_norm(W, r.groups) ** 2,
    "Box": lambda r, W: inside(W, r.low, r.high),
    "NonNegative": lambda _r, W: inside(W, 0, math.inf),
    "Bounded": lambda r, W: r.strength * l1(W) + inside(W, 0, math.inf),
    "MCP": lambda r, W: sum(mcp(x, r.strength, 2.5) for x in W.flatten().tolist()),
    "SCAD": lambda r, W: grouped(lambda n, w: scad(n, r.strength * w, 3.2), r, W),
    "Scaled": lambda r, W: r.strength * group_norm(-2 * W, r.inner.groups),
    "Shifted": lambda r, W: r.strength * l1(W - r.center),
    "Masked": lambda r, W: r.strength * l1(W[:, r.mask]),
    "Separable": lambda r, W: r.strength * (l1(W[:, :2]) + 2 * rows_norm(W[:, 2:])),
    "LatentOverlapGroupL2": lambda r, W: r.strength * sum(latent_norm(u, r.groups) for u in W),
    "TotalVariation": lambda r, W: r.strength * jumps(W),
    "FusedLasso": lambda r, W: r.strength * (0.4 * l1(W) + 0.6 * jumps(W)),
    "GraphFused": lambda r, W: (
        r.strength * sum(abs(row[i] - row[j]) for row in W.tolist() for i, j in r.edges)
    ),
    "Conjugate": lambda r, W: sum(
        max(abs(u) - 0.3 * r.strength, 0) ** 2 / (1.4 * r.strength) for u in W.flatten().tolist()
    ),
}


def example(name, *, strength=1.0):
    """A fixed regularizer of the class on five items, for tests without hypothesis."""
    disjoint = Groups.from_lists([[4, 0], [1, 2], [3]], weights=[1.0, 2.0, 1.0])
    overlapping = Groups.from_lists([[0, 1, 2], [2, 3], [3, 4]], weights=[1.0, 2, 1])
    choose = {
        "OverlappingGroupL2": overlapping,
        "LatentOverlapGroupL2": overlapping,
        "Sum": overlapping,
        "GraphFused": ([(0, 1), (1, 2), (3, 1), (4, 0)],),
        "WeightedL1": [1.0, 0.0, 2.5, 1.0, 0.25],
        "WeightedFrobenius": [1.0, 0.0, 2.5, 1.0, 0.25],
        "Shifted": [1.0, 0.0, 2.5, 1.0, 0.25],
        "Masked": [1.0, 0.0, 2.5, 0.0, 0.25],
    }
    return REGULARIZER_FACTORIES[name](lambda _: choose.get(name, disjoint), 5, strength)


# flags of wrappers depend on what they are made of
NORMS = {n for n in OURS if example(n).is_norm}
CONVEX = {n for n in OURS if example(n).is_convex}
# what no strength scales
UNWEIGHTED = {"Bounded", "Conjugate"} | {n for n in OURS if example(n).is_indicator}


def with_items_permuted(r, order):
    """The regularizer for items in another order; None if it depends on the order."""
    if isinstance(r, (TotalVariation, FusedLasso)):
        return None
    place = {item: position for position, item in enumerate(order)}
    if hasattr(r, "terms"):
        return replace(r, terms=tuple(with_items_permuted(term, order) for term in r.terms))
    if hasattr(r, "parts"):
        return replace(r, parts=tuple(([place[i] for i in ids], part) for ids, part in r.parts))
    if hasattr(r, "edges"):
        return replace(r, edges=[(place[i], place[j]) for i, j in r.edges])
    changed = {n: getattr(r, n)[order] for n in ("weights", "center", "mask") if hasattr(r, n)}
    if hasattr(r, "inner"):
        changed["inner"] = with_items_permuted(r.inner, order)
    if getattr(r, "groups", None) is not None:
        lists = [[place[i] for i in r.groups.members(g)] for g in range(len(r.groups))]
        weights = r.groups.weights
        changed["groups"] = Groups.from_lists(lists, len(order), weights=weights)
    return replace(r, **changed) if changed else r
