"""Batched L-BFGS: scikit-learn's objective, whatever the labels, weights and features are like."""

import numpy as np
import pytest
import torch
from arithmetic import gamma
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from strategies import classification

import proxmtl as pm
from proxmtl.designs import ShiftedDesign
from proxmtl.solvers.choice import choose
from proxmtl.solvers.sketched import RANK, Sketched

SHAPES = {"more rows": (150, 12), "more features": (40, 130)}


def posed(shape, *, loss=None, ridge=0.05, missing=0.3, dtype=torch.float64, change=None):
    X, Y = classification(*SHAPES[shape], 5, seed=3, missing=missing, shift=0.3)
    X = change(X) if change else X
    weight = torch.linspace(0.5, 2, len(X), dtype=X.dtype)
    t = pm.Targets.from_labels(Y, sample_weight=weight, like=X.to(dtype))
    design = pm.SharedDesign(X.to(dtype), intercept=True)
    return pm.Problem(loss or pm.Logistic(), design, t, pm.SquaredFrobenius(ridge))


def sklearn_objective(problem):
    """Of LogisticRegression, task by task on the labels that there are."""
    X, ridge, total = problem.design.X.double().numpy(), problem.ridge, 0.0
    for y, c in zip(
        problem.targets.labels.T.numpy(), problem.targets.weights.T.numpy(), strict=True
    ):
        kept = c > 0
        model = LogisticRegression(C=1 / (2 * ridge), tol=1e-10, max_iter=20000)
        model.fit(X[kept], y[kept], sample_weight=c[kept])
        losses = np.logaddexp(0, -y[kept] * model.decision_function(X[kept]))
        total += losses @ c[kept] + ridge * (model.coef_**2).sum()
    return total


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ridge", [50.0, 0.5, 0.005])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_objective_is_that_of_scikit_learn(shape, ridge, missing):
    problem = posed(shape, ridge=ridge, missing=missing)
    found = pm.minimize(problem, pm.LBFGS(), stop=pm.RelativeGap(1e-12) | pm.MaxIterations(500))
    assert found.status.ok, found
    assert found.certificate.objective == pytest.approx(sklearn_objective(problem), rel=1e-7)


