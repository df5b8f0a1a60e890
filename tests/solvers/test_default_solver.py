"""The solver that is taken where none is named, at the start and for the rest of a run."""

import torch
from strategies import classification

import proxmtl as pm
from proxmtl.solvers.choice import solver_for


def ridge(n=600, d=40, m=12):
    X, Y = classification(n, d, m, seed=0)
    return pm.Problem(
        pm.Logistic(), pm.SharedDesign(X), pm.Targets.from_labels(Y), pm.SquaredFrobenius(0.1)
    )


def test_the_choice_hangs_on_the_penalty_and_the_budget():
    problem = ridge()
    assert isinstance(solver_for(problem, most=5.0), pm.LBFGS)
    assert isinstance(solver_for(problem, most=1000.0), pm.NewtonCholesky)
    assert isinstance(solver_for(problem.with_regularizers(pm.L1(0.1))), pm.FISTA)


def test_an_unnamed_solver_resumes_the_state_that_it_is_given():
    """Whichever the budget of the rest alone would choose."""
    problem, further = ridge(), pm.MaxPasses(1000) | pm.RelativeGap(1e-6)
    for first in (
        pm.minimize(problem, stop=pm.MaxPasses(5)),
        pm.minimize(problem, pm.FISTA(), stop=pm.MaxPasses(5)),
    ):
        rest = pm.minimize(problem, state=first.state, stop=further)
        assert rest.status is pm.Status.CONVERGED
        assert type(rest.state) is type(first.state)
    assert torch.isfinite(rest.solution).all()
