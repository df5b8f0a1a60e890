"""The solver that is taken where none is named, at the start and for the rest of a run."""

import torch
from strategies import classification

from proxmtl import (
    FISTA,
    L1,
    LBFGS,
    Logistic,
    MaxPasses,
    NewtonCholesky,
    Problem,
    RelativeGap,
    SharedDesign,
    SquaredFrobenius,
    Status,
    Targets,
    minimize,
)
from proxmtl.solvers.choice import solver_for


def ridge(n=600, d=40, m=12):
    X, Y = classification(n, d, m, seed=0)
    return Problem(Logistic(), SharedDesign(X), Targets.from_labels(Y), SquaredFrobenius(0.1))


def test_the_choice_hangs_on_the_penalty_and_the_budget():
    problem = ridge()
    assert isinstance(solver_for(problem, most=5.0), LBFGS)
    assert isinstance(solver_for(problem, most=1000.0), NewtonCholesky)
    assert isinstance(solver_for(problem.with_regularizers(L1(0.1))), FISTA)


def test_an_unnamed_solver_resumes_the_state_that_it_is_given():
    """Whichever the budget of the rest alone would choose."""
    problem, further = ridge(), MaxPasses(1000) | RelativeGap(1e-6)
    for first in (
        minimize(problem, stop=MaxPasses(5)),
        minimize(problem, FISTA(), stop=MaxPasses(5)),
    ):
        rest = minimize(problem, state=first.state, stop=further)
        assert rest.status is Status.CONVERGED
        assert type(rest.state) is type(first.state)
    assert torch.isfinite(rest.solution).all()
