"""What Newton's methods on working sets have in common: options, and states of other problems."""

import math

import pytest
from solver_cases import SOLVER_FACTORIES

import proxmtl as pm
from proxmtl.solvers import BlockNewton, CoordinateNewton, run

BOTH = (BlockNewton, CoordinateNewton)
each = pytest.mark.parametrize("kind", BOTH)


@each
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, "tolerance: got"),
        ({"tolerance": math.nan}, "tolerance: got"),
        ({"smallest": 0}, "smallest and sweeps"),
        ({"sweeps": 0}, "smallest and sweeps"),
        ({"reduction": 1.0}, "reduction: got"),
    ],
)
def test_bad_options_raise(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


@each
def test_a_state_of_other_working_sets_raises(kind):
    solver, problem, start = SOLVER_FACTORIES[kind.__name__]()
    state = run(problem, solver, start, pm.MaxIterations(1)).state
    state.rows = state.rows[:-1]
    with pytest.raises(ValueError, match="holds working sets of shape"):
        run(problem, solver, start, pm.MaxIterations(2), state=state)
