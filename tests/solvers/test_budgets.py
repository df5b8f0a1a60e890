"""Solvers take what they took: see budgets.py, which says how to renew its records."""

import pytest
from budgets import BUDGETS, SLACK, SOLVERS, SWEEPS, measured, sweeps

from proxmtl import Status
from proxmtl.solvers import SOLVERS as REGISTERED


def assert_near(found, recorded, what):
    assert found <= SLACK * recorded, f"{what}: {found}, where {recorded} did"
    assert found >= recorded / SLACK, f"{what}: {found}, better than {recorded}: record it"


@pytest.mark.parametrize(("name", "solver"), BUDGETS)
def test_iterations_and_passes_to_an_accuracy(name, solver):
    iterations, passes = BUDGETS[name, solver]
    result = measured(name, solver)
    assert result.status is Status.CONVERGED
    assert_near(result.iterations, iterations, "iterations")
    assert_near(result.passes, passes, "passes")


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_of_iterative_proxes(name):
    assert_near(sweeps(name), SWEEPS[name], "sweeps")


def test_every_solver_has_a_budget():
    ours = {name for name, solver in REGISTERED.items() if solver.__module__.startswith("proxmtl")}
    assert ours == {type(SOLVERS[solver]).__name__ for _, solver in BUDGETS}
