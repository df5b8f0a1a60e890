"""The table of strengths in the docs, against scikit-learn itself."""

import numpy as np
import pytest
import torch
from sklearn import linear_model, svm

import proxmtl as pm

RANDOM = np.random.default_rng(3)
X = RANDOM.standard_normal((80, 7))
Z = X[:, :3] @ RANDOM.standard_normal((3, 2)) + 0.5 * RANDOM.standard_normal((80, 2))
Y = np.sign(Z)
N = len(X)


def ours(loss, labels, penalty, reduction="sum"):
    coding = "real" if isinstance(loss, pm.Squared) else "signs"
    targets = pm.Targets.from_labels(labels, coding=coding, reduction=reduction)
    problem = pm.Problem(loss, pm.SharedDesign(X), targets, penalty)
    result = pm.minimize(problem, stop=pm.RelativeGap(1e-12) | pm.MaxIterations(20_000))
    return result.solution.T.squeeze(0).numpy()


SQUARED, LOGISTIC, HINGE = pm.Squared(), pm.Logistic(), pm.SquaredHinge()
TIGHT = {"fit_intercept": False, "tol": 1e-10}
CASES = {
    "lasso": (
        linear_model.Lasso(0.05, **TIGHT),
        Z[:, :1],
        lambda: ours(SQUARED, Z[:, :1], pm.L1(0.05), "task_mean"),
    ),
    "lasso-sum": (
        linear_model.Lasso(0.05, **TIGHT),
        Z[:, :1],
        lambda: ours(SQUARED, Z[:, :1], pm.L1(N * 0.05)),
    ),
    "ridge": (
        linear_model.Ridge(3.0, fit_intercept=False),
        Z[:, :1],
        lambda: ours(SQUARED, Z[:, :1], pm.SquaredFrobenius(1.5)),
    ),
    "rows": (
        linear_model.MultiTaskLasso(0.1, **TIGHT),
        Z,
        lambda: ours(SQUARED, Z, pm.L21(0.1), "task_mean"),
    ),
    "logistic": (
        linear_model.LogisticRegression(C=0.5, **TIGHT),
        Y[:, :1],
        lambda: ours(LOGISTIC, Y[:, :1], pm.SquaredFrobenius(1.0)),
    ),
    "logistic-l1": (
        linear_model.LogisticRegression(
            C=0.5, l1_ratio=1.0, solver="saga", max_iter=50_000, fit_intercept=False, tol=1e-9
        ),
        Y[:, :1],
        lambda: ours(LOGISTIC, Y[:, :1], pm.L1(2.0)),
    ),
    "svc": (
        svm.LinearSVC(C=0.5, dual=False, **TIGHT),
        Y[:, :1],
        lambda: ours(HINGE, Y[:, :1], pm.SquaredFrobenius(0.5)),
    ),
    "svc-l1": (
        svm.LinearSVC(C=0.5, penalty="l1", dual=False, max_iter=50_000, **TIGHT),
        Y[:, :1],
        lambda: ours(HINGE, Y[:, :1], pm.L1(1.0)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_strengths_translate_as_the_docs_say(case):
    model, labels, solve = CASES[case]
    single = labels.shape[1] == 1
    coef = model.fit(X, labels[:, 0] if single else labels).coef_
    torch.testing.assert_close(
        torch.as_tensor(solve()), torch.as_tensor(coef.squeeze().copy()), rtol=1e-4, atol=1e-5
    )