@pytest.mark.parametrize(
    "change",
    [
        lambda X: torch.cat([X, X], 1),
        lambda X: torch.cat([X, torch.ones_like(X[:, :2])], 1),
        lambda X: torch.cat([X[:, :1].expand_as(X), 0 * X], 1),
        lambda X: 1e-4 * X + 3,
        lambda X: 1e6 * X,
    ],
    ids=["twice", "constant", "rank one", "far from zero", "large"],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_singular_and_badly_scaled_features_are_no_obstacle(change, shape):
    problem = posed(shape, change=change)
    found = pm.minimize(problem, pm.LBFGS(), stop=pm.RelativeGap(1e-8) | pm.MaxIterations(1500))
    assert found.status.ok, found
    exact = pm.minimize(problem, pm.NewtonCholesky(), stop=pm.RelativeGap(1e-10, every=1))
    assert exact.status.ok, exact
    apart = abs(found.certificate.objective - exact.certificate.objective)
    # gaps may be below the rounding of the objectives, sums of a positive term for each label
    rounding = 2 * gamma(problem.data.shape.numel(), torch.float64) * exact.certificate.objective
    assert apart <= found.certificate.gap + exact.certificate.gap + rounding


@pytest.mark.parametrize("loss", [pm.Logistic(), pm.SquaredHinge()])
@pytest.mark.parametrize("shape", SHAPES)
def test_float32_features_give_the_minimum_to_their_precision(shape, loss):
    best = pm.minimize(posed(shape, loss=loss), pm.LBFGS(), stop=pm.RelativeGap(1e-10))
    found = pm.minimize(
        posed(shape, loss=loss, dtype=torch.float32),
        pm.LBFGS(tolerance=1e-5),
        stop=pm.MaxIterations(300),
    )
    assert found.solution.dtype == torch.float32
    assert found.certificate.objective == pytest.approx(best.certificate.objective, rel=1e-5)


@pytest.mark.parametrize("loss", [pm.Logistic(), pm.SquaredHinge()])
@pytest.mark.parametrize("solver", [pm.LBFGS(), pm.LBFGS(tolerance=1e-6), pm.NewtonCholesky()])
@pytest.mark.parametrize("size", [1e2, 1e6, 1e100])
def test_a_start_of_saturated_scores_is_left(loss, solver, size):
    """The logistic curvature is zero to rounding there."""
    problem = posed("more rows", loss=loss, missing=0.0)
    start = torch.randn(problem.zeros().shape, generator=torch.Generator().manual_seed(0))
    start = size * start.double() / start.abs().max()
    found = pm.minimize(
        problem, solver, x0=start, stop=pm.RelativeGap(1e-6, every=5) | pm.MaxIterations(500)
    )
    assert found.status.ok, found


DESIGNS = {
    "csr": lambda X, _, intercept: pm.SharedDesign(csr_matrix(X.numpy()), intercept=intercept),
    "shifted": lambda X, origin, intercept: ShiftedDesign(X, origin, intercept=intercept),
    "shifted csr": lambda X, origin, intercept: ShiftedDesign(
        csr_matrix(X.numpy()), origin, intercept=intercept
    ),
}


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", DESIGNS)
def test_sparse_and_shifted_features_have_the_minimum_of_dense_ones(
    kind, shape, missing, intercept
):
    X, Y = classification(*SHAPES[shape], 5, seed=3, missing=missing, shift=0.3)
    X = torch.where(X > 0.5, X, 0.0)
    origin = X.mean(0) + 0.1 if kind.startswith("shifted") else torch.zeros_like(X[0])
    t = pm.Targets.from_labels(Y, like=X)
    dense, other = (
        pm.Problem(pm.Logistic(), design, t, pm.SquaredFrobenius(0.05))
        for design in (
            pm.SharedDesign(X - origin, intercept=intercept),
            DESIGNS[kind](X, origin, intercept),
        )
    )
    exact = pm.minimize(dense, pm.NewtonCholesky(), stop=pm.RelativeGap(1e-12, every=1))
    found = pm.minimize(other, pm.LBFGS(), stop=pm.RelativeGap(1e-10) | pm.MaxIterations(500))
    assert exact.status.ok, exact
    assert found.status.ok, found
    best = exact.certificate.objective
    rounding = 2 * gamma(Y.numel() + X.numel(), torch.float64) * best
    allowed = found.certificate.gap + exact.certificate.gap + rounding
    assert abs(found.certificate.objective - best) <= allowed
    # the objective is 2 ridge-strongly convex in the weights
    apart = (other.design.split(found.solution)[0] - dense.design.split(exact.solution)[0]).norm()
    assert float(apart) <= 2 * (allowed / 0.05) ** 0.5


LARGE = {
    "float64": lambda X: 1e150 * X,
    "float32": lambda X: (1e30 * X).float(),
    "constant": lambda X: torch.full_like(X, 1e150),
    "csr": lambda X: csr_matrix((1e150 * X).numpy()),
}


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", LARGE)
def test_features_whose_squares_overflow_are_descended_on(kind, intercept):
    """The ridge is nothing beside them, and the gap's scale is out of the working precision."""
    X, Y = classification(*SHAPES["more rows"], 5, seed=3, shift=0.3)
    ends = []
    for features in (LARGE[kind](X), torch.ones_like(X) if kind == "constant" else X):
        design = pm.SharedDesign(features, intercept=intercept)
        t = pm.Targets.from_labels(Y).to(design.dtype)
        ridge = 1.0 if len(ends) == 0 else 1e-9
        problem = pm.Problem(pm.Logistic(), design, t, pm.SquaredFrobenius(ridge))
        ends.append(pm.minimize(problem, pm.LBFGS(), stop=pm.MaxIterations(40)))
    found, near = (end.certificate.objective for end in ends)
    assert ends[0].status is not pm.Status.DIVERGED
    assert found == pytest.approx(near, rel=1e-6)


@pytest.mark.parametrize("factor", [2.0**60, 2.0**-60])
@pytest.mark.parametrize("kind", ["dense", "csr", "shifted"])
@pytest.mark.parametrize("intercept", [True, False])
def test_features_of_another_size_take_the_same_path(factor, kind, intercept):
    X, Y = classification(*SHAPES["more rows"], 5, seed=3, missing=0.3)
    solutions = []
    for s in (1.0, factor):
        kinds = {
            "dense": lambda s: pm.SharedDesign(s * X, intercept=intercept),
            "csr": lambda s: DESIGNS["csr"](s * X, None, intercept),
            "shifted": lambda s: DESIGNS["shifted"](s * X, s * X.mean(0), intercept),
        }
        design = kinds[kind](s)
        t = pm.Targets.from_labels(Y)
        problem = pm.Problem(pm.Logistic(), design, t, pm.SquaredFrobenius(0.05 * s * s))
        found = pm.minimize(problem, pm.LBFGS(), stop=pm.MaxIterations(8))
        solutions.append(s * design.split(found.solution)[0])
    # the working precision has the same numbers, but for what is added to keep them normal
    torch.testing.assert_close(solutions[1], solutions[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", [pm.Logistic(), pm.SquaredHinge()])
@pytest.mark.parametrize(("size", "ridge"), [(1.0, 1e-20), (1e-30, 5e-61), (1e-30, 5.0)])
def test_ridges_of_any_size_are_no_end_of_float32(loss, size, ridge):
    X, Y = classification(600, 20, 3, seed=3, shift=0.3)
    ends = []
    for dtype in (torch.float64, torch.float32):
        # float32 features are what they are in float64 too
        features = (size * X.float()).to(dtype)
        t = pm.Targets.from_labels(Y, like=features)
        problem = pm.Problem(
            loss, pm.SharedDesign(features, intercept=True), t, pm.SquaredFrobenius(ridge)
        )
        ends.append(
            pm.minimize(problem, pm.LBFGS(), stop=pm.RelativeGap(1e-6) | pm.MaxIterations(100))
        )
    best, found = ends
    assert best.status.ok
    assert found.status in {pm.Status.CONVERGED, pm.Status.STALLED, pm.Status.BUDGET}
    assert found.certificate.objective == pytest.approx(best.certificate.objective, rel=1e-6)


def test_tasks_rest_at_their_gap_and_cost_no_more_products():
    problem = posed("more rows", ridge=0.005)
    together = pm.minimize(problem, pm.LBFGS(), stop=pm.RelativeGap(1e-6, every=1))
    rested = pm.minimize(problem, pm.LBFGS(tolerance=1e-6), stop=pm.RelativeGap(1e-6, every=1000))
    assert rested.status.ok
    assert rested.passes < together.passes + 1
    assert rested.passes < rested.iterations  # an iteration of all tasks is a pass


def test_a_run_goes_on_where_all_tasks_rest_too_early():
    problem = posed("more rows")
    found = pm.minimize(problem, pm.LBFGS(tolerance=1e-2), stop=pm.RelativeGap(1e-9, every=1000))
    assert found.status.ok
    assert found.certificate.relative_gap <= 1e-9


def test_the_sketch_is_the_spectrum_where_it_is_as_wide_as_the_features():
    problem = posed("more rows")
    sketch = Sketched.of(problem)
    rows = problem.targets.weights.mean(1, keepdim=True)
    X = problem.design.X
    apart = X - (rows * X).sum(0) / rows.sum()
    gram = sketch.basis @ torch.diag(sketch.spectrum) @ sketch.basis.T
    torch.testing.assert_close(gram, apart.T @ (rows * apart), rtol=1e-6, atol=1e-6)


def test_it_is_chosen_for_a_ridge_that_exact_steps_are_too_dear_for():
    X, Y = classification(600, 500, 3, seed=1)
    t = pm.Targets.from_labels(Y.repeat(1, 4))
    many = pm.Problem(pm.Logistic(), pm.SharedDesign(X), t, pm.SquaredFrobenius(0.1))
    assert choose(many, tolerance=1e-3).solver == pm.LBFGS(tolerance=1e-3)
    assert isinstance(choose(posed("more features")).solver, pm.NewtonCholesky)
    assert isinstance(choose(many.with_regularizers(pm.L1(0.1))).solver, pm.FISTA)
    assert RANK < 500  # a sketch, not the spectrum
    assert pm.minimize(many).status.ok


def test_other_problems_are_told_what_is_missing():
    problem = posed("more rows")
    for words, other in {
        "only penalty": problem.with_regularizers(pm.L1(0.1)),
        "needs one": problem.with_regularizers([]),
    }.items():
        with pytest.raises(pm.UnsupportedError, match=words):
            pm.minimize(other, pm.LBFGS())
    for arguments in ({"tolerance": -1.0}, {"memory": 0}):
        with pytest.raises(ValueError, match=next(iter(arguments))):
            pm.LBFGS(**arguments)
