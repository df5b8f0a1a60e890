"""The rows of the tables: small functions on the public estimators, each with its grid.

Every grid is of the same size or a smaller one for models that take longer; no grid was chosen by
scores of test parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from proxmtl.backbones.experiments.catalogue import TRAINED, rows_of
from proxmtl.backbones.experiments.descriptors import DESCRIPTORS
from proxmtl.backbones.experiments.end_to_end import PLANS, end_to_end
from proxmtl.backbones.experiments.pairwise import PairwiseField
from proxmtl.backbones.experiments.protocol import Array, Fitted, Part, System
from proxmtl.backbones.experiments.selection import OneByOne, searched, tuned
from proxmtl.estimators import (
    LatentMTLClassifier,
    LatentMTLClassifierCV,
    SharedPlusOwnClassifier,
    SharedPlusOwnClassifierCV,
    SingleTaskClassifierCV,
    baseline_estimator,
)
from proxmtl.groups import Groups
from proxmtl.numerics import column_moments

__all__ = [
    "PAIRS",
    "TRAINED_PAIRS",
    "UNSEEN_PAIRS",
    "systems_of",
]

Computed = tuple[Callable[[Part], Fitted], Mapping[str, Any]]

LOGISTIC_CN = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""C of scikit-learn times the number of labels: with fewer of them it is the same penalty."""
SVM_CN = (0.3, 1.0, 3.0)
HAND_MADE_CN = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FIELD_CN, PAIRS_CN = (3.0, 30.0), (1.0, 10.0, 100.0)
"""Of the attributes alone, and of pairs."""
STRENGTHS = {
    "ridge": (10.0, 3.0, 1.0, 0.3, 0.1, 0.03),
    "lasso": (3e-2, 1e-2, 3e-3, 1e-3, 3e-4),
    "l21": (1e-1, 3e-2, 1e-2, 3e-3, 1e-3),
    "decorrelated": (1e-1, 3e-2, 1e-2, 3e-3, 1e-3),
}
SHARED = (0.3, 0.1, 0.03)
"""Of the critical strength, at which a first latent task no longer pays."""
GAMMAS, LAMBDAS = (1.0, 1e-1, 1e-2, 1e-3), (10.0, 1.0, 1e-1, 1e-2, 1e-3)
"""Of the bilinear row."""
BOTH = (0.7, 0.5, 0.3, 0.17, 0.1), (10.0, 3.0, 1.0, 0.3, 0.1)
"""Of a surface: what is shared, and own parts, in units of the estimator."""
PAPERS = (0.02, 0.006, 0.002, 0.0006), (0.0, 6e-5, 2e-4, 6e-4, 2e-3, 6e-3)
"""Of a surface: the paper's mu = lambda, and its gamma, in units of the loss."""
NO_OWN_PARTS = 1e6
FIT: dict[str, Any] = {"max_passes": 100, "tol": 1e-3}


def _peer(
    kind: type, grid: Sequence[float], options: Mapping[str, Any], part: Part, unit: float = 1.0
) -> Fitted:
    """An estimator of scikit-learn for each attribute, each with its own C, in a unit."""

    def make(given: Part, CN: float) -> OneByOne:
        return OneByOne(partial(_alone, kind, options, given.standardize, CN * unit))

    return searched(part, make, [{"CN": cn} for cn in grid], each=True)


def _alone(kind: type, options: Mapping[str, Any], standardize: bool, CN: float, n: int) -> Any:
    """An estimator of scikit-learn for one attribute with n labels."""
    return make_pipeline(StandardScaler(with_std=standardize), kind(C=CN / n, **options))


def _as_given(part: Part) -> Fitted:
    """scikit-learn's logistic regressions on centred features; C over their mean variance."""
    variance = np.square(column_moments(part.X[part.refit]).std.numpy()).mean()
    centred = replace(part, standardize=False)
    return _peer(LogisticRegression, LOGISTIC_CN, _LOGISTIC, centred, unit=1 / variance)


