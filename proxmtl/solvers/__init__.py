"""Solvers: one a file, all driven by one shared loop."""

from proxmtl.solvers.base import SOLVERS, Solver, State, run
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.palm import PALM
from proxmtl.solvers.panoc import PANOC
from proxmtl.solvers.spgd import SPGD
from proxmtl.solvers.steps import (
    Backtracking,
    ConstantStep,
    FunctionRestart,
    GradientRestart,
    NoRestart,
)

__all__ = [
    "FISTA",
    "PALM",
    "PANOC",
    "SOLVERS",
    "SPGD",
    "Backtracking",
    "ConstantStep",
    "FunctionRestart",
    "GradientRestart",
    "NoRestart",
    "Solver",
    "State",
    "run",
]
