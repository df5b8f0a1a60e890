"""Regularization path of a convex problem: from the critical strength downwards, certified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxmtl.io.identity import fingerprint
from proxmtl.minimization import minimize
from proxmtl.problem import Problem
from proxmtl.result import Certificate, Result, Status
from proxmtl.selection.storage import Storage
from proxmtl.selection.strengths import check_strengths, strength_grid, with_strengths
from proxmtl.selection.working_sets import goal_of, solve_on_sets
from proxmtl.shown import Shown
from proxmtl.solvers.base import Solver
from proxmtl.stopping import RelativeGap, RelativeKKT, Stop

__all__ = ["PathPoint", "RegularizationPath", "solve_path"]


@dataclass(frozen=True)
class PathPoint:
    """A solution of the path, with what certifies it.

    Attributes
    ----------
    strength : float
    solution : Tensor
    status : Status
    certificate : Certificate
    iterations, passes, seconds, reason
        As in :class:`Result`.
    """

    strength: float
    solution: Tensor = field(repr=False)
    status: Status
    certificate: Certificate
    iterations: int
    passes: float
    seconds: float
    reason: str

    @classmethod
    def of(cls, strength: float, result: Result[Tensor]) -> PathPoint:
        """A point of a path, from the result of its solve."""
        kept = (each.name for each in fields(cls) if each.name != "strength")
        return cls(strength=strength, **{name: getattr(result, name) for name in kept})

    def to_record(self) -> dict[str, Any]:
        """All but the solution, fit for JSON."""
        record = {key: value for key, value in vars(self).items() if key != "solution"}
        return {**record, "status": self.status.name, "certificate": asdict(self.certificate)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> PathPoint:
        """Inverse of :meth:`to_record`, with the solution under its name."""
        certificate = Certificate(**record["certificate"])
        status = Status[record["status"]]
        return cls(**{**record, "status": status, "certificate": certificate})


@dataclass(frozen=True)
class RegularizationPath(Shown):
    """The points of a path in the order they were solved.

    Attributes
    ----------
    points : list of PathPoint
    stopped_early : bool
        Whether the caller's rule ended it before the last strength.
    """

    _SHOWN = ("strengths", "passes", "stopped_early")
    points: list[PathPoint]
    stopped_early: bool

    @property
    def strengths(self) -> list[float]:
        """Strength of each point."""
        return [point.strength for point in self.points]

    @property
    def solutions(self) -> list[Tensor]:
        """Solution of each point."""
        return [point.solution for point in self.points]

    @property
    def certificates(self) -> list[Certificate]:
        """Certificate of each point, measured at its solution."""
        return [point.certificate for point in self.points]

    @property
    def passes(self) -> float:
        """Passes over the data, all points together."""
        return sum(point.passes for point in self.points)

    def __len__(self) -> int:
        return len(self.points)


def solve_path(
    problem: Problem,
    strengths: Sequence[float] | None = None,
    *,
    n: int = 20,
    ratio: float = 1e-2,
    solver: Solver[Problem, Any, Tensor] | None = None,
    stop: Stop | None = None,
    until: Callable[[PathPoint], object] | None = None,
    folder: str | Path | None = None,
) -> RegularizationPath:
    """Solve a convex problem at several strengths of its non-smooth penalty, each from the last.

    The start is the null point (zero weights and the best intercept), which *is* the solution at
    and above the critical strength: there it is certified and returned as it is, exactly zero.

    Parameters
    ----------
    problem : Problem
        Its other penalties are kept. A problem with a ridge alone has a path in the ridge's
        strength; give ``strengths`` then, since no strength makes its solution zero.
    strengths : sequence of float, optional
        In the order to be solved, usually decreasing. Default: :func:`strength_grid`, ``n``
        strengths from the critical one down to ``ratio`` of it.
    solver, stop : optional
        Of each point, as for :func:`minimize`. A certifying rule (`RelativeGap`, `RelativeKKT`)
        given alone also decides whether the start is already good enough.
    until : callable, optional
        Called with each point; a true return value ends the path there.
    folder : path, optional
        Every finished point is saved here at once, atomically, and found again by a later call
        with the same data and strengths.

    Returns
    -------
    RegularizationPath

    Raises
    ------
    ValueError
        If the strengths are not finite and ``>= 0``, or the folder holds another path.
    UnsupportedError
        If there is no grid of strengths to make and none was given.

    References
    ----------
    Friedman, Hastie, Tibshirani, "Regularization paths for generalized linear models via
    coordinate descent", 2010.
    """
    grid = strength_grid(problem, n, ratio) if strengths is None else check_strengths(strengths)
    storage = None if folder is None else Storage(folder, _settings(problem, grid, solver, stop))
    null = problem.null_point()
    convex = bool(problem.terms) and all(term.is_convex for term in problem.terms)
    critical = problem.critical_strength() if convex else None
    points: list[PathPoint] = []
    _ = problem.gradient_scale  # cached here, every point shares it
    for number, strength in enumerate(grid):
        name = f"point_{number:04d}"
        saved = storage.load(name, like=null) if storage is not None else None
        if saved is not None:
            point = PathPoint.from_record(saved)
        elif critical is not None and strength >= critical:
            point = _null_point(with_strengths(problem, strength), strength, null)
        else:
            start = _ahead(points, strength) if points else null
            point = _solved(with_strengths(problem, strength), strength, solver, start, stop)
        if storage is not None and saved is None:
            storage.save(name, point.to_record(), solution=point.solution)
        points.append(point)
        if until is not None and until(point):
            return RegularizationPath(points, stopped_early=len(points) < len(grid))
    return RegularizationPath(points, stopped_early=False)


def _ahead(points: Sequence[PathPoint], strength: float) -> Tensor:
    """Start at a strength: the last solution, moved on as from the one before to it.

    Solutions of a quadratic loss are linear in the strength between changes of their zeros. A zero
    of the last solution stays one.
    """
    last = points[-1]
    if len(points) < 2 or points[-2].strength == last.strength or not points[-2].iterations:
        return last.solution
    far = (strength - last.strength) / (last.strength - points[-2].strength)
    moved = torch.lerp(points[-2].solution, last.solution, 1 + far)
    kept = (last.solution != 0) & (moved.sign() == last.solution.sign())
    return torch.where(kept, moved, last.solution)


def _solved(
    problem: Problem,
    strength: float,
    solver: Solver[Problem, Any, Tensor] | None,
    start: Tensor,
    stop: Stop | None,
) -> PathPoint:
    """Point of the path: on working sets as far as that leads, then by the solver."""
    goal = goal_of(problem, stop) if solver is None else None
    if goal is None:
        return PathPoint.of(strength, minimize(problem, solver, start, stop))
    found = solve_on_sets(problem, start, goal)
    if not found.reached:
        last = PathPoint.of(strength, minimize(problem, solver, found.solution, stop))
        return replace(
            last,
            iterations=found.iterations + last.iterations,
            passes=found.passes + last.passes,
            seconds=found.seconds + last.seconds,
        )
    assert found.certificate is not None
    gap = found.certificate.relative_gap
    return PathPoint(
        strength=strength,
        solution=found.solution,
        status=Status.CONVERGED,
        certificate=found.certificate,
        iterations=found.iterations,
        passes=found.passes,
        seconds=found.seconds,
        reason=f"RelativeGap {gap:.3g} <= {goal:g}, solved on a working set of features",
    )


def _null_point(problem: Problem, strength: float, null: Tensor) -> PathPoint:
    solution = null.to(problem.design.dtype)
    certificate = problem.certificate(solution)
    accuracy = RelativeGap(1e-6) if certificate.gap is not None else RelativeKKT(1e-6)
    figure = accuracy.figure(certificate)
    accurate = figure is not None and figure <= accuracy.tolerance
    return PathPoint(
        strength=strength,
        solution=solution,
        status=Status.CONVERGED if accurate else Status.BUDGET,
        certificate=certificate,
        iterations=0,
        passes=0.0,
        seconds=0.0,
        reason="zero, since the strength is at least the critical one",
    )


def _settings(
    problem: Problem,
    strengths: Sequence[float],
    solver: Solver[Problem, Any, Tensor] | None,
    stop: Stop | None,
) -> dict[str, Any]:
    return {
        "kind": "path",
        "loss": repr(problem.loss),
        "penalties": [fingerprint(r.with_strength(1.0)) for r in problem.regularizers],
        "fixed": [r.strength for r in problem.regularizers if r not in problem.terms],
        "strengths": list(strengths),
        "solver": repr(solver),
        "stop": repr(stop),
        "shape": list(problem.zeros().shape),
        "dtype": str(problem.design.dtype),
        "gradient": problem.gradient_scale,
        "labels": list(problem.targets.shape),
        **problem.targets.figures(),
    }