def _hand_made(part: Part) -> Fitted:
    """Scaled by one number: the rare entries of histograms, each by its own, would be noise."""
    return _peer(LinearSVC, HAND_MADE_CN, _DUAL_SVM, replace(part, standardize=False))


def _field(part: Part) -> Fitted:
    """Pairs of attributes on the scores of logistic regressions."""

    def make(given: Part, CN: float, pairs_CN: float) -> PairwiseField:
        alone = partial(_alone, LogisticRegression, _LOGISTIC, given.standardize, CN)
        return PairwiseField(alone, pairs_CN, given.seed)

    return searched(part, make, [{"CN": a, "pairs_CN": b} for b in PAIRS_CN for a in FIELD_CN])


def _convex(name: str, options: Mapping[str, Any], part: Part) -> Fitted:
    """A row of the baselines, its strength chosen."""

    def make(given: Part, **parameters: Any) -> Any:
        return baseline_estimator(
            name,
            given.groups,
            standardize=given.standardize,
            label_names=given.names,
            **options,
            **parameters,
        )

    return searched(part, make, [{"strength": s} for s in STRENGTHS[name]])


def _tuned(kind: Any, groups: str, options: Mapping[str, Any], part: Part) -> Fitted:
    """An estimator that searches by itself; features are scaled as for the other rows."""
    # unless the options say otherwise
    scaled: dict[str, Any] = {"standardize": part.standardize}
    if groups != "-":
        scaled |= {"groups": _groups(groups, part), "relevance": False}
    return tuned(
        part,
        kind(
            **(scaled | dict(options)),
            label_names=part.names,
            random_state=part.seed,
        ),
    )


def _latent(
    groups: str, options: Mapping[str, Any], grid: Sequence[Mapping[str, Any]], part: Part
) -> Fitted:
    """``W = L S``, without own parts unless a candidate says otherwise."""

    def make(given: Part, **parameters: Any) -> LatentMTLClassifier:
        return LatentMTLClassifier(
            groups=_groups(groups, given),
            standardize=given.standardize,
            label_names=given.names,
            random_state=given.seed,
            **{"own_strength": math.inf, **options, **parameters},
        )

    return searched(part, make, grid)


def _squared(part: Part) -> Fitted:
    """``W = L S`` with the squared norms of L and S, whose least sum is a trace norm of W."""

    def make(given: Part, **parameters: Any) -> SharedPlusOwnClassifier:
        return SharedPlusOwnClassifier(
            own_strength=NO_OWN_PARTS,
            loss="squared_hinge",
            standardize=given.standardize,
            label_names=given.names,
            **FIT,
            **parameters,
        )

    return searched(part, make, [{"shared_strength": a} for a in SHARED])


def _groups(which: str, part: Part) -> Any:
    """Groups by name: ``given``, ``shuffled``, ``one`` or ``singletons``."""
    if which == "one":
        return None
    if which == "singletons":
        return which
    lists = [part.groups.members(g) for g in range(len(part.groups))]
    if which == "shuffled":  # of the same sizes, with other members
        order = np.random.default_rng(part.seed).permutation(len(part.names)).tolist()
        lists = [[order[i] for i in members] for members in lists]
    return Groups.from_lists(lists, len(part.names))


