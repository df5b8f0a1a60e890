"""Slow and obvious: what the library is checked against. Nothing here imports its formulas."""

import warnings

import cvxpy as cp
import numpy as np
import torch


def members_of(groups):
    """Index arrays of all groups."""
    return [np.array(groups.members(g)) for g in range(len(groups))]


def group_norm(rows, groups):
    """Sum over slices and groups of weight times norm, in loops; rows is (slices, items)."""
    return sum(
        float(weight) * float(np.sqrt(sum(float(row[i]) ** 2 for i in members)))
        for row in np.asarray(rows, dtype=np.float64)
        for members, weight in zip(members_of(groups), groups.weights.tolist(), strict=True)
    )


def solve(problem):
    """Minimise with Clarabel at its tightest; return the optimum."""
    with warnings.catch_warnings():  # short of 1e-12 it calls its solution inaccurate
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        for tolerance in (1e-12, 1e-10):
            try:
                problem.solve(
                    solver=cp.CLARABEL,
                    tol_gap_abs=tolerance,
                    tol_gap_rel=tolerance,
                    tol_feas=tolerance,
                    max_iter=500,
                )
                break
            except cp.error.SolverError:  # it gives up where rounding stops it
                continue
    assert problem.status in ("optimal", "optimal_inaccurate"), problem.status
    return float(problem.value)


def norm_expression(x, groups, strength):
    """The group norm of one vector as a cvxpy expression."""
    pairs = zip(members_of(groups), groups.weights.tolist(), strict=True)
    return strength * sum(weight * cp.norm(x[members], 2) for members, weight in pairs)


def group_prox(v, groups, threshold):
    """Prox of the group norm at one vector."""
    x = cp.Variable(len(v))
    solve(
        cp.Problem(cp.Minimize(cp.sum_squares(x - v) / 2 + norm_expression(x, groups, threshold)))
    )
    return x.value


def latent_norm(x, groups):
    """Latent group norm of one vector, columns duplicated: ``min sum w_g ||v^g||, sum v^g = x``."""
    x = np.asarray(x, dtype=np.float64)
    size = np.abs(x).max()
    if not size > 0:
        return 0.0
    total, sums = 0, 0
    for members, weight in zip(members_of(groups), groups.weights.tolist(), strict=True):
        part = cp.Variable(len(members))
        place = np.zeros((len(x), len(members)))
        place[members, np.arange(len(members))] = 1
        total, sums = total + weight * cp.norm(part, 2), sums + place @ part
    return size * solve(cp.Problem(cp.Minimize(total), [sums == x / size]))


def group_dual_norm(u, groups):
    """Smallest ratio of a decomposition of one vector; inf if an item has no weighted group."""
    ratio = cp.Variable()
    parts, total = [], 0
    for members, weight in zip(members_of(groups), groups.weights.tolist(), strict=True):
        part = cp.Variable(len(members))
        place = np.zeros((len(u), len(members)))
        place[members, np.arange(len(members))] = 1
        total = total + place @ part
        parts.append(cp.norm(part, 2) <= ratio * weight)
    return solve(cp.Problem(cp.Minimize(ratio), [*parts, total == u]))


def subdifferential_distance(x, gradient, groups, strength):
    """Distance from 0 to ``gradient + d(strength * group norm)(x)`` for one vector."""
    residual = gradient.astype(np.float64).copy()
    free, constraints = 0, []
    for members, weight in zip(members_of(groups), groups.weights.tolist(), strict=True):
        norm = np.linalg.norm(x[members])
        if norm > 0:
            residual[members] += strength * weight * x[members] / norm
            continue
        part = cp.Variable(len(members))
        place = np.zeros((len(x), len(members)))
        place[members, np.arange(len(members))] = 1
        free = free + place @ part
        constraints.append(cp.norm(part, 2) <= strength * weight)
    problem = cp.Problem(cp.Minimize(cp.norm(residual + free, 2)), constraints)
    return solve(problem) if constraints else float(np.linalg.norm(residual))


def squared_hinge(scores, labels, weights):
    """Weighted squared hinge as a cvxpy expression (labels and weights are constants)."""
    slack = cp.pos(1 - cp.multiply(labels, scores))
    return cp.sum(cp.multiply(weights, cp.square(slack))) / 2


def weston_watkins(scores, labels, weights):
    """Sum over samples and wrong classes of half the squared violation, class by class."""
    total = 0
    for i, row in enumerate(labels):
        (own,) = np.flatnonzero(row > 0)
        others = [j for j in range(len(row)) if j != own]
        slack = cp.pos(1 - scores[i, own] + scores[i, others])
        total = total + weights[i, own] * cp.sum_squares(slack) / 2
    return total


def smoothed_hinge(scores, labels, weights, width):
    """Infimal convolution of the hinge with a square: min_s hinge(t + s) + s^2 / (2 width)."""
    shift = cp.Variable(labels.shape)
    hinge = cp.pos(1 - cp.multiply(labels, scores) - shift)
    return cp.sum(cp.multiply(weights, hinge + cp.square(shift) / (2 * width)))


LOSS_EXPRESSIONS = {
    "SquaredHinge": lambda _loss: squared_hinge,
    "Logistic": lambda _loss: (
        lambda z, y, c: cp.sum(cp.multiply(c, cp.logistic(-cp.multiply(y, z))))
    ),
    "Squared": lambda _loss: lambda z, y, c: cp.sum(cp.multiply(c, cp.square(z - y))) / 2,
    # cvxpy's Huber has no 1/2
    "Huber": lambda loss: lambda z, y, c: cp.sum(cp.multiply(c, cp.huber(z - y, loss.delta))) / 2,
    "SmoothedHinge": lambda loss: lambda z, y, c: smoothed_hinge(z, y, c, loss.width),
    "WestonWatkins": lambda _loss: weston_watkins,
}


def optimum(X, labels, weights, penalty, *, intercept=False, loss=squared_hinge):
    """Minimum of loss + penalty(W) for shared features; NumPy in, (value, W, b) out."""
    X, labels, weights = (np.asarray(a, dtype=np.float64) for a in (X, labels, weights))
    W = cp.Variable((X.shape[1], labels.shape[1]))
    b = cp.Variable((1, labels.shape[1])) if intercept else np.zeros((1, labels.shape[1]))
    scores = X @ W + np.ones((len(X), 1)) @ b
    value = solve(cp.Problem(cp.Minimize(loss(scores, labels, weights) + penalty(W))))
    return value, W.value, b.value if intercept else b


def finite_difference(function, x, step=1e-6):
    """Central differences of a scalar function of a float64 tensor."""
    gradient = torch.zeros_like(x)
    for i in range(x.numel()):
        shift = torch.zeros_like(x).reshape(-1)
        shift[i] = step
        shift = shift.reshape(x.shape)
        gradient.reshape(-1)[i] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient
