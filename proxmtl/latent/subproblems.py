"""The convex problem of each block of the factored problem, with the others held fixed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from proxmtl.certified import Measured, measured
from proxmtl.designs import FactoredDesign
from proxmtl.problem import Problem
from proxmtl.result import Certificate
from proxmtl.solvers.blocks import Blocks

if TYPE_CHECKING:
    from proxmtl.latent.problem import LatentProblem

__all__ = ["certificate", "in_l", "in_s"]


def in_s(problem: LatentProblem, L: Tensor, *, cached: bool = False) -> Problem:
    """Convex problem in S and the intercept, with L fixed; ignores own parts."""
    factored = FactoredDesign(problem.design, L=L)
    if cached:
        problem.counts.charge(forward=max(1.0, L.shape[1] / problem.targets.n_tasks))
        return Problem(problem.loss, factored.cached(), problem.targets, problem.group_norm)
    return Problem(
        problem.loss, factored, problem.targets, problem.group_norm, counts=problem.counts
    )


def in_l(problem: LatentProblem, S: Tensor, bias: Tensor | None) -> Problem:
    """Convex problem in L, with S and the intercept fixed; ignores own parts."""
    design = FactoredDesign(problem.design, S=S, bias=bias)
    terms = [r for r in (problem.l1, problem.ridge) if r.strength > 0]
    return Problem(problem.loss, design, problem.targets, terms, counts=problem.counts)


def certificate(problem: LatentProblem, blocks: Blocks) -> Certificate:
    """As :meth:`LatentProblem.certificate`, in the coordinates of the given problem."""
    wide = tuple(block.to(torch.float64) for block in blocks)
    L, S, bias, own = problem.parts(wide)
    balance = problem.design.intercept and problem.data.balances
    problem.counts.certificates += problem.design.share
    at = measured(problem.design, problem.data, problem.weights(wide), balance=balance)
    along = problem.parts(problem.pull_back(wide, at.grad))
    norms = {"L": float(along.L.norm()), "S": float(along.S.norm())}
    if problem.own is not None:
        norms["own"] = problem.own_scale
    scale = math.hypot(*norms.values())

    def certify(convex: Problem, point: Tensor, of_block: Measured) -> Certificate:
        # the measured scores include the fixed blocks
        return convex.certificate_from(point, of_block, scale, scales={})

    def along_s(slope: Tensor) -> Tensor:
        parts = problem.parts(problem.pull_back(wide, slope))
        return join(parts.S, parts.intercept)

    join = problem.design.join
    dual = None if at.dual is None else (at.dual[0], along_s(at.dual[1]))
    found = {
        "L": certify(in_l(problem, S, bias), L, at._replace(grad=along.L, dual=None)),
        "S": certify(
            in_s(problem, L), join(S, bias), at._replace(grad=along_s(at.grad), dual=dual)
        ),
    }
    if problem.own is not None and own is not None:
        alone = Problem(problem.loss, problem.design, problem.targets, problem.own)
        found["own"] = certify(alone, join(own, bias), at)
    kkt = {name: part.blocks["W"] for name, part in found.items()}
    if bias is not None:
        kkt["intercept"] = found["S"].blocks["intercept"]
        norms["intercept"] = float(problem.data.per_task(at.residuals.abs()).norm())
    gaps = {name: part.gap for name, part in found.items()}
    of_others = problem.penalty(wide) - float(problem.group_norm.value(S))
    return Certificate(
        objective=found["S"].objective + of_others,
        gap=None,
        kkt=math.hypot(*kkt.values()),
        scale=scale,
        blocks=kkt,
        scales=norms,
        block_gaps={name: gap for name, gap in gaps.items() if gap is not None},
        solved_in=str(blocks[0].dtype).removeprefix("torch."),
    )
