"""Descents in the span of the rows, on gathered labels and on all features are the same."""

import numpy as np
import pytest
import torch
from arithmetic import half_the_digits

import proxmtl as pm
from proxmtl.latent.initial import rebalance
from proxmtl.latent.path import with_own_parts
from proxmtl.latent.singular import singular_penalty
from proxmtl.losses.intercept import best_intercept
from proxmtl.solvers.newton_cholesky import InFeatures as NewtonInFeatures
from proxmtl.solvers.newton_labels import OnLabels
from proxmtl.solvers.span_descent import Descent, penalty_at
from proxmtl.solvers.spans import InFeatures, InLabels, InRows, span_of

CLOSE = half_the_digits()


def drawn(n=40, d=60, *, known=0.4, intercept=True):
    """Problem of which a share of the labels is known, or that number of each task."""
    rng, m = np.random.default_rng(0), 5
    X = torch.from_numpy(rng.normal(size=(n, d)))
    Y = np.sign(rng.normal(size=(n, m)))
    if known < 1:
        Y[rng.random(Y.shape) >= known] = np.nan
    else:
        np.put_along_axis(Y, rng.random(Y.shape).argsort(axis=0)[known:], np.nan, axis=0)
    targets = pm.Targets.from_labels(Y, reduction="mean")
    return pm.Problem(pm.Logistic(), pm.SharedDesign(X, intercept=intercept), targets)


def start(problem, seed=1):
    rng = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(problem.zeros().shape, generator=rng, dtype=torch.float64)


def ended(span, penalty, x, iterations=25):
    state = Descent.start(span, penalty, span.at(x))
    for _ in range(iterations):
        state = state.advanced()
    return state


@pytest.mark.parametrize("kind", [InRows, InLabels])
@pytest.mark.parametrize(("intercept", "known"), [(True, 0.4), (False, 0.4), (True, 7)])
@pytest.mark.parametrize(
    "penalty",
    [
        pm.SharedPlusOwn(0.02, 0.5),
        pm.SharedPlusOwn(0.02, 0.5, pm.Groups.from_lists([[0, 2], [1, 4]], 5)),
    ],
    ids=["one", "groups"],
)
def test_a_descent_is_the_same_in_every_span(kind, intercept, known, penalty):
    problem = drawn(known=known, intercept=intercept)
    x = start(problem)
    plain, other = (ended(each(problem), penalty, x) for each in (InFeatures, kind))
    wanted = plain.span.parameter(plain.point)
    torch.testing.assert_close(other.span.parameter(other.point), wanted, **CLOSE)
    assert other.objective == pytest.approx(plain.objective, rel=CLOSE["rtol"])
    exact = float(problem.with_regularizers(penalty).objective(wanted))
    assert plain.objective == pytest.approx(exact, rel=CLOSE["rtol"])


def test_samples_of_each_task_span_as_one_matrix():
    rng = np.random.default_rng(3)
    parts = [torch.from_numpy(rng.normal(size=(n, 30))) for n in (6, 9, 7)]
    labels = [(-1.0) ** torch.arange(len(part), dtype=torch.float64) for part in parts]
    targets = pm.Targets.from_labels(labels, reduction="mean")
    problem = pm.Problem(pm.Logistic(), pm.TaskDesign(parts, intercept=True), targets)
    x = start(problem)
    penalty = pm.SharedPlusOwn(0.02, 0.5)
    plain, rows = (ended(each(problem), penalty, x) for each in (InFeatures, InRows))
    wanted = plain.span.parameter(plain.point)
    torch.testing.assert_close(rows.span.parameter(rows.point), wanted, **CLOSE)


