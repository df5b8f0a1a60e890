"""Solvers, one in each file, all driven by the same loop (:mod:`proxmtl.solvers.loop`)."""

from proxmtl.solvers.adpgm import AdPGM
from proxmtl.solvers.base import SOLVERS, Solver
from proxmtl.solvers.block_newton import BlockNewton
from proxmtl.solvers.coordinate_newton import CoordinateNewton
from proxmtl.solvers.davis_yin import DavisYin
from proxmtl.solvers.fista import FISTA
from proxmtl.solvers.irls import IRLS
from proxmtl.solvers.loop import run
from proxmtl.solvers.mfista import MFISTA
from proxmtl.solvers.newton_cholesky import NewtonCholesky
from proxmtl.solvers.palm import PALM
from proxmtl.solvers.panoc import PANOC
from proxmtl.solvers.pdhg import PDHG
from proxmtl.solvers.pgd import PGD
from proxmtl.solvers.points import PointSolver, PointState, StepSolver, StepState
from proxmtl.solvers.prox_newton import ProxNewton
from proxmtl.solvers.prox_svrg import ProxSVRG
from proxmtl.solvers.quasi_newton import LBFGS
from proxmtl.solvers.spgd import SPGD
from proxmtl.solvers.steps import (
    Backtracking,
    ConstantStep,
    FunctionRestart,
    GradientRestart,
    NoRestart,
)
from proxmtl.state import State

__all__ = [
    "FISTA",
    "IRLS",
    "LBFGS",
    "MFISTA",
    "PALM",
    "PANOC",
    "PDHG",
    "PGD",
    "SOLVERS",
    "SPGD",
    "AdPGM",
    "Backtracking",
    "BlockNewton",
    "ConstantStep",
    "CoordinateNewton",
    "DavisYin",
    "FunctionRestart",
    "GradientRestart",
    "NewtonCholesky",
    "NoRestart",
    "PointSolver",
    "PointState",
    "ProxNewton",
    "ProxSVRG",
    "Solver",
    "State",
    "StepSolver",
    "StepState",
    "run",
]
