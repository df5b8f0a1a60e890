"""Each loss at points worked out by hand, its parameters, and where losses meet one another."""

import math

import cvxpy as cp
import numpy as np
import pytest
import torch
from oracles import LOSS_EXPRESSIONS, solve
from strategies import LOSS_FACTORIES

from proxmtl import Huber, Logistic, SmoothedHinge, Squared, SquaredHinge, WestonWatkins
from proxmtl.losses.circulation import circulation


def reals(*values):
    return torch.tensor(values, dtype=torch.float64)


def check(loss, z, y, *, value, slope, curvature):
    close = {"rtol": 1e-14, "atol": 1e-15}
    torch.testing.assert_close(loss.pointwise(z, y), reals(*value), **close)
    torch.testing.assert_close(loss.derivative(z, y), reals(*slope), **close)
    torch.testing.assert_close(loss.curvature(z, y), reals(*curvature), **close)


def test_squared_hinge():
    y, z = reals(1, 1, -1, -1), reals(0, 2, 0.5, -1)
    check(
        SquaredHinge(),
        z,
        y,
        value=[0.5, 0, 1.125, 0],
        slope=[-1, 0, 1.5, 0],
        curvature=[1, 0, 1, 0],
    )


def test_logistic():
    z, y = reals(0, math.log(3), math.log(3)), reals(1, 1, -1)
    value = [math.log(2), math.log(4 / 3), math.log(4)]
    check(
        Logistic(), z, y, value=value, slope=[-0.5, -0.25, 0.75], curvature=[0.25, 3 / 16, 3 / 16]
    )


def test_logistic_keeps_the_digits_of_losses_far_below_one():
    z = reals(40.0, 300.0)
    expected = torch.exp(-z)  # log(1 + x) = x here
    torch.testing.assert_close(Logistic().pointwise(z, torch.ones(2)), expected, rtol=1e-14, atol=0)
    slopes = Logistic().derivative(-z, -torch.ones(2))
    torch.testing.assert_close(slopes, expected, rtol=1e-14, atol=0)
    torch.testing.assert_close(Logistic().curvature(z, z), expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("start", [-30.0, -3.0, -0.2, 0.0, 0.7, 12.0])
@pytest.mark.parametrize(
    "move", [1e-7, -1e-3, 0.0249, 0.1, -0.0251, 0.179, -0.181, -0.49, 0.51, -2.0, 25.0]
)
def test_logistic_bregman_has_ten_digits(start, move):
    from decimal import Decimal, getcontext

    getcontext().prec = 60
    old, new = Decimal(start), Decimal(float(torch.tensor(start).double() + move))

    def phi(t):
        return (1 + (-t).exp()).ln()

    exact = phi(new) - phi(old) + (new - old) / (1 + old.exp())
    found = Logistic().bregman(reals(float(new)), reals(start), reals(1))
    assert float(found) == pytest.approx(float(exact), rel=1e-9, abs=0)
    found = Logistic().bregman(-reals(float(new)), -reals(start), reals(-1))
    assert float(found) == pytest.approx(float(exact), rel=1e-9, abs=0)


def test_logistic_bregman_of_short_and_long_moves_together_is_that_of_each():
    moves = reals(1e-6, -0.02, 0.15, 0.45, -0.6, 9.0)
    old, labels = torch.linspace(-4, 4, 6, dtype=torch.float64), torch.ones(6, dtype=torch.float64)
    together = Logistic().bregman_terms(old + moves, old, labels)
    alone = [
        Logistic().bregman_terms(z + d, z, labels[:1])
        for z, d in zip(old.split(1), moves.split(1), strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=0)
    assert len(Logistic().bregman_terms(old[:0], old[:0], labels[:0])) == 0


def test_squared():
    check(
        Squared(),
        reals(3, -1, 0),
        reals(1, -1, 2),
        value=[2, 0, 2],
        slope=[2, 0, -2],
        curvature=[1] * 3,
    )


def test_huber():
    z, y = reals(3, 0.5, -4, 1), reals(1, 0, 1, 1)
    check(Huber(2.0), z, y, value=[2, 0.125, 8, 0], slope=[2, 0.5, -2, 0], curvature=[0, 1, 0, 1])


def test_smoothed_hinge():
    z, y = reals(1, 0.75, 0, -0.5, 0.5), reals(1, 1, 1, 1, -1)
    check(
        SmoothedHinge(0.5),
        z,
        y,
        value=[0, 0.0625, 0.75, 1.25, 1.25],
        slope=[0, -0.5, -1, -1, 1],
        curvature=[0, 2, 0, 0, 0],
    )


def test_smoothed_hinge_is_below_the_hinge_by_at_most_half_its_width():
    t = torch.linspace(-3, 3, 601, dtype=torch.float64)
    hinge = torch.relu(1 - t)
    below = hinge - SmoothedHinge(0.2).pointwise(t, torch.ones_like(t))
    assert float(below.min()) >= -1e-15
    assert float(below.max()) == pytest.approx(0.1)


def test_huber_with_a_large_delta_is_the_squared_loss():
    z, y = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).double()
    for method in ("pointwise", "derivative", "curvature", "pointwise_conjugate"):
        ours, theirs = (getattr(loss, method)(z, y) for loss in (Huber(100.0), Squared()))
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-13)