@pytest.mark.parametrize(
    "penalty",
    [
        pm.SquaredFrobenius(0.3),
        pm.SharedPlusOwn(0.7, 0.4),
        pm.SharedPlusOwn(0.7, 0.4, pm.Groups.from_lists([[0, 2], [1, 4]], 6)),
    ],
)
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_a_factor_is_the_prox(penalty, step):
    W = 2 * torch.randn(9, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    P, value = penalty.factor(W.T @ W, step)
    torch.testing.assert_close(W @ P, penalty.prox(W, step)[0], **CLOSE)
    assert value == pytest.approx(float(penalty.value(W @ P)), rel=CLOSE["rtol"])
    if penalty.is_symmetric:
        Q, same = penalty.factor(W @ W.T, step)
        torch.testing.assert_close(Q @ W, W @ P, **CLOSE)
        assert same == pytest.approx(value, rel=CLOSE["rtol"])


def test_latents_of_one_group_cost_what_their_singular_values_do():
    problem = with_own_parts(drawn(), pm.Groups.single(5), 0.1, 0.4)
    penalty = singular_penalty(problem)
    size = torch.linspace(0.01, 3, 7, dtype=torch.float64)
    L = torch.zeros(60, 7, dtype=torch.float64)
    L[0] = size
    S = torch.full((7, 5), 5**-0.5, dtype=torch.float64)
    costs = problem.latent_penalties(*rebalance(problem, L, S))
    torch.testing.assert_close(costs, penalty.cost * size.pow(2 / 3), **CLOSE)
    groups = pm.Groups.from_lists([[0, 3, 4], [1, 2]])
    assert singular_penalty(with_own_parts(drawn(), groups, 0.1, 0.4)) is None


@pytest.mark.parametrize("step", [0.0, 0.7])
def test_what_latents_share_is_the_least_on_a_grid(step):
    penalty = singular_penalty(with_own_parts(drawn(), pm.Groups.single(5), 0.1, 0.4))
    s = torch.linspace(0, 4, 41, dtype=torch.float64)
    shrink = 1 + 2 * step * penalty.own
    grid = torch.linspace(0, 1, 20001, dtype=torch.float64)[:, None] * s

    def cost(a):
        return penalty.cost * a.pow(2 / 3) + penalty.own / shrink * (s - a).square()

    found = penalty.shared(s, penalty.own / shrink)
    assert bool((cost(found) <= cost(grid).amin(0) * (1 + 1e-12)).all())
    assert 0 < int((found > 0).sum()) < len(s)


def test_penalty_at_a_point_is_that_of_its_weights():
    problem, penalty = drawn(), pm.SharedPlusOwn(0.02, 0.5)
    x = start(problem)
    wanted = float(penalty.value(x[:-1]))
    for kind in (InFeatures, InRows):
        value = penalty_at(penalty, kind(problem).at(x))
        assert value == pytest.approx(wanted, rel=CLOSE["rtol"])


@pytest.mark.parametrize(("intercept", "known"), [(True, 0.3), (False, 0.3), (True, 27)])
def test_newton_steps_on_gathered_rows_are_those_on_all(intercept, known):
    problem = drawn(n=90, d=8, known=known, intercept=intercept)
    problem = problem.with_regularizers(pm.SquaredFrobenius(0.01))
    at, plain = (
        OnLabels.at_zero(problem),
        NewtonInFeatures(problem.zeros(), 0 * problem.targets.labels),
    )
    for _ in range(3):
        at, plain = at.step(problem), plain.step(problem)
        torch.testing.assert_close(at.point(problem)[0], plain.x, **CLOSE)
        assert at.objective(problem) == pytest.approx(plain.objective(problem), rel=CLOSE["rtol"])


def test_intercepts_of_few_real_labels_are_those_of_each_task():
    rng = np.random.default_rng(5)
    Y = rng.normal(size=(60, 4))
    Y[rng.random(Y.shape) >= 0.2] = np.nan
    found = best_intercept(pm.Squared(), pm.Targets.from_labels(Y, coding="real"))
    torch.testing.assert_close(found, torch.from_numpy(np.nanmean(Y, axis=0)), **CLOSE)


def test_losses_of_all_scores_of_a_sample_have_no_span():
    """Flat labels would be another loss."""
    X = drawn().design.X
    targets = pm.Targets.from_classes(torch.arange(len(X)) % 3, n_classes=3)
    problem = pm.Problem(pm.WestonWatkins(3), pm.SharedDesign(X), targets)
    with pytest.raises(pm.UnsupportedError, match="WestonWatkins couples"):
        span_of(problem)
