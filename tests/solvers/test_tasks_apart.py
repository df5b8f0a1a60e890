"""BlockNewton on tasks with nothing in common: what one of them does leaves the others alone."""

import torch

import proxmtl as pm
from proxmtl.solvers import BlockNewton


def test_a_task_whose_step_fails_takes_a_safe_one_alone():
    """Far out on the wrong side, where the logistic loss has no curvature."""
    y = -torch.ones(2001, 2, dtype=torch.float64)
    y[0] = 1.0
    X = torch.ones(2001, 1, dtype=torch.float64)
    problem = pm.Problem(pm.Logistic(), pm.SharedDesign(X), pm.Targets.from_labels(y), pm.L1(1e-3))
    solver = BlockNewton()
    begun = solver.init(problem, torch.tensor([[-40.0, -1.0]], dtype=torch.float64))
    assert begun.rows.shape == (1, 2)
    once = solver.step(problem, begun)
    assert once.safe.tolist() == [True, False]
    assert once.x[0, 0] == -40
    assert once.x[0, 1] < -1
    twice = solver.step(problem, once)
    assert not twice.safe[0]
    # one step of the largest curvature, N / 4, is lengthened
    assert twice.x[0, 0] > -40 + 4 * 1 / 2001
    assert twice.objective < once.objective
