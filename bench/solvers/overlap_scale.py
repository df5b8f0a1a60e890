"""The prox of 10^4 overlapping groups on 10^5 coefficients, to a certified relative gap of 1e-10.

Windows of 20, step 10, weights 1; v is standard normal noise, the hardest case: at a radius of 2.2
(of 4.4, the norm of a typical window) most groups are on the edge of vanishing. Every contender
runs in a process of its own, which tells its peak memory above what imports and data take. The gap
is (objective - lower bound) / (||v||^2 / 2), the lower bound being the dual value that proxmtl
certifies at 1e-13; so nobody's own stopping rule counts. Then the latent norm, where duplicated
columns have the same optimum, and FISTA on a regression (500 samples, 2000 features, windows of
10, step 5).

Predicted before the first run stands in PREDICTED: after a prototype of ours, guesses otherwise.

    python -m bench.solvers.overlap_scale
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import proxmtl as pm
from bench import record
from proxmtl.kernels import overlap_dual_sweep

PREDICTED = {
    "proxmtl": "below 1 s at each radius, 100 MB",
    "sweeps": "reaches it only at radius 1.0; 1e-7 at 2.2 after 2000 sweeps",
    "admm": "60 s at radius 1.0, short of it at 2.2",
    "clarabel": "30 s and 2 GB",
    "latent": "3 s; duplicated columns short of it after 60 s",
    "fista": "below 10 s each",
}
GAP, LIMIT = 1e-10, 60.0  # relative gap; seconds for the iterative contenders
Found = tuple[torch.Tensor, dict[str, Any]]


def windows(n: int, size: int, step: int) -> pm.Groups:
    """Windows along a line, the last one shorter if need be."""
    return pm.Groups.from_lists([range(k, min(k + size, n)) for k in range(0, n - step, step)], n)


def noise(n: int) -> torch.Tensor:
    """One slice of standard normal noise."""
    return torch.randn(1, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def ours(v: torch.Tensor, groups: pm.Groups, radius: float, _good: Any) -> Found:
    """The library's prox at its gap."""
    penalty = pm.OverlappingGroupL2(groups, 1.0, gap=GAP)
    solved = penalty.dual.solve(v, torch.full((1, len(groups)), radius).double(), screen=True)
    return solved.primal, {"sweeps": solved.sweeps, "interior_steps": solved.interior_steps}


def sweeps(v: torch.Tensor, groups: pm.Groups, radius: float, _good: Any) -> Found:
    """Block coordinate ascent alone, at most 2000 sweeps."""
    x, dual = v.clone(), v.new_zeros(1, len(groups.indices))
    used, gap, size = 0, np.inf, float(v.square().sum())
    while gap > GAP / 2 * size and used < 2000:
        found, _ = overlap_dual_sweep(x, dual, groups.index, radius, sweeps=20)
        gap, used = float(found), used + 20
    return x, {"sweeps": used}


def admm(v: torch.Tensor, groups: pm.Groups, radius: float, good: Callable[..., bool]) -> Found:
    """Consensus of duplicated columns: one copy of its items a group, penalty parameter 1."""
    items, owner = groups.indices, groups.group_of
    copies, scaled = v[0][items].clone(), torch.zeros(len(items), dtype=v.dtype)
    counts, begin, rounds = groups.coverage, time.perf_counter(), 0
    while True:
        pulls = torch.zeros_like(v[0]).index_add(0, items, copies - scaled)
        x = (v[0] + pulls) / (1 + counts)
        moved = x[items] + scaled
        norms = torch.zeros(len(groups), dtype=v.dtype).index_add(0, owner, moved.square()).sqrt()
        copies = moved * (1 - radius / norms.clamp_min(1e-300)).clamp_min(0)[owner]
        scaled = moved - copies
        rounds += 1
        mean = torch.zeros_like(x).index_add(0, items, copies) / counts
        if rounds % 50 == 0 and (good(mean[None]) or time.perf_counter() - begin > LIMIT):
            return mean[None], {"iterations": rounds}


