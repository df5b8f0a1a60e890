"""Path of the factored model: along increasing group strength, up to its collapse."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from proxmtl.io.identity import fingerprint
from proxmtl.latent import LatentMTL, LatentProblem, LatentResult
from proxmtl.latent.model import Features, Labels
from proxmtl.result import Certificate, Status
from proxmtl.selection.storage import Storage
from proxmtl.selection.strengths import check_increasing

__all__ = ["LatentPath", "solve_latent_path"]


@dataclass(frozen=True)
class LatentPath:
    """Solved models by increasing group strength.

    Attributes
    ----------
    strengths : list of float
        Group strength (the paper's mu) of each result.
    results : list of LatentResult
        Those read back from a folder have no ``state`` and no ``history``.
    collapsed : bool
        Whether the last result is W = 0, where the path had to end.
    """

    strengths: list[float]
    results: list[LatentResult]
    collapsed: bool

    @property
    def passes(self) -> float:
        """Passes over the data, all points together."""
        return sum(result.passes for result in self.results)

    def __len__(self) -> int:
        return len(self.results)


def solve_latent_path(
    model: LatentMTL,
    X: Features,
    Y: Labels,
    strengths: Sequence[float] | None = None,
    *,
    n: int = 20,
    growth: float = 1.5,
    sample_weight: Labels | None = None,
    until: Callable[[LatentResult], object] | None = None,
    folder: str | Path | None = None,
) -> LatentPath:
    """Solve the model at increasing group strengths, each from the last, until it collapses.

    Upwards and not downwards: ``(0, 0)`` is a strict local minimum of the factored problem, so a
    path that starts at or above the collapse stays at zero for every smaller strength.

    Parameters
    ----------
    model : LatentMTL
        Gives everything but the group strength.
    X, Y, sample_weight
        As for :meth:`LatentMTL.solve`.
    strengths : sequence of float, optional
        Positive, strictly increasing. Default ``group_strength * growth**i``, ``i < n``.
    until : callable, optional
        Called with each result; a true return value ends the path there.
    folder : path, optional
        Every finished point is saved here at once, atomically, and found again by a later call
        with the same data and settings.

    Returns
    -------
    LatentPath
        Ends with the collapsed result, if one was met.

    Raises
    ------
    ValueError
        If the strengths do not increase, ``growth <= 1``, or the folder holds another path; and as
        :meth:`LatentMTL.solve`.
    """
    if strengths is None:
        if not growth > 1 or n < 1:
            raise ValueError(f"growth, n: got {growth} and {n}; use growth > 1 and n >= 1.")
        strengths = [model.group_strength * growth**i for i in range(n)]
    grid = check_increasing(strengths)
    problem = dataclasses.replace(model, group_strength=grid[0]).problem(X, Y, sample_weight)
    storage = None if folder is None else Storage(folder, _settings(model, problem, grid))
    results: list[LatentResult] = []
    for number, strength in enumerate(grid):
        name = f"point_{number:04d}"
        saved = storage.load(name) if storage is not None else None
        if saved is not None:
            result = _from_record(saved)
        else:
            at = dataclasses.replace(model, group_strength=strength)
            warm = results[-1] if results else None
            result = at.solve(X, Y, sample_weight, warm_start=warm)
        if storage is not None and saved is None:
            storage.save(name, _record(result), L=result.L, S=result.S, intercept=result.intercept)
        results.append(result)
        if result.collapsed or (until is not None and until(result)):
            break
    return LatentPath(grid[: len(results)], results, results[-1].collapsed)


def _record(result: LatentResult) -> dict[str, Any]:
    return {
        "status": result.status.name,
        "certificate": asdict(result.certificate),
        "iterations": result.iterations,
        "passes": result.passes,
        "budget": result.budget,
        "seconds": result.seconds,
        "reason": result.reason,
    }


def _from_record(record: dict[str, Any]) -> LatentResult:
    status, certificate = Status[record["status"]], Certificate(**record["certificate"])
    fields = {**record, "status": status, "certificate": certificate}
    return LatentResult(**fields, history=[], state=None)  # type: ignore[arg-type]  # not stored


def _settings(
    model: LatentMTL, problem: LatentProblem, strengths: Sequence[float]
) -> dict[str, Any]:
    own = {f.name: repr(getattr(model, f.name)) for f in dataclasses.fields(model)}
    skipped = ("group_strength", "groups", "init")
    groups = problem.groups
    signed = problem.targets.weights * problem.targets.labels
    return {
        "kind": "latent path",
        **{key: value for key, value in own.items() if key not in skipped},
        "init": fingerprint(model.init),
        "groups": [groups.members(g) for g in range(len(groups))],
        "group_weights": groups.weights.tolist(),
        "strengths": list(strengths),
        "gradient": float(problem.design.adjoint(signed).to(torch.float64).norm()),
        "labels": list(problem.targets.shape),
        **problem.targets.figures(),
    }
