"""The line search of Newton steps with a penalty."""

import torch

import proxmtl as pm
from proxmtl.data_term import SummedLoss
from proxmtl.solvers.newton_steps import PenalizedLine
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
