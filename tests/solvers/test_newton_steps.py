"""The line searches of Newton steps, with a penalty and without, and their linear systems."""

import pytest
import torch

import proxmtl as pm
from proxmtl.data_term import SummedLoss
from proxmtl.solvers import newton_rows
from proxmtl.solvers.newton_rows import InRows
from proxmtl.solvers.newton_steps import PenalizedLine, lengths
from proxmtl.stored_labels import DenseLabels


def line(scores, along, *, weights=0.0, move=0.0, penalty=0.0, ridge=0.0):
    """Line of tasks with samples of label 1 and the logistic loss, and one weight each."""
    scores, along = (torch.tensor(each, dtype=torch.float64) for each in (scores, along))
    loss = SummedLoss(pm.Logistic(), DenseLabels(torch.ones_like(scores), torch.ones_like(scores)))
    each = torch.ones(len(scores), dtype=torch.float64)
    return PenalizedLine(
        loss,
        scores,
        loss.gradient(scores),
        along,
        constant=0 * each,
        weights=weights * each,
        move=move * each,
        penalty=penalty * each,
        ridge=ridge,
        owner=torch.arange(len(each)),
    )


def search(found, *, lengthened=False):
    return found.searched(torch.full((len(found.scores),), lengthened)).tolist()


def test_a_step_that_overflows_is_none():
    found = line([[-1.0], [-1.0], [-1.0]], [[float("inf")], [float("nan")], [1.0]])
    assert search(found) == [0.0, 0.0, 1.0]
    assert found.along.tolist() == [[0.0], [0.0], [1.0]]
    assert search(line([[-1.0]], [[1.0]], move=float("inf"))) == [0.0]


def test_a_step_whose_objective_overflows_is_refused():
    """So does the decrease that is predicted, and infinity is at most infinity."""
    assert search(line([[-1.0]], [[1.0]], move=1e200, ridge=1.0)) == [0.0]


def test_a_step_that_is_none_has_no_length():
    assert search(line([[-1.0]], [[0.0]])) == [0.0]


def test_rounding_hides_no_more_than_that_of_the_objective_at_zero():
    """The weight changes its sign, at the same penalty of 1e18, and the loss increases by 30."""
    up = {"weights": 1e18, "move": -2e18, "penalty": 1.0}
    assert search(line([[0.0]], [[-30.0]], **up)) == [0.5]
    assert search(line([[0.0]], [[30.0]], **up)) == [1.0]


def test_steps_are_halved_and_lengthened_only_if_so_wished_for():
    """From -40 to about 0 the loss falls by 1 for each 1, the penalty rises by a tenth of that."""
    far = [[-40.0], [-40.0]], [[1.0], [-1.0]]
    assert search(line(*far)) == [1.0, 0.0]
    assert search(line(*far, move=1.0, penalty=0.1), lengthened=True) == [64.0, 0.0]
    # of 0.69 less log(1 + exp(-2)) the ridge takes 0.2
    assert search(line([[0.0]], [[8.0]], move=8.0, ridge=0.05)) == [0.25]


def hinged(scores, along, *, squares=0.0):
    """Step length of one task, with labels 1, the squared hinge loss and a ridge."""
    scores, along = (torch.tensor([each], dtype=torch.float64) for each in (scores, along))
    loss = SummedLoss(
        pm.SquaredHinge(), DenseLabels(torch.ones_like(scores), torch.ones_like(scores))
    )
    slope = (loss.gradient(scores) * along).sum(1)
    return float(lengths(loss, scores, along, slope=slope, squares=torch.tensor([squares])))


def test_a_full_step_that_decreases_the_objective_is_taken_though_another_is_better():
    assert hinged([0.0], [1.5], squares=0.1) == 1.0


def test_a_step_that_is_too_long_is_shortened_to_the_minimum_to_a_tenth_of_the_slope():
    """The second label enters the loss at 1e-4, and soon makes it rise by far more."""
    tau = hinged([0.0, 1.1], [1.0, -1e3])
    at_zero = -1.0
    rate = -(1 - tau) + 1e3 * (1e3 * tau - 0.1)
    assert abs(rate) <= 0.1 * abs(at_zero)


def test_newtons_method_may_not_pass_the_labels_one_by_one():
    """Sixty labels enter the loss one after another, each bending it ten times less than the last.

    Newton's method by itself goes back to where one entered, then to where the next one did.
    """
    enters, a = 0.9 ** torch.arange(1, 61).double(), 3e3 * 10 ** (torch.arange(59, -1, -1) / 2.0)
    scores, along = [0.0, *(1 + a * enters).tolist()], [1.0, *(-a).tolist()]
    tau = hinged(scores, along)
    assert tau == pytest.approx(float(enters[-1]), rel=1e-3)


def test_no_step_is_taken_uphill_or_where_no_number_is():
    assert hinged([0.0], [-1.0]) == 0.0
    assert hinged([0.0], [float("nan")]) == 0.0
    ones = torch.ones(1, 1, dtype=torch.float64)
    loss = SummedLoss(pm.SquaredHinge(), DenseLabels(ones, ones))
    for nowhere in (float("inf"), float("nan")):
        tau = lengths(loss, 0 * ones, nowhere * ones, slope=-ones[0], squares=0 * ones[0])
        assert float(tau) == 0.0