def bilinear(gammas: Sequence[float], lambdas: Sequence[float], part: Part) -> Fitted:
    r"""Bilinear compatibility of features and signatures of classes, in closed form (ESZSL).

    .. math:: V = (X^\top X + \gamma I)^{-1} X^\top T \, S (S^\top S + \lambda I)^{-1} ,

    where T (n, Z) is 1 for the class of a row and -1 for others, and S (Z, M) has the signatures,
    each divided by its norm. A row is of the class with the largest :math:`x^\top V s_z`. The
    strengths and the table of signatures are chosen by the mean accuracy among the classes of each
    validation part. Strengths are relative to the mean eigenvalue of both matrices.

    References
    ----------
    Romera-Paredes and Torr, "An embarrassingly simple approach to zero-shot learning", 2015.
    """
    classes = part.classes
    if classes is None:
        raise ValueError("classes: a bilinear model needs the class of each row.")
    grid = [(name, g, w) for name in part.signatures for g in gammas for w in lambdas]
    found = np.zeros((len(part.parts), len(grid)))
    for fold, (train, rows) in enumerate(part.parts):
        candidates = np.unique(classes[rows])
        solved = {n: _bilinear_solution(part, train, n) for n in part.signatures}
        for number, (name, gamma, weight) in enumerate(grid):
            V, mean = solved[name](gamma, weight)
            scores = (part.X[rows] - mean) @ V @ _unit(part.signatures[name])[candidates].T
            right = candidates[scores.argmax(axis=1)] == classes[rows]
            found[fold, number] = np.mean([right[classes[rows] == c].mean() for c in candidates])
    log: list[dict[str, Any]] = [
        {"signatures": n, "gamma": g, "lambda": w, "accuracy": round(float(accuracy), 5)}
        for (n, g, w), accuracy in zip(grid, found.mean(axis=0), strict=True)
    ]
    best = max(log, key=lambda line: line["accuracy"])
    chosen = {key: best[key] for key in ("signatures", "gamma", "lambda")}
    solve = _bilinear_solution(part, part.refit, chosen["signatures"])
    V, mean = solve(chosen["gamma"], chosen["lambda"])

    def class_scores(X: Array, signatures: Mapping[str, Array]) -> Array:
        found: Array = (X - mean) @ V @ _unit(signatures[chosen["signatures"]]).T
        return found

    def log_odds(X: Array) -> Array:
        found: Array = (X - mean) @ V
        return found

    return Fitted(log_odds, chosen, log, {}, class_scores)


def _bilinear_solution(part: Part, rows: Array, name: str) -> Any:
    """Solutions (V, mean of X) for the rows by both strengths."""
    assert part.classes is not None
    X = part.X[rows].astype(np.float64)
    mean = column_moments(X).mean.numpy()
    X -= mean
    known, numbers = np.unique(part.classes[rows], return_inverse=True)
    T = np.where(np.arange(len(known)) == numbers[:, None], 1.0, -1.0)
    S = _unit(part.signatures[name])[known]
    values, vectors = np.linalg.eigh(X.T @ X)
    left = vectors.T @ (X.T @ (T @ S))
    gram = S.T @ S

    def solved(gamma: float, weight: float) -> tuple[Array, Array]:
        inverse = vectors / (values + gamma * values.mean())
        ridge = gram + weight * np.trace(gram) / len(gram) * np.eye(len(gram))
        return np.linalg.solve(ridge, (inverse @ left).T).T, mean

    return solved


def _unit(signatures: Array) -> Array:
    """Signatures divided by their norms."""
    norms = np.linalg.norm(signatures, axis=1, keepdims=True)
    found: Array = signatures / np.where(norms > 0, norms, 1.0)
    return found


_LOGISTIC = {"max_iter": 1000}
_SVM = {"dual": False, "tol": 1e-3}
_DUAL_SVM = {"dual": True, "tol": 1e-2, "max_iter": 3000, "random_state": 0}
_CONVEX = {"tol": 1e-3}


def _latent_system(groups: str, options: Mapping[str, Any]) -> Computed:
    grid = [{"shared_strength": a} for a in SHARED]
    how = {"shared_strength": SHARED, "groups": groups, **options}
    return partial(_latent, groups, options, grid), how


def _surface(axes: tuple[str, str], grid: Sequence[Mapping[str, Any]]) -> Computed:
    """The grouped row on a grid of two strengths, of which the page shows all scores."""
    how = {"surface": axes, "grid": grid, "groups": "given", **FIT}
    return partial(_latent, "given", FIT, grid), how


def _tuned_system(kind: Any, groups: str, **scaled: Any) -> Computed:
    options = {"max_passes": 200, **scaled}
    how = {"estimator": kind.__name__, "groups": groups, **options}
    return partial(_tuned, kind, groups, options), how


