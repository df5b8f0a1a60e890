"""The convex regularizers as cvxpy expressions, for the tests' independent optima."""

import cvxpy as cp
import numpy as np
from oracles import members_of, norm_expression


def rows(x):
    return [x[i, :] for i in range(x.shape[0])]


def grouped(x, groups):
    return sum(norm_expression(row, groups, 1.0) for row in rows(x))


def absolute(x):
    return cp.sum(cp.abs(x))


def latent(r, x):
    """Columns duplicated: each group has its own copy of its items."""
    total, constraints = 0, []
    for k in range(x.shape[0]):
        sums = 0
        for members, weight in zip(members_of(r.groups), r.groups.weights.tolist(), strict=True):
            part = cp.Variable(len(members))
            place = np.zeros((x.shape[1], len(members)))
            place[members, np.arange(len(members))] = 1
            sums = sums + place @ part
            total = total + weight * cp.norm(part, 2)
        constraints.append(sums == x[k, :])
    return r.strength * total, constraints


def dirty(r, x):
    """The minimum over the shared part, as it is defined."""
    shared = cp.Variable(x.shape)
    weights = r.groups.weights.tolist()
    norms = [w * cp.norm(shared[:, r.groups.members(g)], "nuc") for g, w in enumerate(weights)]
    constraints = [shared[:, i] == 0 for i in r.groups.uncovered]
    return r.strength * (sum(norms) + r.own * cp.sum_squares(x - shared)), constraints


# each: (regularizer, cvxpy matrix) -> (expression, constraints)
CVXPY = {
    "L1": lambda r, x: (r.strength * absolute(x), []),
    "SquaredFrobenius": lambda r, x: (r.strength * cp.sum_squares(x), []),
    "GroupL2": lambda r, x: (r.strength * grouped(x, r.groups), []),
    "OverlappingGroupL2": lambda r, x: (r.strength * grouped(x, r.groups), []),
    "Sum": lambda r, x: (r.strength * sum(CVXPY[type(t).__name__](t, x)[0] for t in r.terms), []),
    "Thresholded": lambda r, x: (
        r.strength * (grouped(x, r.inner.groups) + 0.5 * absolute(x)),
        [],
    ),
    "WeightedL1": lambda r, x: (
        r.strength * absolute(cp.multiply(np.tile(r.weights, (x.shape[0], 1)), x)),
        [],
    ),
    "WeightedFrobenius": lambda r, x: (
        r.strength * cp.sum(cp.multiply(np.tile(r.weights, (x.shape[0], 1)), cp.square(x))),
        [],
    ),
    "ElasticNet": lambda r, x: (r.strength * (0.3 * absolute(x) + 0.35 * cp.sum_squares(x)), []),
    "L21": lambda r, x: (r.strength * cp.sum(cp.norm(x, 2, axis=1)), []),
    "SparseGroupL2": lambda r, x: (
        r.strength * (0.4 * absolute(x) + 0.6 * grouped(x, r.groups)),
        [],
    ),
    "LInf": lambda r, x: (r.strength * sum(cp.norm_inf(row) for row in rows(x)), []),
    "Nuclear": lambda r, x: (r.strength * cp.norm(x, "nuc"), []),
    "SharedPlusOwn": dirty,
    "ExclusiveL1": lambda r, x: (
        r.strength / 2 * sum(cp.square(cp.norm1(row)) for row in rows(x)),
        [],
    ),
    "SquaredGroupL2": lambda r, x: (r.strength / 2 * cp.square(grouped(x, r.groups)), []),
    "Box": lambda r, x: (0, [x >= r.low, x <= r.high]),
    "NonNegative": lambda _r, x: (0, [x >= 0]),
    "Bounded": lambda r, x: (r.strength * absolute(x), [x >= 0]),
    "LatentOverlapGroupL2": latent,
    "TotalVariation": lambda r, x: (r.strength * absolute(x[:, 1:] - x[:, :-1]), []),
    "FusedLasso": lambda r, x: (
        r.strength * (0.4 * absolute(x) + 0.6 * absolute(x[:, 1:] - x[:, :-1])),
        [],
    ),
    "GraphFused": lambda r, x: (
        r.strength * sum(cp.norm1(x[:, i] - x[:, j]) for i, j in r.edges),
        [],
    ),
    "Scaled": lambda r, x: (r.strength * grouped(-2 * x, r.inner.groups), []),
    "Shifted": lambda r, x: (r.strength * absolute(x - np.tile(r.center, (x.shape[0], 1))), []),
    "Masked": lambda r, x: (r.strength * absolute(x[:, np.flatnonzero(r.mask)]), []),
    "Separable": lambda r, x: (
        r.strength * (absolute(x[:, :2]) + 2 * sum(cp.norm(row, 2) for row in rows(x[:, 2:]))),
        [],
    ),
}
