"""The table of baselines: what each row poses, and that its estimator solves just that."""

import re

import cvxpy as cp
import numpy as np
import pytest
import torch
from oracles import LOSS_EXPRESSIONS, norm_expression, optimum
from sklearn.linear_model import LogisticRegression, Ridge
from strategies import classification

import proxmtl as pm
from proxmtl.estimators import (
    GOMTLClassifier,
    GroupLassoClassifier,
    L21Classifier,
    LassoClassifier,
    RidgeMTLClassifier,
    baseline_estimator,
)
from proxmtl.experiments import compare, random_splits

D, M = 5, 4
GROUPS = pm.Groups.from_lists([[0, 1], [2, 3]], weights=[1.0, 2.0])
FREE = [name for name, row in pm.BASELINES.items() if row.decomposition == "free"]
FACTORED = [name for name, row in pm.BASELINES.items() if row.decomposition == "factored"]

# the penalties once more, from the paper's table and not from the library
PENALTIES = {
    "s-extract": cp.sum_squares,
    "ridge": cp.sum_squares,
    "logistic-ridge": cp.sum_squares,
    "lasso": lambda W: cp.sum(cp.abs(W)),
    "l21": lambda W: sum(cp.norm(W[d], 2) for d in range(D)),
    "decorrelated": lambda W: sum(norm_expression(W[d], GROUPS, 1.0) for d in range(D)),
}


@pytest.fixture(scope="module")
def data():
    X, Y = classification(50, D, M, missing=0.2, shift=0.2)
    return X, Y


def test_the_table_is_keyed_by_name():
    assert all(name == row.name for name, row in pm.BASELINES.items())
    assert set(FREE) == set(PENALTIES)
    assert set(FACTORED) == {"go-mtl", "m-extract", "mg-extract"}


@pytest.mark.parametrize("name", FREE)
def test_free_rows_reach_the_optimum_of_cvxpy(data, name):
    X, Y = data
    row, t = pm.BASELINES[name], pm.Targets.from_labels(Y)
    problem = row.problem(pm.SharedDesign(X, intercept=True), t, GROUPS, strength=0.7)
    result = pm.minimize(problem, stop=pm.RelativeGap(1e-10, every=20) | pm.MaxIterations(10_000))
    best = optimum(
        X,
        t.labels,
        t.weights,
        lambda W: 0.7 * PENALTIES[name](W),
        intercept=True,
        loss=LOSS_EXPRESSIONS[type(row.loss).__name__](row.loss),
    )[0]
    assert result.status.ok
    assert result.certificate.objective == pytest.approx(best, rel=1e-8)


@pytest.mark.parametrize("name", FREE)
def test_estimators_solve_the_problem_of_their_row(data, name):
    X, Y = data
    key = "l2_strength" if name == "s-extract" else "strength"
    model = baseline_estimator(
        name, GROUPS, standardize=False, reduction="sum", tol=1e-10, **{key: 0.7}
    ).fit(X.numpy(), Y.numpy())
    problem = pm.BASELINES[name].problem(
        pm.SharedDesign(X, intercept=True), pm.Targets.from_labels(Y), GROUPS, strength=0.7
    )
    expected = pm.minimize(problem, stop=pm.RelativeGap(1e-10) | pm.MaxIterations(10_000))
    point = torch.cat([torch.tensor(model.coef_.T.copy()), torch.tensor(model.intercept_)[None]])
    assert float(problem.objective(point)) == pytest.approx(
        expected.certificate.objective, rel=1e-9
    )
    assert model.result_.certificate.relative_gap <= 1e-10


@pytest.mark.parametrize("name", FACTORED)
def test_factored_rows_pose_their_objective(data, name):
    X, Y = data
    row, t = pm.BASELINES[name], pm.Targets.from_labels(Y)
    generator = torch.Generator().manual_seed(0)
    L = torch.randn(D, 3, generator=generator, dtype=torch.float64)
    S = torch.randn(3, M, generator=generator, dtype=torch.float64)
    l1 = 0.0 if name == "go-mtl" else 0.2
    problem = row.problem(
        pm.SharedDesign(X), t, GROUPS, strength=0.5, l1_strength=l1, frobenius_strength=0.3
    )
    assert isinstance(problem, pm.LatentProblem)
    of_s = S.abs().sum()
    if name == "mg-extract":
        of_s = S[:, :2].norm(dim=1).sum() + 2 * S[:, 2:].norm(dim=1).sum()
    loss = row.loss.value(X @ L @ S, t.labels, t.weights)
    expected = loss + 0.5 * of_s + l1 * L.abs().sum() + 0.3 * L.square().sum()
    assert float(problem.objective((L, S))) == pytest.approx(float(expected), rel=1e-12)


def test_go_mtl_solves_its_row(data):
    X, Y = data
    model = GOMTLClassifier(
        n_latents=2, strength=0.02, frobenius_strength=0.01, standardize=False, max_passes=400
    ).fit(X.numpy(), Y.numpy())
    problem = pm.BASELINES["go-mtl"].problem(
        pm.SharedDesign(X, intercept=True),
        pm.Targets.from_labels(Y, reduction="task_mean"),
        strength=0.02,
        frobenius_strength=0.01,
    )
    assert isinstance(model.result_, pm.LatentResult)
    factors = tuple(map(torch.tensor, (model.L_, model.S_, model.intercept_)))
    objective = float(problem.objective(factors))
    assert objective == pytest.approx(model.result_.certificate.objective, rel=1e-9)
    assert problem.certificate(factors).relative_kkt < 1e-2
    assert model.L_.shape == (D, 2)