def _convex_system(name: str) -> Computed:
    return partial(_convex, name, _CONVEX), {"strength": STRENGTHS[name], **_CONVEX}


_COMPUTED: dict[str, Computed] = {
    "logistic": (
        partial(_peer, LogisticRegression, LOGISTIC_CN, _LOGISTIC),
        {"CN": LOGISTIC_CN, **_LOGISTIC},
    ),
    "as-given": (_as_given, {"CN": LOGISTIC_CN, "standardize": False, **_LOGISTIC}),
    "svm": (partial(_peer, LinearSVC, SVM_CN, _SVM), {"CN": SVM_CN, **_SVM}),
    "cf": (_hand_made, {"CN": HAND_MADE_CN, **_DUAL_SVM, "features": DESCRIPTORS}),
    "crf": (_field, {"CN": FIELD_CN, "pairs_CN": PAIRS_CN, **_LOGISTIC}),
    "single": _tuned_system(SingleTaskClassifierCV, "-"),
    **{name: _convex_system(name) for name in ("ridge", "lasso", "l21", "decorrelated")},
    "m": _latent_system("singletons", FIT),
    "mg": _latent_system("given", FIT),
    "paper": _latent_system("given", {"algorithm": "paper", **FIT}),
    "convex": _tuned_system(SharedPlusOwnClassifierCV, "one"),
    "auto": _tuned_system(SharedPlusOwnClassifierCV, "one", standardize="search", relevance=True),
    "own": _tuned_system(LatentMTLClassifierCV, "one"),
    "own-groups": _tuned_system(LatentMTLClassifierCV, "given"),
    "mg-shuffled": _latent_system("shuffled", FIT),
    "mg-one": _latent_system("one", FIT),
    "squared": (_squared, {"shared_strength": SHARED, "own_strength": NO_OWN_PARTS, **FIT}),
    "mg-palm": _latent_system("given", {"algorithm": "palm", **FIT}),
    **{f"mg-k{k}": _latent_system("given", {"n_latents": k, **FIT}) for k in (4, 8, 16)},
    "own-surface": _surface(
        ("shared_strength", "own_strength"),
        [{"shared_strength": a, "own_strength": b} for a in BOTH[0] for b in BOTH[1]],
    ),
    "mg-surface": _surface(
        ("group_strength", "l1_strength"),
        [
            {"group_strength": a, "frobenius_strength": a, "l1_strength": b}
            for a in PAPERS[0]
            for b in PAPERS[1]
        ],
    ),
    **{row.name: end_to_end(row.name) for row in TRAINED},
    "bilinear": (
        partial(bilinear, GAMMAS, LAMBDAS),
        {"gamma": GAMMAS, "lambda": LAMBDAS},
    ),
}
"""What each row of the catalogue learns with, and what that is configured by."""


def systems_of(table: str) -> tuple[System, ...]:
    """Systems of a table of the catalogue."""
    rows = rows_of(table)
    return tuple(
        System(row.name, row.title, *_COMPUTED[row.name], row.asked, row.features) for row in rows
    )


PAIRS = (
    ("m", "single"),
    ("mg", "single"),
    ("mg", "m"),
    ("convex", "single"),
    ("own", "single"),
    ("own-groups", "single"),
    ("own-groups", "own"),
    ("auto", "single"),
    ("auto", "logistic"),
    ("auto", "as-given"),
    ("single", "logistic"),
    ("crf", "logistic"),
    ("mg", "paper"),
)
"""Rows that are compared: what sharing gains, and what groups gain on top."""
TRAINED_PAIRS = tuple(
    (f"{a}-{plan}", f"{b}-{plan}")
    for plan in PLANS
    for a, b in (("m", "s"), ("mg", "s"), ("own", "s"), ("mg", "m"))
)
"""The same for rows that are trained end to end."""
UNSEEN_PAIRS = (
    ("convex", "single"),
    ("own", "single"),
    ("single", "ridge"),
    ("bilinear", "ridge"),
)
"""The same in tables of unseen classes."""