@pytest.mark.parametrize("name", ["SquaredHinge", "Logistic"])
def test_tasks_are_searched_as_if_alone_and_each_to_the_minimum(name):
    """Steps of a ridge: one taken whole, three that are too long, one uphill."""
    generator = torch.Generator().manual_seed(1)
    z, d = (torch.randn(5, 30, dtype=torch.float64, generator=generator) for _ in range(2))
    ones = torch.ones_like(z)
    loss = SummedLoss(getattr(pm, name)(), DenseLabels(ones, ones))
    slope = (loss.gradient(z) * d).sum(1)
    d *= -(slope.sign() * torch.tensor([1e-2, 40.0, 400.0, 4e3, -1.0]))[:, None]
    squares = torch.tensor([0.0, 2e4, 0.0, 2e8, 0.0], dtype=torch.float64)
    slope = (loss.gradient(z) * d).sum(1)
    tau = lengths(loss, z, d, slope=slope, squares=squares)
    alone = []
    for m in ([0], [1], [2], [3], [4]):
        part = SummedLoss(loss.loss, DenseLabels(ones[m], ones[m]))
        alone.append(lengths(part, z[m], d[m], slope=slope[m], squares=squares[m]))
    torch.testing.assert_close(tau, torch.cat(alone), rtol=0, atol=0)
    assert (tau[0], tau[4]) == (1.0, 0.0)
    short = tau[1:4]
    assert bool(((short > 0) & (short < 1)).all())
    rate = (loss.gradient(z + tau[:, None] * d) * d).sum(1) + 2 * tau * squares
    assert bool((rate.abs() <= 0.1 * slope.abs())[1:4].all())


def test_the_search_takes_few_trials_and_ends_where_only_roundings_are_left(monkeypatch):
    calls = []
    terms = SummedLoss.bregman_terms
    monkeypatch.setattr(
        SummedLoss, "bregman_terms", lambda *args: (calls.append(1), terms(*args))[1]
    )
    tau = hinged([0.0, 1.0], [1.0, -100.0])  # at 1e-4: by halves it would take a dozen trials
    assert 0 < tau < 2e-4
    assert len(calls) <= 5
    calls.clear()
    ones = torch.ones(1, 1, dtype=torch.float64)
    loss = SummedLoss(pm.SquaredHinge(), DenseLabels(ones, ones))
    step = {"slope": -1e-32 * ones[0], "squares": ones[0]}
    assert float(lengths(loss, ones, -1e-16 * ones, **step)) == 1.0
    assert len(calls) == 1


def test_a_length_is_found_wherever_halves_find_one():
    generator = torch.Generator().manual_seed(0)
    z, d, spread = (
        torch.randn(4000, 50, dtype=torch.float64, generator=generator) for _ in range(3)
    )
    d *= (8 * spread).exp()
    z = 1 + z
    ones = torch.ones_like(z)
    loss = SummedLoss(pm.SquaredHinge(), DenseLabels(ones, ones))
    slope = (loss.gradient(z) * d).sum(1)

    def changes(tau):
        return tau * slope + loss.bregman_terms(z + tau[:, None] * d, z).sum(1)

    halved = torch.where(slope < 0, 1.0, 0.0).to(slope)
    for _ in range(39):
        halved = torch.where(changes(halved) <= 1e-4 * halved * slope, halved, halved / 2)
    there = (slope < 0) & (changes(halved) <= 1e-4 * halved * slope)
    tau = lengths(loss, z, d, slope=slope, squares=0 * slope)
    assert bool((tau[there] > 0).all())
    assert bool((changes(tau) <= 1e-4 * tau * slope).all())


@pytest.mark.parametrize("block", [1, 30, 1 << 23])
def test_systems_are_those_of_all_rows_though_solved_in_those_that_bend(monkeypatch, block):
    """Of tasks with all rows, few and none, in one block and in several."""
    monkeypatch.setattr(newton_rows, "BLOCK_ELEMENTS", block)
    generator = torch.Generator().manual_seed(0)
    s = torch.rand(6, 7, dtype=torch.float64, generator=generator)
    s[0, [1, 4]], s[1], s[3, :6], s[4, 2:] = 0.0, 0.0, 0.0, 0.0
    right = torch.randn(6, 7, 2, dtype=torch.float64, generator=generator)
    for tasks in (1, 6):
        half = torch.randn(tasks, 7, 9, dtype=torch.float64, generator=generator)
        K = half @ half.mT
        blank = InRows(*[None] * len(InRows._fields))._replace(gram=K)
        whole = s[:, :, None] * K * s[:, None, :] + 0.5 * torch.eye(7, dtype=torch.float64)
        torch.testing.assert_close(blank._system(s, 0.5, right), torch.linalg.solve(whole, right))
        nothing = blank._system(0 * s, 0.5, right)
        torch.testing.assert_close(nothing, right / 0.5)