def test_lasso_and_ridge_are_those_of_scikit_learn(data):
    X, Y = data[0].numpy(), data[1][:, 0].numpy()
    known = ~np.isnan(Y)
    X, Y = X[known], Y[known]
    options = {"standardize": False, "reduction": "sum", "tol": 1e-13}
    ours = LassoClassifier(strength=4.0, fit_intercept=False, **options).fit(X, Y)
    theirs = LogisticRegression(
        l1_ratio=1.0, C=1 / 4.0, solver="liblinear", fit_intercept=False, tol=1e-10, max_iter=10_000
    ).fit(X, Y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)
    assert (ours.coef_ == 0).any()
    ours = RidgeMTLClassifier(strength=1.5, **options).fit(X, Y)
    theirs = Ridge(alpha=3.0).fit(X, Y)  # theirs has no 1/2 in the loss
    np.testing.assert_allclose(ours.coef_[0], theirs.coef_, rtol=1e-6)
    np.testing.assert_allclose(ours.intercept_[0], theirs.intercept_, rtol=1e-6)


def test_zeros_are_of_features_of_groups_and_of_numbers(data):
    X, Y = (part.numpy() for part in data)
    shared = L21Classifier(strength=0.3).fit(X, Y).coef_ != 0
    assert 0 < shared.any(axis=0).sum() < D
    np.testing.assert_array_equal(shared.all(axis=0), shared.any(axis=0))
    model = GroupLassoClassifier(groups=[[0, 1], [2, 3]], strength=0.2).fit(X, Y)
    grouped = model.coef_ != 0
    for rows in ([0, 1], [2, 3]):
        np.testing.assert_array_equal(grouped[rows].all(axis=0), grouped[rows].any(axis=0))
    assert len(np.unique(grouped, axis=0)) == 2  # and the groups differ


def test_group_lasso_is_between_lasso_and_all_sharing(data):
    X, Y = (part.numpy() for part in data)
    options = {"strength": 0.05, "tol": 1e-12}
    alone = GroupLassoClassifier(groups=None, **options).fit(X, Y)
    np.testing.assert_allclose(
        alone.coef_, LassoClassifier(**options).fit(X, Y).coef_, rtol=1e-4, atol=1e-6
    )
    together = GroupLassoClassifier(groups=[list(range(M))], **options).fit(X, Y)
    np.testing.assert_allclose(
        together.coef_, L21Classifier(**options).fit(X, Y).coef_, rtol=1e-4, atol=1e-6
    )
    chain = GroupLassoClassifier(groups=[[0, 1], [1, 2, 3]], strength=0.05, tol=1e-5).fit(X, Y)
    assert chain.result_.status.ok


def test_comparisons_of_baselines(data):
    X, Y = (part.numpy() for part in data)
    splits = random_splits(len(X), 1, 0.3, 0, Y=Y)
    groups = {"a": ["p", "q"], "b": ["r", "s"]}
    found = compare(
        {
            "all": baseline_estimator("l21"),
            "grouped": baseline_estimator("decorrelated", groups, label_names=list("pqrs")),
            "own": LassoClassifier(strength=0.1),
        },
        X,
        Y,
        groups,
        list("pqrs"),
        splits,
    )
    kinds = [type(fit.estimator) for fit in found.fits]
    assert kinds == [L21Classifier, GroupLassoClassifier, LassoClassifier]
    assert found.fits[1].estimator.groups_.names == ("a", "b")
    assert {fit.report["status"] for fit in found.fits} == {"CONVERGED"}
    with pytest.raises(ValueError, match="baseline: got 'ridge-2'; use 's-extract'"):
        baseline_estimator("ridge-2")


def _pose(name, groups=None, **strengths):
    X, Y = classification(10, D, M)
    return pm.BASELINES[name].problem(
        pm.SharedDesign(X), pm.Targets.from_labels(Y), groups, **strengths
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: baseline_estimator("decorrelated"), "decorrelated needs groups of attributes"),
        (lambda: baseline_estimator("mg-extract"), "mg-extract needs groups of attributes"),
        (lambda: _pose("decorrelated", strength=1.0), "decorrelated needs groups of tasks"),
        (lambda: _pose("lasso", strength=1.0, l1_strength=1.0), "lasso has no such penalty"),
        (
            lambda: _pose("go-mtl", strength=1.0, l1_strength=1.0, frobenius_strength=1.0),
            "go-mtl has no such penalty",
        ),
        (
            lambda: LassoClassifier(strength=0.0).fit(np.eye(4), [0, 1, 0, 1]),
            "strength: got 0.0; the penalty needs a positive one",
        ),
        (
            lambda: L21Classifier(loss="hinge").fit(np.eye(4), [0, 1, 0, 1]),
            "loss: got 'hinge'; use 'squared_hinge', 'logistic'",
        ),
        (
            lambda: L21Classifier(loss=["logistic"]).fit(np.eye(4), [0, 1, 0, 1]),
            "loss: got ['logistic']; an estimator takes the name of one: 'squared_hinge'",
        ),
    ],
)
def test_what_a_row_does_not_have_is_refused(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_a_factored_row_has_no_penalty_on_w():
    with pytest.raises(pm.UnsupportedError, match="on the factors of W"):
        pm.BASELINES["go-mtl"].regularizer(M, 1.0)