def clarabel(v: torch.Tensor, groups: pm.Groups, radius: float, _good: Any) -> Found:
    """Second-order cones through cvxpy."""
    import cvxpy as cp

    x = cp.Variable(v.shape[1])
    size = len(groups.members(0))
    whole = cp.reshape(x[groups.indices[: size * (len(groups) - 1)].numpy()], (-1, size), order="C")
    norms = cp.sum(cp.norm(whole, 2, axis=1)) + cp.norm(x[groups.members(len(groups) - 1)], 2)
    problem = cp.Problem(cp.Minimize(cp.sum_squares(x - v[0].numpy()) / 2 + radius * norms))
    with warnings.catch_warnings():  # short of its tolerances it says so; the gap is measured
        warnings.filterwarnings("ignore", "Solution may be inaccurate")
        problem.solve(solver=cp.CLARABEL, tol_gap_rel=1e-11, tol_gap_abs=1e-11, tol_feas=1e-11)
    return torch.from_numpy(np.asarray(x.value))[None], {"status": problem.status}


def latent(v: torch.Tensor, groups: pm.Groups, radius: float, _good: Any) -> Found:
    """The library's prox of the latent norm."""
    return pm.LatentOverlapGroupL2(groups, 1.0, gap=GAP).prox(v, radius)[0], {}


def duplicated(
    v: torch.Tensor, groups: pm.Groups, radius: float, good: Callable[..., bool]
) -> Found:
    """The latent prox by FISTA over one copy of its items a group, with restart."""
    items, owner = groups.indices, groups.group_of
    copies = ahead = torch.zeros(len(items), dtype=v.dtype)
    step, theta, rounds, begin = 1 / groups.max_overlap, 1.0, 0, time.perf_counter()
    while True:
        missing = v[0] - torch.zeros_like(v[0]).index_add(0, items, ahead)
        moved = ahead + step * missing[items]
        norms = torch.zeros(len(groups), dtype=v.dtype).index_add(0, owner, moved.square()).sqrt()
        new = moved * (1 - step * radius / norms.clamp_min(1e-300)).clamp_min(0)[owner]
        if float(((ahead - new) * (new - copies)).sum()) > 0:
            theta = 1.0
        following = (1 + (1 + 4 * theta**2) ** 0.5) / 2
        ahead = new + (theta - 1) / following * (new - copies)
        copies, theta, rounds = new, following, rounds + 1
        if rounds % 50 == 0:
            x = torch.zeros_like(v[0]).index_add(0, items, copies)
            cost = torch.zeros(len(groups), dtype=v.dtype).index_add(0, owner, copies.square())
            if good(x[None], float(cost.sqrt().sum())) or time.perf_counter() - begin > LIMIT:
                return x[None], {"iterations": rounds}


CONTENDERS: dict[str, Callable[..., Found]] = {
    "proxmtl": ours,
    "sweeps": sweeps,
    "admm": admm,
    "clarabel": clarabel,
    "latent": latent,
    "duplicated": duplicated,
}