def test_weston_watkins_by_hand():
    loss = WestonWatkins(3)
    z = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.5, -3.0]]).double()
    y = torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0]]).double()
    assert loss.pointwise(z, y).sum(1).tolist() == [1.0, 0.0]
    assert loss.derivative(z, y).tolist() == [[1.0, -2.0, 1.0], [0.0, 0.0, 0.0]]
    assert loss.curvature(z, y).tolist() == [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_weston_watkins_attains_its_curvature_bound(n_classes):
    loss, eye = WestonWatkins(n_classes), torch.eye(n_classes, dtype=torch.float64)
    z, y = torch.zeros(1, n_classes).double(), 2 * eye[:1] - 1
    columns = [loss.curvature_product(z, y, torch.ones_like(z), e[None])[0] for e in eye]
    spectrum = torch.linalg.eigvalsh(torch.stack(columns))
    assert float(spectrum[-1]) == pytest.approx(loss.curvature_bound, rel=1e-12)


def test_two_classes_are_a_squared_hinge_of_the_difference():
    z = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    y = torch.where(z[:, :1] + 0.3 > 0, 1.0, -1.0).double() * torch.tensor([1.0, -1.0]).double()
    hinge = SquaredHinge().value(z[:, 0] - z[:, 1], y[:, 0])
    assert float(WestonWatkins(2).value(z, y)) == pytest.approx(float(hinge), rel=1e-13)


@pytest.mark.parametrize("seed", range(8))
def test_conjugate_of_weston_watkins_is_the_supremum_of_cvxpy(seed):
    generator = np.random.default_rng(seed)
    dual, y = np.abs(generator.normal(size=(1, 4))), -np.ones((1, 4))
    own = seed % 4
    y[0, own], dual[0, own] = 1, 0
    dual[0, own] = -dual.sum()
    z = cp.Variable((1, 4))
    loss = LOSS_EXPRESSIONS["WestonWatkins"](None)(z, y, np.ones((1, 4)))
    best = -solve(cp.Problem(cp.Minimize(loss - cp.sum(cp.multiply(dual, z)))))
    y, dual = torch.tensor(y), torch.tensor(dual)
    ones = torch.ones_like(y)
    assert float(WestonWatkins(4).conjugate(dual, y, ones)) == pytest.approx(best, abs=1e-8)
    for column, change in ((own, -1e-6), (1 - min(own, 1), -10.0)):  # unbalanced, then negative too
        moved = dual.clone()
        moved[0, column] += change
        assert float(WestonWatkins(4).conjugate(moved, y, ones)) == math.inf


@pytest.mark.parametrize("seed", range(6))
def test_circulations_conserve_and_are_left_alone(seed):
    generator = torch.Generator().manual_seed(seed)
    flows = torch.rand(5, 5, generator=generator, dtype=torch.float64)
    flows = flows.where(torch.rand(5, 5, generator=generator) < 0.6, 0.0) ** 3
    moved = flows * circulation(flows)
    moved.fill_diagonal_(0)
    assert bool((moved >= 0).all())
    assert float((moved.sum(0) - moved.sum(1)).abs().max()) <= 1e-12
    balanced = circulation(moved)[moved > 0]
    torch.testing.assert_close(balanced, torch.ones_like(balanced), rtol=1e-9, atol=0)


def test_a_cycle_survives_and_a_one_way_flow_does_not():
    cycle = torch.tensor([[0.0, 2, 0], [0, 0, 2], [2, 0, 0]]).double()
    torch.testing.assert_close(cycle * circulation(cycle), cycle)
    one_way = torch.tensor([[0.0, 1], [0, 0]]).double()
    assert float((one_way * circulation(one_way)).abs().max()) <= 1e-14
    assert bool(torch.isnan(circulation(one_way / 0)).all())


@pytest.mark.parametrize("kind", [Huber, SmoothedHinge])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_parameters_out_of_range_raise(kind, bad):
    with pytest.raises(ValueError, match="it must be finite and > 0"):
        kind(bad)


@pytest.mark.parametrize("bad", [1, 0, 2.5])
def test_fewer_than_two_classes_raise(bad):
    with pytest.raises(ValueError, match="n_classes"):
        WestonWatkins(bad)


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ([[1.0, 1, -1]], [[1.0, 1, 1]], "one \\+1 a sample; saw \\[1.0, 1.0, -1.0\\]"),
        ([[-1.0, -1, -1]], [[1.0, 1, 1]], "one \\+1 a sample"),
        ([[0.5, 1, -1]], [[1.0, 1, 1]], "one \\+1 a sample"),
        ([[1.0, -1, -1]], [[1.0, 1, 0]], "weights differ"),
        ([[1.0, -1]], [[1.0, 1]], "takes one column a class"),
    ],
)
def test_labels_of_no_class_raise(labels, weights, message):
    with pytest.raises(ValueError, match=message):
        WestonWatkins(3).check_labels(torch.tensor(labels), torch.tensor(weights))


def test_every_loss_has_an_expression():
    assert set(LOSS_EXPRESSIONS) == set(LOSS_FACTORIES)


@pytest.mark.parametrize("loss", [Squared(), SquaredHinge(), SmoothedHinge(), Huber(), Logistic()])
def test_the_error_of_a_bregman_distance_is_that_of_scores_a_rounding_away(loss):
    """Not less, or line searches fail on rounding; not much more, or they take any step."""
    eps = torch.finfo(torch.float32).eps
    z, y, c = torch.tensor([[0.3, -0.9, 0.5], [1, 1, -1], [2, 1, 3]], dtype=torch.float32)
    allowed = loss.bregman_error(z, c, 0.0)
    wide, weights = z.double(), c.double()

    def distance(roundings):
        moved = wide * (1 + roundings * eps)
        return float(loss.bregman(moved, wide, y.double(), weights))

    assert 0 < distance(1) <= allowed
    assert distance(100) > allowed
    assert loss.bregman_error(z, 4 * c, 0.0) == pytest.approx(4 * allowed)
