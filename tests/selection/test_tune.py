import itertools
import math

import pytest
import torch

import proxmtl as pm
from proxmtl.selection import tune, with_strengths
from proxmtl.selection.edges import EdgeWarning
from proxmtl.selection.strengths import geometric
from proxmtl.selection.trust_region import TrustRegion


def clustered(seed, n=80, d=60, m=3):
    """Training problem and validation loss: a few features of correlated clusters matter."""
    g = torch.Generator().manual_seed(seed)
    clusters = torch.randn(2 * n, d // 5, generator=g, dtype=torch.float64)
    own = torch.randn(2 * n, d, generator=g, dtype=torch.float64)
    X = clusters.repeat_interleave(5, 1) + 0.5 * own
    W = torch.zeros(d, m, dtype=torch.float64)
    W[:10] = torch.randn(10, m, generator=g, dtype=torch.float64)
    noise = torch.randn(2 * n, m, generator=g, dtype=torch.float64)
    Y = torch.sign((X @ W) / (X @ W).std() + 0.7 * noise)
    train, held = (pm.SharedDesign(part, intercept=True) for part in (X[:n], X[n:]))
    labels, held_labels = (
        pm.Targets.from_labels(part, reduction="mean") for part in (Y[:n], Y[n:])
    )
    penalties = [pm.L1(1e-2), pm.SquaredFrobenius(1e-2)]
    return pm.Problem(pm.Logistic(), train, labels, penalties), pm.Problem(
        pm.Logistic(), held, held_labels
    )


def grid(train, held, size):
    critical, before, best = train.critical_strength(), train.counts.passes, math.inf
    for ridge in geometric(1.0, 1e-4, size):
        W = None
        for strength in geometric(0.9 * critical, 1e-3 * critical, size):
            stop = pm.RelativeGap(1e-4, every=5) | pm.MaxIterations(2000)
            W = pm.minimize(with_strengths(train, [strength, ridge]), x0=W, stop=stop).solution
            best = min(best, float(held.objective(W)))
    return best, train.counts.passes - before


def test_it_beats_a_grid_at_equal_budget():
    train, held = clustered(0)
    lowest, passes = grid(train, held, 6)
    start = [0.03 * train.critical_strength(), 1e-2]
    tuned = tune(train, held.smooth_value_and_grad, start, max_passes=passes)
    assert tuned.value < lowest
    assert tuned.passes < 1.1 * passes
    # the value is that of the returned solution at the returned strengths
    assert float(held.objective(tuned.result.solution)) == pytest.approx(tuned.value, rel=1e-9)
    accurate = pm.minimize(with_strengths(train, tuned.strengths), stop=pm.RelativeGap(1e-9))
    assert float(held.objective(accurate.solution)) == pytest.approx(tuned.value, rel=2e-3)
    assert float(held.objective(accurate.solution)) < lowest


def test_one_strength_is_tuned_to_its_minimum():
    train, held = clustered(3)
    ridge = train.with_regularizers(pm.SquaredFrobenius(5.0))
    tuned = tune(ridge, held.smooth_value_and_grad, restarts=0)
    assert tuned.reason == "no step promises a gain"
    scanned = [
        (float(held.objective(pm.minimize(with_strengths(ridge, s)).solution)), s)
        for s in geometric(1e-4, 10.0, 26)
    ]
    value, strength = min(scanned)
    assert 1e-4 < strength < 10.0
    assert tuned.value <= value * (1 + 1e-4)
    assert abs(math.log(tuned.strengths[0] / strength)) < 0.5
    best = min(tuned.trials, key=lambda trial: trial.value)
    assert abs(best.gradient[0]) < 0.05 * abs(tuned.trials[0].gradient[0])


def test_the_table_holds_every_trial():
    train, held = clustered(1)
    seen = []
    tuned = tune(train, held.smooth_value_and_grad, max_trials=5, callback=seen.append)
    assert seen == tuned.trials
    assert list(tuned.table["value"]) == [trial.value for trial in seen]
    assert list(tuned.table.columns[:2]) == ["strength_0", "strength_1"]
    assert list(tuned.table["tol"]) == [trial.accuracy for trial in seen]
    assert len(seen) == 5
    assert "5 trials" in tuned.reason
    assert tuned.value == min(trial.value for trial in seen)
    assert all(a.passes < b.passes for a, b in itertools.pairwise(seen))
    assert seen[0].strengths == pytest.approx((1e-2, 1e-2))
    stopped = tune(train, held.smooth_value_and_grad, callback=lambda trial: True)  # noqa: ARG005
    assert len(stopped.trials) == 1
    assert "callback" in stopped.reason


def test_a_budget_holds():
    train, held = clustered(1)
    with pytest.warns(EdgeWarning, match="the highest of 2 values tried"):  # on its way
        tuned = tune(train, held.smooth_value_and_grad, max_passes=60)
    assert "passes" in tuned.reason
    assert 50 < tuned.passes <= 60


def test_the_linear_system_ends_where_the_budget_does():
    """A slope that is less exact, rather than none and the end of the search."""
    train, held = clustered(1)
    start = [0.1 * train.critical_strength(), 1e-2]

    def first(max_passes):
        fresh, _ = clustered(1)
        options = {"max_passes": max_passes, "max_trials": 1, "restarts": 0}
        with pytest.warns(EdgeWarning):
            return tune(fresh, held.smooth_value_and_grad, start, **options).trials[0]

    whole = first(1e6)
    cut = first(whole.passes - 3)
    assert cut.passes < whole.passes
    assert any(cut.gradient)


def test_restarts_divide_one_strength_after_the_other_and_then_by_more():
    train, held = clustered(1)
    start = [0.1 * train.critical_strength(), 1e-2]
    options = {"max_passes": 1e6, "accuracy": 1e-2, "restarts": 4}
    tried = [t.strengths for t in tune(train, held.smooth_value_and_grad, start, **options).trials]
    for divisors in [(1, 1), (30, 1), (1, 30), (900, 1), (1, 900)]:
        wanted = [strength / divisor for strength, divisor in zip(start, divisors, strict=True)]
        assert any(each == pytest.approx(wanted, rel=1e-9) for each in tried), divisors


def test_a_start_above_the_critical_strength_comes_down():
    train, held = clustered(2)
    start = [5 * train.critical_strength(), 1e-3]
    tuned = tune(train, held.smooth_value_and_grad, start, max_passes=500)
    assert not any(tuned.trials[0].gradient)
    assert tuned.value < tuned.trials[0].value
    assert tuned.result.solution[:-1].any()
    with pytest.raises(pm.UnsupportedError, match="smaller strengths"):
        tune(train, held.smooth_value_and_grad, [1e12, 1e-3])


def test_bad_starts_are_refused():
    train, held = clustered(0)
    for strengths in ([1.0], [1.0, 0.0], [-1.0, 1.0]):
        with pytest.raises(ValueError, match="strengths"):
            tune(train, held.smooth_value_and_grad, strengths)
    with pytest.raises(ValueError, match="positive"):
        tune(train, held.smooth_value_and_grad, max_passes=0)


def test_a_criterion_that_is_not_finite_is_refused():
    train, held = clustered(0)

    def broken(value, slope):
        def criterion(W):
            right_value, right_slope = held.smooth_value_and_grad(W)
            return right_value * value, right_slope * slope

        return criterion

    for value, slope in ((math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="criterion: got the value"):
            tune(train, broken(value, slope))


# ------------------------------------------------------------------ the region itself


def descend(function, start, *, steps, **options):
    region = TrustRegion(1.0, gain=1e-12, least=1e-8, **options)
    point = torch.tensor(start, dtype=torch.float64)
    for count in range(steps):
        at = point.clone().requires_grad_()
        value = function(at)
        (gradient,) = torch.autograd.grad(value, at)
        region.tell(point, value.item(), gradient)
        proposed = region.propose()
        if proposed is None:
            return region, count
        point = proposed
    return region, steps


def test_the_region_finds_minima():
    bowl = torch.tensor([[3.0, 1.0], [1.0, 0.5]], dtype=torch.float64)
    region, steps = descend(lambda x: x @ bowl @ x / 2 + x.sum() + 7, [4.0, -9.0], steps=60)
    expected = torch.linalg.solve(bowl, -torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(region.point, expected, atol=1e-3, rtol=0)
    assert steps < 60
    region, _ = descend(
        lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 + 1, [-1.2, 1.0], steps=120
    )
    torch.testing.assert_close(region.point, torch.ones(2).double(), atol=1e-2, rtol=0)


def test_the_region_ends_where_there_is_no_slope():
    region = TrustRegion(1.0)
    region.tell(torch.zeros(2).double(), 3.0, torch.zeros(2).double())
    assert region.propose() is None