def memory(kind: str) -> float:
    """Resident memory now (VmRSS) or at its peak (VmHWM), in MB; Linux only."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


def norm_for(name: str, groups: pm.Groups) -> pm.OverlappingGroupL2 | pm.LatentOverlapGroupL2:
    """The penalty that a contender deals with, at the accuracy of the lower bound."""
    kind = pm.LatentOverlapGroupL2 if name in ("latent", "duplicated") else pm.OverlappingGroupL2
    return kind(groups, 1.0, gap=1e-13)


def lower_bound(name: str, radius: float, n: int) -> float:
    """Certified lower bound on the objective of the prox."""
    penalty, v = norm_for(name, windows(n, 20, 10)), noise(n)
    best, value = penalty.prox(v, radius)
    upper = float((best - v).square().sum()) / 2 + radius * float(value)
    return upper - penalty.prox_gap(v, radius)


def one(name: str, radius: float, n: int, lower: float) -> dict[str, Any]:
    """Time, gap and memory of one contender."""
    torch.set_num_threads(1)
    groups, v = windows(n, 20, 10), noise(n)
    half, penalty = float(v.square().sum()) / 2, norm_for(name, groups)

    def gap(x: torch.Tensor, norm: float | None = None) -> float:
        norm = float(penalty.value(x)) if norm is None else norm
        return (float((x - v).square().sum()) / 2 + radius * norm - lower) / half

    CONTENDERS[name](v[:, :200], windows(200, 20, 10), radius, lambda *_: True)  # compile
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    begin = time.perf_counter()
    x, told = CONTENDERS[name](v, groups, radius, lambda *x: gap(*x) <= GAP)
    seconds = time.perf_counter() - begin
    peak = memory("VmHWM")
    alive = torch.zeros(len(groups), dtype=torch.float64)
    alive.index_add_(0, groups.group_of, x[0][groups.indices].abs())
    return {
        "seconds": seconds,
        "relative_gap": gap(x),
        "peak_mb": peak - before,
        "groups_alive": float((alive > 0).double().mean()),
        **told,
    }


def regression(fractions: tuple[float, ...]) -> dict[str, Any]:
    """FISTA to a relative gap of 1e-6 at fractions of the critical strength."""
    groups, g = windows(2000, 10, 5), torch.Generator().manual_seed(0)
    X = torch.randn(500, 2000, generator=g, dtype=torch.float64)
    w = torch.zeros(2000, 1, dtype=torch.float64)
    for start in (100, 700, 705, 1500, 1800):
        w[start : start + 10] = torch.randn(10, 1, generator=g, dtype=torch.float64)
    y = X @ w + 0.5 * torch.randn(500, 1, generator=g, dtype=torch.float64)
    base = pm.Problem(
        pm.Squared(),
        pm.SharedDesign(X),
        pm.Targets.from_labels(y, coding="real"),
        pm.OverlappingGroupL2(groups, 1.0, axis=0),
    )
    critical, found = base.critical_strength(), {}
    for fraction in fractions:
        problem = base.with_regularizers(pm.OverlappingGroupL2(groups, fraction * critical, axis=0))
        result = pm.minimize(
            problem, pm.FISTA(), stop=pm.RelativeGap(1e-6) | pm.MaxIterations(2000)
        )
        found[str(fraction)] = {
            "seconds": result.seconds,
            "iterations": result.iterations,
            "status": result.status.name,
            "alive": float((result.solution != 0).double().mean()),
        }
    return found


def main(
    names: Annotated[list[str] | None, typer.Argument(help="contenders; default: all")] = None,
    radius: Annotated[list[float] | None, typer.Option(help="default: 1.0, 2.2, 3.0")] = None,
    n: Annotated[int, typer.Option(help="coefficients; a tenth as many groups")] = 100_000,
    lower: Annotated[float, typer.Option(help="lower bound, with --child")] = 0.0,
    child: Annotated[bool, typer.Option(help="measure here, print JSON")] = False,
) -> None:
    """Measure the contenders; write bench/results/overlap_scale.json."""
    chosen, radii = names or [*CONTENDERS, "fista"], radius or [1.0, 2.2, 3.0]
    if child:
        typer.echo(json.dumps(one(chosen[0], radii[0], n, lower)))
        return
    settings = {"windows": 20, "step": 10, "gap": GAP, "limit_seconds": LIMIT, "threads": 1}
    runs = record.runs_so_far("overlap_scale", settings)
    for name in chosen:
        for r in radii if name != "fista" else []:
            command = [sys.executable, "-m", "bench.solvers.overlap_scale", name, "--child"]
            command += ["--radius", str(r), "--n", str(n)]
            command += ["--lower", repr(lower_bound(name, r, n))]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            key = f"{name} {n} radius {r}"
            runs[key] = json.loads(done.stdout.splitlines()[-1])
            typer.echo(f"{key}: {runs[key]}")
        if name == "fista":
            torch.set_num_threads(1)
            runs[name] = regression((0.5, 0.2, 0.05))
            typer.echo(f"{name}: {runs[name]}")
        content = {"settings": settings, "predicted": PREDICTED, "runs": runs}
        record.save("overlap_scale", content)


if __name__ == "__main__":
    typer.run(main)
