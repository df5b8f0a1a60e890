"""Regressors, and data of which they can learn something."""

import numpy as np

import proxmtl as pm

PLAIN = [
    pm.SingleTaskRegressor(),
    pm.SharedPlusOwnRegressor(),
    pm.LatentMTLRegressor(max_passes=50),
    pm.LatentMTLRegressor(max_passes=50, own_strength=0.01),
]
SMALL = {"cv": 3, "random_state": 0}
SEARCHES = [pm.SingleTaskRegressorCV, pm.SharedPlusOwnRegressorCV, pm.LatentMTLRegressorCV]
ALL = [*PLAIN, *(kind(**SMALL) for kind in SEARCHES)]
UNITS = 10.0 ** np.array([-3, 0, 2, 1, -1])


def planted(n=60, d=8, m=5, *, rank=None, noise=0.5, seed=0):
    """Labels in units of their own, linear in features, on ``rank`` directions."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d) + 3
    W = rng.normal(size=(d, m))
    if rank is not None:
        W = rng.normal(size=(d, rank)) @ rng.normal(size=(rank, m)) / np.sqrt(rank)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    Y = Z @ W / np.sqrt(d) + noise * rng.normal(size=(n, m))
    return X, UNITS[np.arange(m) % 5] * Y + 100 * np.arange(m)


def hidden(Y, share, seed=0):
    Y = Y.copy()
    Y[np.random.default_rng(seed).random(Y.shape) >= share] = np.nan
    return Y
